"""Decisions beyond the table: the swap, the model, and what holds for every plan and person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from base.ids import Delivery
from render.decide import admissible, decide, seed_of
from render.decision import Decision
from render.eligibility import Situation
from render.explanation import explain
from render.facts import Facts, LastDecision, Used
from render.faults import validate
from render.model import Model
from render.plain import without
from render.plan import LAYERS, Live, Plan, Slot
from signals.moments import unix_ms
from signals.state import Mark, ProfileState, tombstone
from tests.render import shoe_shop as shop

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def model() -> Model:
    """A model that knows one thing: the more popular the category, the likelier the success."""
    return Model.load(shop.model_bytes())


def shown(plan: Plan, known: ProfileState, now: Any = shop.NOON, **changes: Any) -> list[str]:
    decision = decide(plan, shop.facts(known, **changes), now, seed=1)
    return [plan.offer_by_id[offer].name for offer in decision.offers]


@pytest.mark.feature("CM-28")
def test_it_swaps_the_discount_for_a_thank_you_and_back_after_a_return() -> None:
    plan = shop.plan(slots=2)
    shoes = shop.bought(shop.SHOES, shop.NOON - 3 * HOUR, order="o1")
    back = shop.returned("o1", shop.NOON - HOUR)
    assert shown(plan, shop.state()) == ["discount", "tights"]
    assert shown(plan, shop.state([shoes])) == ["thanks", "tights"]
    assert shown(plan, shop.state([shoes]), products={"tights-1": shop.product(stock=0)}) == ["thanks", "strip default"]
    assert shown(plan, shop.state([shoes, back])) == ["discount", "tights"]


@pytest.mark.feature("CM-47")
def test_it_serves_the_swap_without_any_model() -> None:
    plan = shop.plan(mode="model", slots=2)
    assert shown(plan, shop.state()) == ["discount", "tights"]
    assert shown(plan, shop.state([shop.bought(shop.SHOES, shop.NOON - HOUR)])) == ["thanks", "tights"]
    decision = decide(plan, shop.facts(shop.state()), shop.NOON, seed=1)
    assert (decision.rung, decision.reason, decision.model_hash) == ("rules", "no model", None)


@pytest.mark.feature("CM-47")
def test_it_scores_only_the_slots_whose_model_is_switched_on(model: Model) -> None:
    plan = shop.plan(slots=2, discount={"value_cents": 100}, tights={"value_cents": 90, "priority": 9})
    hero, strip = plan.slots
    mixed = replace(plan, slots=(hero, replace(strip, mode="model")))
    decision = decide(mixed, shop.facts(shop.state(), model=model), shop.NOON, seed=1)
    assert decision.offers == (shop.TIGHTS, shop.DISCOUNT)
    assert [candidate.probability for candidate in decision.slots[0].candidates] == [None] * 4
    assert decision.slots[1].candidates[0].probability is not None
    assert (decision.rung, decision.model_hash) == ("model", model.hash)


def test_it_ranks_by_probability_times_value_less_cost(model: Model) -> None:
    likely, rare = {"value_cents": 100}, {"value_cents": 1000, "category": shop.ATTIRE, "needs_stock": False}
    facts = shop.facts(shop.state(), model=model)
    chances = {c.offer: c.probability for c in scored(shop.plan("model", discount=likely, tights=rare), facts)}
    for cost in (0, 50, 100, 300, 900):
        plan = shop.plan("model", discount=likely, tights=rare | {"cost_cents": cost})
        worth = {
            shop.DISCOUNT: chances[shop.DISCOUNT] * 100,
            shop.TIGHTS: chances[shop.TIGHTS] * 1000 - cost,
        }
        decision = decide(plan, facts, shop.NOON, seed=1)
        assert decision.offers == (max(worth, key=lambda offer: worth[offer]),)
        assert decision.slots[0].margin == (
            pytest.approx(abs(worth[shop.DISCOUNT] - worth[shop.TIGHTS])) if min(worth.values()) >= 0 else None
        )


def scored(plan: Plan, facts: Facts) -> list[Any]:
    candidates = decide(plan, facts, shop.NOON, seed=1).slots[0].candidates
    return [candidate for candidate in candidates if candidate.probability is not None]


def test_it_leaves_the_place_to_the_default_when_every_offer_costs_more_than_it_earns(model: Model) -> None:
    plan = shop.plan("model", discount={"cost_cents": 50}, tights={"cost_cents": 50})
    decision = decide(plan, shop.facts(shop.state(), model=model), shop.NOON, seed=1)
    assert decision.offers == (shop.DEFAULT,)
    fates = {c.offer: c.rule for c in decision.slots[0].candidates}
    assert fates[shop.DISCOUNT] == fates[shop.TIGHTS] == "costs more than it earns"


def test_it_settles_equal_value_by_the_seed_and_differently_over_seeds(model: Model) -> None:
    same = {"value_cents": 100, "priority": 0, "category": shop.SHOES, "needs_stock": False}
    plan, facts = shop.plan("model", discount=same, tights=same), shop.facts(shop.state(), model=model)
    picked = [decide(plan, facts, shop.NOON, seed).offers[0] for seed in range(200)]
    assert 70 < picked.count(shop.DISCOUNT) < 130
    assert picked == [decide(plan, facts, shop.NOON, seed).offers[0] for seed in range(200)]


def test_it_scores_nothing_by_sensitive_purchases(model: Model) -> None:
    plan = shop.plan("model", slots=2)
    gifts = shop.state([shop.bought(shop.GIFTS, shop.NOON - 30 * HOUR)])
    unknown = without(gifts, frozenset({shop.GIFTS}))
    assert unknown != gifts
    knowing, blind = (decide(plan, shop.facts(known, model=model), shop.NOON, seed=1) for known in (gifts, unknown))
    assert knowing.features == blind.features is not None
    assert knowing.slots == blind.slots


@pytest.mark.feature("CM-26")
@pytest.mark.parametrize("mode", ["rules", "model"])
def test_it_never_serves_an_offer_outside_its_validity_at_the_boundary(mode: str, model: Model) -> None:
    starts, ends = shop.NOON, shop.NOON + timedelta(seconds=10)
    plan = shop.plan(
        mode,
        discount={"starts_ms": unix_ms(starts), "ends_ms": unix_ms(ends), "mandatory": True},
        tights={"priority": 0},
    )
    step = timedelta(milliseconds=1)
    for boundary in (starts, ends):
        for offset in (-1000, -1, 0, 1, 1000):
            now = boundary + offset * step
            served = shown(plan, shop.state(), now, model=model) == ["discount"]
            assert served == (starts <= now < ends)


def test_it_says_after_the_fact_whether_an_offer_may_still_stand() -> None:
    plan = shop.plan(slots=2, discount={"cap_total": 1, "cap_person": 1, "no_repeat_days": 7})
    used = Used().reserved([(shop.DISCOUNT, None)], shop.NOON_MS)
    facts = shop.facts(shop.state(), used=used, caps={shop.DISCOUNT: 0})
    discount, default = plan.offer_by_id[shop.DISCOUNT], plan.offer_by_id[shop.DEFAULT]
    assert admissible(plan, discount, facts, shop.NOON) == ("beneficial", "total cap")
    assert admissible(plan, discount, facts, shop.NOON, held=True) is None
    bought = replace(facts, state=shop.state([shop.bought(shop.SHOES, shop.NOON - HOUR)]))
    assert admissible(plan, discount, bought, shop.NOON, held=True) == ("relevant", "purpose met")
    erased = replace(facts, state=tombstone())
    assert admissible(plan, discount, erased, shop.NOON, held=True) == ("legal", "erased")
    assert admissible(plan, default, erased, shop.NOON, held=True) is None


@pytest.mark.feature("CM-27")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("clause", [1, 2])
def test_it_lets_each_layer_alone_remove_an_offer_and_names_layer_and_rule(layer: str, clause: int) -> None:
    never = {"field": "orders.count", "op": ">=", "value": 3}
    clauses = [{"always": True}, never] if clause == 2 else [never, {"always": True}]
    plan = shop.plan(discount={"rules": {layer: {"all": clauses}}}, tights={"rules": {layer: {"always": True}}})
    decision = decide(plan, shop.facts(shop.state()), shop.NOON, seed=1)
    assert decision.offers == (shop.TIGHTS,), "a rule that holds removes nothing"
    fate = decision.slots[0].candidates[0]
    assert (fate.offer, fate.removed_by, fate.rule) == (shop.DISCOUNT, layer, f"rule {clause}")
    said = next(other for other in explain(decision, plan)[0].others if other.offer == shop.DISCOUNT)
    assert (said.layer, "orders in all at least 3" in said.sentence) == (layer, True)
    orders = [shop.bought(shop.ATTIRE, shop.SENT - day * timedelta(days=1), order=f"o{day}") for day in (1, 2, 3)]
    assert decide(plan, shop.facts(shop.state(orders)), shop.NOON, seed=1).offers == (shop.DISCOUNT,)


def test_it_gives_each_open_a_seed_of_its_own_and_always_the_same() -> None:
    delivery = Delivery(5, 7, 1)
    seeds = [seed_of(Delivery(profile, 7, 1), number) for profile in range(1, 20) for number in range(1, 20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert seed_of(delivery, 1) == seed_of(Delivery(5, 7, 1), 1) != seed_of(delivery, 2)


def test_it_says_nothing_of_the_person_in_a_default() -> None:
    plan = shop.plan()
    known = replace(shop.state(), traits={"first_name": "Mara"})
    shut = decide(plan, shop.facts(known, live=Live(state="killed")), shop.NOON, seed=1)
    assert shut.slots[0].fields == {"offer.headline": "default", "brand.name": "Stride"}
    open_ = decide(plan, shop.facts(known), shop.NOON, seed=1)
    assert open_.slots[0].fields["profile.first_name"] == "Mara"


def test_it_calls_a_person_by_name_in_an_offers_own_text_but_nobody_in_a_default() -> None:
    greeting = {"fields": {"headline": "Shoes for {{ profile.first_name|default('you') }}"}}
    plan = shop.plan(discount=greeting, default=greeting)
    facts = shop.facts(replace(shop.state(), traits={"first_name": "Mara"}))
    assert decide(plan, facts, shop.NOON, seed=1).slots[0].fields["offer.headline"] == "Shoes for Mara"
    shut = replace(facts, live=Live(state="killed"))
    assert decide(plan, shut, shop.NOON, seed=1).slots[0].fields["offer.headline"] == "Shoes for you"


@pytest.mark.parametrize(
    ("fields", "price", "saving"),
    [
        ({"percent": 20}, 3999, 1000),
        ({"percent": 15}, 4249, 750),
        ({"amount_off_cents": 1}, 4998, 1),
        ({"price_cents": 4500}, 4500, 499),
        ({"price_cents": 4999}, 4999, None),
        ({"price_cents": 6000}, 6000, None),
    ],
)
def test_it_states_price_and_saving_to_the_cent(fields: dict[str, int], price: int, saving: int | None) -> None:
    plan = shop.plan(discount={"ends_ms": 1}, tights={"fields": fields, "shows_price": True})
    said = decide(plan, shop.facts(shop.state()), shop.NOON, seed=1).slots[0].fields
    assert (said["product.price_cents"], said["offer.price_cents"]) == (4999, price)
    assert said.get("offer.saving_cents") == saving
    assert said.get("offer.was_cents") == (None if saving is None else 4999)
    assert said["offer.price"] == f"${price / 100:.2f}"


def test_it_states_no_price_from_a_stale_feed() -> None:
    plan = shop.plan(discount={"ends_ms": 1}, tights={"fields": {"percent": 20}, "needs_stock": False})
    stale = shop.product(fed=shop.NOON - timedelta(days=3))
    said = decide(plan, shop.facts(shop.state(), products={"tights-1": stale}), shop.NOON, seed=1).slots[0].fields
    assert said["product.name"] == "Running tights"
    assert not [name for name in said if "price" in name or "saving" in name]


# What holds for every plan and person. Small numbers make collisions, ties and boundaries likely.

KINDS = st.sampled_from(["replacement", "cross-sell", "upsell", "thank-you", "service", "neutral"])
TIMES = st.sampled_from([None, shop.NOON_MS - 1, shop.NOON_MS, shop.NOON_MS + 1])
CATEGORY = st.sampled_from([None, shop.SHOES, shop.ATTIRE])
RULES = st.sampled_from([None, {"always": True}, {"field": "orders.count", "op": ">=", "value": 1}])


@st.composite
def offers(draw: st.DrawFn, number: int) -> Any:
    starts, ends = draw(TIMES), draw(TIMES)
    if starts is not None and ends is not None and starts >= ends:
        starts = None
    return shop.offer(
        number,
        draw(KINDS),
        category=draw(CATEGORY),
        purpose_category=draw(CATEGORY),
        after_category=draw(CATEGORY),
        starts_ms=starts,
        ends_ms=ends,
        priority=draw(st.integers(0, 2)),
        value_cents=draw(st.integers(0, 2)) * 100,
        cost_cents=draw(st.integers(0, 1)) * 60,
        cap_total=draw(st.sampled_from([None, 3])),
        cap_person=draw(st.sampled_from([None, 1])),
        no_repeat_days=draw(st.sampled_from([None, 1])),
        sticky=draw(st.booleans()),
        mandatory=draw(st.booleans()),
        clock_bound=draw(st.booleans()),
        rules={layer: draw(RULES) for layer in LAYERS},
        requires_consent=draw(st.sampled_from([(), ("profiling",)])),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(0, 6))
    held = [draw(offers(number)) for number in range(1, count + 1)]
    slots = tuple(
        Slot(
            index=index,
            name=f"slot {index}",
            width=600,
            height=200,
            offers=tuple(draw(st.lists(st.sampled_from([offer.id for offer in held]), unique=True)) if held else ()),
            default=draw(st.sampled_from([shop.DEFAULT, shop.STRIP_DEFAULT])),
            alt="Your offer",
            mode=draw(st.sampled_from(["rules", "model"])),
        )
        for index in range(draw(st.integers(1, 3)))
    )
    base = shop.plan()
    defaults = (base.offer_by_id[shop.DEFAULT], base.offer_by_id[shop.STRIP_DEFAULT])
    plan = replace(base, slots=slots, offers=(*held, *defaults))
    assert validate(plan) == []
    return plan


@st.composite
def people(draw: st.DrawFn) -> ProfileState | None:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([None, tombstone()]))
    events = [
        shop.bought(category, shop.SENT + timedelta(milliseconds=offset), order=f"o{number}")
        for number, (category, offset) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(-2, 2)), max_size=3))
        )
    ]
    if draw(st.booleans()):
        events.append(shop.complained(shop.SENT))
    state = shop.state(events, **draw(st.dictionaries(st.sampled_from(["tracking", "profiling"]), st.booleans())))
    marks = tuple(Mark(f"category:{category}", "not_for_me", 0) for category in draw(st.sets(st.sampled_from([1, 2]))))
    return replace(state, marks=marks)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, Facts]:
    plan = draw(plans())
    ids = [offer.id for offer in plan.offers]
    some = st.sets(st.sampled_from(ids), max_size=3)
    used = Used()
    for at in draw(st.lists(st.sampled_from([shop.NOON_MS - 1, shop.NOON_MS - 86_400_000]), max_size=2)):
        used = used.reserved([(offer, None) for offer in sorted(draw(some))], at)
    last = LastDecision("d", 1, shop.NOON_MS - 1, {slot.index: draw(st.sampled_from(ids)) for slot in plan.slots})
    facts = shop.facts(
        draw(people()),
        used=used,
        caps={offer: draw(st.integers(0, 1)) for offer in sorted(draw(some))},
        last=draw(st.sampled_from([None, last])),
        lane=draw(st.sampled_from(["live", "test", "machine"])),
        undecided=draw(st.booleans()),
        live=Live(withdrawn=tuple(sorted(draw(some)))),
        refused=frozenset(draw(some)),
    )
    return plan, facts


def check(plan: Plan, facts: Facts, decision: Decision) -> None:
    """Whatever the facts: every slot filled, nothing twice, nothing that a layer removed."""
    assert [slot.slot for slot in decision.slots] == [slot.index for slot in plan.slots]
    won = []
    for slot, chosen in zip(plan.slots, decision.slots, strict=True):
        offer = plan.offer_by_id[chosen.offer]
        assert chosen.creative == offer.creative
        fates = {candidate.offer: candidate for candidate in chosen.candidates}
        if chosen.offer == slot.default and fates.get(chosen.offer) is None:
            assert all(candidate.removed_by is not None for candidate in chosen.candidates)
            continue
        won.append(chosen.offer)
        assert [offer for offer, fate in fates.items() if fate.removed_by is None] == [chosen.offer]
        assert admissible(plan, offer, facts, shop.NOON) is None
        assert set(fates) == set(slot.offers)
    assert len(set(won)) == len(won)


@pytest.mark.feature("CM-30")
@settings(max_examples=300)
@given(situations())
def test_it_never_leaves_a_slot_empty_nor_shows_what_was_removed(situation: tuple[Plan, Facts]) -> None:
    plan, facts = situation
    check(plan, facts, decide(plan, facts, shop.NOON, seed=3))


@settings(max_examples=100)
@given(situation=situations())
def test_it_keeps_these_promises_with_a_model_too(situation: tuple[Plan, Facts], model: Model) -> None:
    plan, facts = situation
    facts = replace(facts, model=model)
    decision = decide(plan, facts, shop.NOON, seed=3)
    check(plan, facts, decision)
    assert decision == decide(plan, facts, shop.NOON, seed=3)


@settings(max_examples=200)
@given(situations())
def test_it_asks_an_offer_for_what_it_names_and_misses_nothing_by_that(situation: tuple[Plan, Facts]) -> None:
    plan, facts = situation
    if facts.state is None:
        return
    short, whole = Situation(plan, facts, shop.NOON), Situation(plan, facts, shop.NOON)
    whole._is_calm = False
    for offer in plan.offers:
        for held in (False, True):
            assert short.reason(offer, held) == whole.reason(offer, held)
    assert short.lost == whole.lost


@settings(max_examples=150)
@given(situation=situations(), shuffle=st.randoms(use_true_random=False))
def test_it_does_not_depend_on_the_order_of_candidates_but_in_ties(
    situation: tuple[Plan, Facts], shuffle: Any, model: Model
) -> None:
    plan, facts = situation
    # Distinct priorities leave rules slots no tie, and the seed settles the ties of model slots by offer, not by place.
    plan = replace(plan, offers=tuple(replace(offer, priority=offer.id) for offer in plan.offers))
    facts = replace(facts, model=model)
    turned = replace(
        plan,
        slots=tuple(replace(slot, offers=tuple(shuffle.sample(slot.offers, len(slot.offers)))) for slot in plan.slots),
        offers=tuple(shuffle.sample(plan.offers, len(plan.offers))),
    )
    one, other = decide(plan, facts, shop.NOON, seed=3), decide(turned, facts, shop.NOON, seed=3)
    assert one.offers == other.offers
    fates = [{c.offer: (c.removed_by, c.rule) for c in slot.candidates} for slot in one.slots]
    assert fates == [{c.offer: (c.removed_by, c.rule) for c in slot.candidates} for slot in other.slots]
