"""Which product an open picks for an offer that leaves it open, and what it may say of how many bought it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from base.blobs import FolderBlobs
from base.settings import Settings
from render.decide import decide
from render.decision import SlotDecision
from render.explanation import explain
from render.facts import LastDecision
from render.faults import validate
from render.parts import Parts
from render.pick import How, Pick, PoolProduct
from render.picking import UNPICKED
from render.plan import Plan
from render.relations import LEAST_PEOPLE, TOLD_HOURS, Learnt, Relations, Together, encode
from render.replay import replay, same_outcome, without_cause
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.state import ProfileState
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import DEFAULT, GIFTS, NOON, NOON_MS, SHOES, bought, facts, plan, product, state

CAMERA, CARD, TRIPOD, BAG = 11, 12, 13, 14
CATEGORIES = {"card-s": CARD, "card-l": CARD, "tripod": TRIPOD, "bag": BAG}
POOL = tuple(
    PoolProduct(name, category, link=f"https://shop.example.com/p/{name}") for name, category in CATEGORIES.items()
)
VERSIONS = tuple(
    PoolProduct(name, CAMERA, "eos", tier) for tier, name in enumerate(("eos-1", "eos-2", "eos-3", "eos-4"))
)
PRICES = {entry.id: 30_000 + 20_000 * entry.tier for entry in VERSIONS}
PICKED = 3
"""The number of the offer that picks; it stands in the place of the shop's tights."""
NOW = NOON - timedelta(hours=1)


def picking(how: How, pool: tuple[PoolProduct, ...] = POOL, *, within_days: int = 60, **changes: Any) -> Plan:
    """The shoe shop's plan, whose only candidate picks its product."""
    pick = Pick(how=how, pool=pool, within_days=within_days)
    shop = plan()
    fields = {"pick": pick, "product": None, "category": None} | changes
    offers = tuple(replace(one, **fields) if one.id == PICKED else one for one in shop.offers)
    slots = tuple(replace(slot, offers=(PICKED,)) for slot in shop.slots)
    made = replace(shop, offers=offers, slots=slots)
    assert validate(made) == []
    return made


def learnt(**changes: Any) -> Relations:
    """Cards go best with cameras, then tripods and bags; the large card is what most people buy."""
    content: dict[str, Any] = {
        "complements": {CAMERA: (Together(CARD, 90, 4.0), Together(TRIPOD, 50, 3.0), Together(BAG, 40, 2.0))},
        "buyers": {"card-s": 40, "card-l": 213, "tripod": 30, "bag": LEAST_PEOPLE - 1},
        "together": {"eos-1": {"tripod": 25, "card-s": 21, "bag": 5}},
        "until_ms": NOON_MS - 3_600_000,
    }
    return Relations.load(encode(Learnt(**content | changes)))


def stocked(*sold_out: str, **prices: int) -> dict[str, ProductFacts]:
    names = {**CATEGORIES, **{entry.id: entry.category for entry in VERSIONS}}
    return {
        name: replace(
            product(0 if name in sold_out else 5, (PRICES | prices).get(name, 1_999), name=name), category=category
        )
        for name, category in names.items()
    }


def shown(
    made: Plan, events: Iterable[FoldEvent] = (), known: Relations | None = None, now: datetime = NOON, **changes: Any
) -> SlotDecision:
    """What the one place shows."""
    read = {"products": stocked(), "relations": known or learnt()} | changes
    return decide(made, facts(state(events), **read), now, 1).slots[0]


def why(decision: SlotDecision) -> str | None:
    (candidate,) = decision.candidates
    assert decision.offer == (PICKED if candidate.rule is None else DEFAULT)
    return candidate.rule


def camera(name: str = "eos-1", at: datetime = NOW, order: str = "c") -> FoldEvent:
    return bought(CAMERA, at, product=name, order=order)


def in_cart(category: int, name: str, at: datetime = NOON) -> FoldEvent:
    lines = (Line(name, category, 1, 5_000),)
    return FoldEvent(time_ms=unix_ms(at), message_id=f"cart-{name}", kind="cart_add", arrival=unix_ms(at), lines=lines)


@pytest.mark.feature("CM-40")
def test_it_picks_what_goes_with_the_newest_purchase_and_was_not_bought_with_it() -> None:
    made = picking("complement")
    assert shown(made, [camera()]).product == "card-l"
    with_card = [camera(), bought(CARD, NOW, product="card-x", order="d")]
    assert shown(made, with_card).product == "tripod"
    before = [bought(CARD, NOW - timedelta(days=9), product="card-s", order="d"), camera()]
    assert shown(made, before).product == "card-l"
    assert shown(made, [in_cart(CAMERA, "eos-2")]).product == "card-l"
    assert why(shown(made)) == "nothing goes with it"
    assert why(shown(made, [camera(at=NOW - timedelta(days=61))])) == "nothing goes with it"
    assert shown(picking("complement", within_days=90), [camera(at=NOW - timedelta(days=61))]).product == "card-l"


@pytest.mark.feature("CM-40")
def test_it_prefers_a_pair_set_by_hand_and_never_shows_one_that_was_parted() -> None:
    made = picking("complement")
    assert shown(made, [camera()], learnt(pairs={CAMERA: (BAG,)})).product == "bag"
    assert shown(made, [camera()], learnt(parted={CAMERA: (CARD,)})).product == "tripod"
    assert shown(made, [bought(SHOES, NOW)], learnt(pairs={SHOES: (TRIPOD,)})).product == "tripod"


def test_it_picks_nothing_by_purchases_of_a_sensitive_category() -> None:
    known = learnt(pairs={GIFTS: (TRIPOD,)})
    assert why(shown(picking("complement"), [bought(GIFTS, NOW)], known)) == "nothing goes with it"


@pytest.mark.feature("CM-43")
def test_it_tells_how_many_bought_what_is_popular_and_nothing_below_the_support() -> None:
    line = "{% if product.buyers %}bought by {{ product.buyers }} people{% endif %}"
    made = picking("popular", fields={"headline": "Popular", "line": line})
    decision = shown(made)
    assert decision.product == "card-l"
    assert decision.fields["offer.line"] == "bought by 213 people"
    german = shown(made, known=learnt(buyers={"card-l": 12_345}), locale="de")
    assert german.fields["product.buyers"] == "12.345"
    second = shown(made, products=stocked("card-l"))
    assert (second.product, second.fields["product.buyers"]) == ("card-s", "40")
    few = learnt(buyers={"bag": LEAST_PEOPLE - 1})
    assert why(shown(made, known=few)) == "too few bought it"
    # An offer whose product is always the same says nothing of so few either: the line is absent.
    bag = picking("complement", tuple(entry for entry in POOL if entry.id == "bag"), fields={"line": line})
    assert "offer.line" not in shown(bag, [camera()]).fields
    stale = NOON_MS - TOLD_HOURS * 3_600_000
    assert "offer.line" in shown(made, known=learnt(until_ms=stale)).fields
    assert "offer.line" not in shown(made, known=learnt(until_ms=stale - 1)).fields


@pytest.mark.feature("CM-43")
def test_it_tells_how_many_bought_both_of_what_the_person_has() -> None:
    made = picking("also-bought", fields={"line": "{{ product.also_bought }} customers also bought it"})
    decision = shown(made, [camera()])
    assert (decision.product, decision.fields["offer.line"]) == ("tripod", "25 customers also bought it")
    assert shown(made, [in_cart(CAMERA, "eos-1")]).product == "tripod"
    assert shown(made, [camera()], products=stocked("tripod")).product == "card-s"
    assert why(shown(made, [camera()], products=stocked("tripod", "card-s"))) == "too few bought both"
    assert why(shown(made, [camera("eos-2")])) == "too few bought both"


@pytest.mark.feature("CM-41")
def test_it_offers_the_next_better_version_and_none_to_who_has_the_best() -> None:
    made = picking("upgrade", VERSIONS)
    assert shown(made, [camera("eos-1")]).product == "eos-2"
    assert shown(made, [camera("eos-2")]).product == "eos-3"
    assert shown(made, [camera("eos-2")], products=stocked("eos-3")).product == "eos-4"
    assert why(shown(made, [camera("eos-3")], products=stocked("eos-4"))) == "no better version"
    # A better one that is cheaper today is no dearer one.
    assert shown(made, [camera("eos-1")], products=stocked(**{"eos-2": 29_999})).product == "eos-3"
    assert why(shown(made)) == "owns no version"
    shop = replace(made, slots=tuple(replace(slot, offers=(PICKED, 1)) for slot in made.slots))
    top = decide(shop, facts(state([camera("eos-4")]), products=stocked()), NOON, 1).slots[0]
    assert (top.offer, top.candidates[0].rule) == (1, "owns the best version")


@pytest.mark.feature("CM-41")
def test_it_never_offers_an_owned_or_lower_version_whatever_was_bought() -> None:
    made = picking("upgrade", VERSIONS)
    tiers = {entry.id: entry.tier for entry in VERSIONS}
    dice, offered = random.Random(41), 0
    for _ in range(400):
        events, owned = [], set()
        for number in range(dice.randint(0, 20)):
            at = NOW - timedelta(days=dice.randint(0, 400), minutes=number)
            name = dice.choice([*tiers, "sock", "sock", "sock", "sock"])
            events.append(bought(CAMERA if name in tiers else SHOES, at, product=name, order=str(number)))
            owned |= {name} & set(tiers)
        sold_out = [name for name in tiers if dice.random() < 0.3]
        decision = shown(made, events, products=stocked(*sold_out))
        if decision.offer == PICKED:
            offered += 1
            assert decision.product not in {*owned, *sold_out}
            assert tiers[str(decision.product)] > max(tiers[name] for name in owned)
    assert offered > 40


def said(word: str, name: str = "", category: int = 0) -> FoldEvent:
    """What support was told of a product, or of a category."""
    lines = (Line(name, CATEGORIES.get(name, CAMERA), 1, None),) if name else ()
    at = unix_ms(NOW)
    return FoldEvent(
        time_ms=at, message_id=f"{word}-{name}", kind="mark", arrival=at, word=word, category=category, lines=lines
    )


@pytest.mark.feature("SU-09")
def test_it_picks_nothing_that_is_not_for_somebody_nor_what_they_say_they_own() -> None:
    made = picking("popular")
    assert shown(made).product == "card-l"
    for word in ("not_for_me", "already_own"):
        assert shown(made, [said(word, "card-l")]).product == "card-s"
    assert shown(made, [said("gift", "card-l")]).product == "card-l"
    assert shown(made, [said("not_for_me", category=CARD)]).product == "tripod"
    assert shown(picking("complement"), [camera(), said("not_for_me", "card-l")]).product == "card-s"
    assert shown(picking("also-bought"), [camera(), said("not_for_me", "tripod")]).product == "card-s"
    assert shown(picking("upgrade", VERSIONS), [camera(), said("not_for_me", "eos-2")]).product == "eos-3"


def test_it_keeps_the_product_that_was_shown_while_it_is_as_good() -> None:
    made = picking("popular")
    last = LastDecision("d", 1, NOON_MS - 1, {0: PICKED}, {0: "card-s"})
    assert shown(made).product == "card-l"
    assert shown(made, last=last).product == "card-s"
    assert shown(made, last=last, products=stocked("card-s")).product == "card-l"
    assert (
        shown(picking("complement"), [camera(), bought(SHOES, NOON)], learnt(pairs={SHOES: (BAG,)}), last=last).product
        == "bag"
    )


@pytest.mark.feature("SU-04")
@pytest.mark.parametrize("code", UNPICKED)
def test_it_explains_every_reason_for_having_no_product(code: str) -> None:
    worlds: Mapping[str, tuple[Plan, ProfileState, dict[str, Any]]] = {
        "relations unknown": (picking("popular"), state(), {"relations": None}),
        "nothing to pick": (picking("popular"), state(), {"products": stocked(*CATEGORIES)}),
        "nothing goes with it": (picking("complement"), state(), {}),
        "too few bought both": (picking("also-bought"), state(), {}),
        "too few bought it": (picking("popular"), state(), {"relations": learnt(buyers={})}),
        "owns no version": (picking("upgrade", VERSIONS), state(), {}),
        "owns the best version": (picking("upgrade", VERSIONS), state([camera("eos-4")]), {}),
        "no better version": (
            picking("upgrade", VERSIONS), state([camera("eos-3")]), {"products": stocked("eos-4")}
        ),
        "version unknown": (
            picking("upgrade", VERSIONS),
            state([
                camera("eos-3", NOW - timedelta(days=50), "old"), camera("eos-1", NOW - timedelta(days=3), "new"),
                *(bought(SHOES, NOW - timedelta(minutes=number), order=str(number)) for number in range(11)),
            ]),
            {},
        ),
    }  # fmt: skip
    made, person, changes = worlds[code]
    known = facts(person, **({"products": stocked(), "relations": learnt()} | changes))
    decision = decide(made, known, NOON, 1)
    assert why(decision.slots[0]) == code
    (told,) = explain(decision, made)[0].others
    assert told.layer == "relevant"
    assert told.sentence != f"“tights” was not shown: {code}."
    world, again = without_cause(made, known, 0, decision, PICKED)
    assert decide(world, again, NOON, 1).slots[0].offer == PICKED


@pytest.mark.feature("DE-06")
def test_it_picks_at_a_real_open_follows_the_click_and_can_be_replayed(
    client: FlaskClient, mail: Mail, parts: Parts, render_settings: Settings
) -> None:
    known = learnt()
    assert FolderBlobs(render_settings.var / "blobs").put(encode(known.learnt)) == known.hash
    assert parts.relations.load(known.hash)
    made = picking("complement")
    for entry in stocked().values():
        mail.stock(entry)
    mail.know(state([camera()]))
    mail.publish(made, relations=known.hash)
    client.get(mail.url(), headers=browser())
    assert client.get(mail.click(), headers=browser()).headers["Location"] == "https://shop.example.com/p/card-l"
    mail.stock(stocked("card-l")["card-l"])
    assert client.get(mail.click(), headers=browser()).status_code == 200
    client.get(mail.url(), headers=browser())
    assert client.get(mail.click(), headers=browser()).headers["Location"] == "https://shop.example.com/p/card-s"
    first, second = mail.decisions()
    assert [record.slots[0].product for record in (first, second)] == ["card-l", "card-s"]
    assert [click.outcome for click in mail.clicks()] == ["redirect", "out of stock", "redirect"]
    assert first.relations == known.hash
    for record in (first, second):
        assert same_outcome(replay(record, made, None, known), record)


def test_it_keeps_a_plan_from_being_published_that_cannot_pick() -> None:
    shop = picking("complement")
    offer = shop.offer_by_id[PICKED]
    assert offer.pick is not None

    def faults(**changes: Any) -> str:
        offers = tuple(replace(one, **changes) if one.id == PICKED else one for one in shop.offers)
        return " ".join(validate(replace(shop, offers=offers)))

    assert "either named or picked" in faults(product="tights-1")
    assert "needs_stock: must be set" in faults(needs_stock=False)
    assert "has 0 products" in faults(pick=replace(offer.pick, pool=()))
    assert "names a product twice" in faults(pick=replace(offer.pick, pool=(POOL[0], POOL[0])))
    assert "looks back 0 days" in faults(pick=replace(offer.pick, within_days=0))
    assert "belongs to no line" in faults(pick=replace(offer.pick, how="upgrade"))
