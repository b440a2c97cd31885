"""Arbitration and exploration: factors, contexts, priors, and the true chance of every choice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from render.arbitration import MAX_SCORED, Arbitration, Context, Policy
from render.choice import distribution
from render.decide import decide
from render.decision import Decision, SlotDecision
from render.explanation import explain
from render.facts import LastDecision
from render.faults import validate
from render.model import Model
from render.plan import Offer, Slot
from render.replay import without_cause
from tests.render import shoe_shop as shop
from tests.render.ranking import (
    SEEDS,
    SHARES,
    chances_of,
    decided,
    model_bytes,
    plan_of,
    ranking,
)


@pytest.fixture(scope="module")
def model() -> Model:
    """Three categories, the more popular the likelier."""
    return Model.load(model_bytes())


@pytest.mark.feature("CM-31")
@pytest.mark.parametrize("off", ["", "probability", "value", "context", "lever"])
def test_it_ranks_by_probability_context_value_and_lever_as_computed_by_hand(off: str, model: Model) -> None:
    content: dict[str, dict[str, Any]] = {
        "one": {"value_cents": 270, "incentive_cents": 120, "aftercare_cents": 30, "cost_cents": 5},
        "two": {"value_cents": 270, "lever": 1.2},
        "three": {"value_cents": 550, "cost_cents": 20, "kind": "upsell"},
    }
    always = Context("quiet", {"always": True}, {"upsell": 0.6, "cross-sell": 1.1})
    factors = replace(Arbitration(contexts=(always,)), **({off: False} if off else {}))
    plan = plan_of(factors, None, 1, **content)
    chance = chances_of(plan, model)
    worth = {
        1: chance[1] * (270 - 120 - 30) - 5,
        2: chance[2] * 270,
        3: chance[3] * 550 - 20,
    }
    if off == "probability":
        worth = {1: 270 - 120 - 30 - 5, 2: 270, 3: 550 - 20}
    elif off == "value":
        worth = {number: 100 * chance[number] for number in worth}
    weight = {1: 1.1, 2: 1.1, 3: 0.6} if off != "context" else dict.fromkeys(worth, 1.0)
    if off != "lever":
        weight[2] *= 1.2
    by_hand = sorted(worth, key=lambda number: -worth[number] * weight[number])
    assert ranking(plan, model) == by_hand
    # The figures are such that each factor matters: without any of them the order is another.
    assert (by_hand == [2, 1, 3]) == (not off)
    recorded = {one.offer: one.weight for one in decided(plan, model).slots[0].candidates}
    assert recorded == {number: None if weight[number] == 1.0 else pytest.approx(weight[number]) for number in worth}


@pytest.mark.feature("CM-31")
def test_it_shows_what_a_lever_costs(model: Model) -> None:
    plain = plan_of(Arbitration(), two={"value_cents": 100})
    pushed = plan_of(Arbitration(), two={"value_cents": 100, "lever": 5.0})
    chance = chances_of(plain, model)
    first, second = decided(plain, model).slots[0], decided(pushed, model).slots[0]
    assert (first.offer, second.offer) == (1, 2)
    assert first.margin == pytest.approx(100 * (chance[1] - chance[2]))
    assert second.margin == pytest.approx(-100 * (chance[1] - chance[2])), "expected cents given up for the lever"
    why = " ".join(explain(decided(pushed, model), pushed)[0].why)
    assert "Contexts and levers multiplied that by 5." in why
    assert "By value alone “one” was" in why


@pytest.mark.feature("CM-32")
@pytest.mark.parametrize("signal", ["complaint.open", "trait"])
def test_it_lifts_service_while_a_complaint_or_a_cancellation_is_in_progress(signal: str, model: Model) -> None:
    rule: dict[str, Any] = {"field": "complaint.open", "op": "=", "value": True}
    lasting = shop.state([shop.complained(shop.SENT)])
    if signal == "trait":
        rule = {"field": "trait", "name": "cancelling", "op": "=", "value": True}
        lasting = replace(shop.state(), traits={"cancelling": True})
    context = Context("in trouble", rule, {"service": 40.0})
    # A thank-you is no sale, so that only the weight decides and not the open complaint.
    plan = plan_of(
        Arbitration(contexts=(context,)), one={"kind": "thank-you"}, three={"kind": "service", "value_cents": 20}
    )
    assert decided(plan, model).offers == (1,)
    assert decided(plan, model, state=lasting).offers == (3,)
    assert decided(plan, model, state=shop.state()).offers == (1,), "over again once it is settled"


def test_it_lifts_nothing_by_a_sensitive_signal(model: Model) -> None:
    rule = {"field": "purchases.count", "category": "gifts", "op": ">=", "value": 1}
    plan = plan_of(Arbitration(contexts=(Context("giving", rule, {"upsell": 50.0}),)), three={"kind": "upsell"})
    giver = shop.state([shop.bought(shop.GIFTS, shop.SENT)])
    assert decided(plan, model, state=giver).offers == decided(plan, model).offers == (1,)
    assert decided(replace(plan, sensitive=()), model, state=giver).offers == (3,)


@pytest.mark.feature("DE-20")
def test_it_starts_a_new_offer_from_its_prior_which_fades_with_evidence() -> None:
    plan = plan_of(three={"prior": 0.6, "prior_weight": 150})
    said = chances_of(plan_of(), Model.load(model_bytes()))[3]
    last = 1.0
    for seen in (0, 50, 150, 1_000, 100_000):
        chance = chances_of(plan, Model.load(model_bytes(evidence={3: seen})))[3]
        assert chance == pytest.approx((150 * 0.6 + seen * said) / (150 + seen))
        assert chance < last
        last = chance
    assert last == pytest.approx(said, abs=0.001)


@pytest.mark.feature("DE-20")
def test_it_gives_a_new_offer_its_least_share(model: Model) -> None:
    plan = plan_of(policy=Policy("softmax", temperature_cents=2.0, floor=0.05, top=3), three={"prior": 0.02})
    shown = Counter(decided(plan, model, seed).offers[0] for seed in SEEDS)
    assert shown[3] / len(SEEDS) == pytest.approx(0.05, abs=0.012), "four standard errors"


POLICIES = [
    Policy("epsilon", epsilon=0.2, top=3),
    Policy("epsilon", epsilon=0.1, floor=0.03, top=2),
    Policy("softmax", temperature_cents=30.0, top=3),
    Policy("softmax", temperature_cents=15.0, floor=0.1, top=3),
    Policy("thompson", floor=0.04, top=3),
]


@pytest.mark.feature("DE-21")
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.kind}-{policy.floor}")
def test_it_draws_as_often_as_it_says_and_joins_the_slots(policy: Policy) -> None:
    model = Model.load(model_bytes(bags=8))
    plan = plan_of(policy=policy, slots=2, two={"value_cents": 110}, three={"value_cents": 400})
    seen: Counter[tuple[int, ...]] = Counter()
    said: dict[tuple[int, ...], float] = {}
    for seed in SEEDS:
        decision = decided(plan, model, seed)
        seen[decision.offers] += 1
        assert said.setdefault(decision.offers, decision.propensity) == decision.propensity
        assert decision.propensity == pytest.approx(decision.slots[0].propensity * decision.slots[1].propensity)
        for slot in decision.slots:
            check_logged(slot, policy)
    # Pearson's chi-square over the joint outcomes; its 99.9 % point for up to five degrees of freedom is 20.5.
    assert sum(said.values()) == pytest.approx(1.0)
    expected = {offers: chance * len(SEEDS) for offers, chance in said.items()}
    assert sum((seen[offers] - count) ** 2 / count for offers, count in expected.items()) < 20.5


def check_logged(slot: SlotDecision, policy: Policy) -> None:
    drawn_from = {one.offer: one.chance for one in slot.candidates if one.chance}
    assert slot.policy == policy.kind
    assert slot.propensity == drawn_from[slot.offer]
    assert sum(drawn_from.values()) == pytest.approx(1.0)
    assert all(chance >= policy.floor for chance in drawn_from.values())
    assert len(drawn_from) <= policy.top


@pytest.mark.feature("DE-21")
def test_it_logs_one_for_what_could_not_have_been_otherwise(model: Model) -> None:
    policy = Policy("softmax", temperature_cents=30.0, top=3)
    greedy = decided(plan_of(), model).slots[0]
    assert (greedy.propensity, greedy.policy) == (1.0, None)
    assert {one.chance for one in greedy.candidates} == {None}
    plan = plan_of(policy=policy)
    first = decided(plan, model, seed=5)
    last = shop_last(first)
    again = decided(plan, model, seed=6, last=last).slots[0]
    assert (again.offer, again.held, again.propensity, again.policy) == (first.offers[0], True, 1.0, None)
    forced = decided(plan_of(policy=policy, three={"mandatory": True}), model).slots[0]
    assert (forced.offer, forced.propensity, forced.policy) == (3, 1.0, None)
    machine = decided(plan, model, lane="machine").slots[0]
    assert (machine.offer, machine.policy) == (1, None), "nothing is tried out on a machine"
    assert decided(plan, model, seed=5) == first, "a replay draws the same"


def shop_last(decision: Decision) -> LastDecision:
    return LastDecision("d", 1, shop.NOON_MS - 1, {slot.slot: slot.offer for slot in decision.slots})


def test_it_tells_a_drawn_offer_and_its_rivals_in_words(model: Model) -> None:
    plan = plan_of(policy=Policy("epsilon", epsilon=0.6, top=3))
    decision = next(made for made in (decided(plan, model, seed) for seed in SEEDS) if made.offers == (3,))
    (told,) = explain(decision, plan)
    assert told.why[0] == "“three” was drawn with a chance of 20.0 %, so that it is learnt how offers do."
    assert "another offer was drawn" in told.others[0].sentence
    facts = shop.facts(shop.state(), model=model)
    alone = without_cause(plan, facts, 0, decision, 1)
    assert decide(*alone, shop.NOON, seed=decision.seed).offers == (1,)


@given(
    kind=st.sampled_from(["greedy", "epsilon", "softmax", "thompson"]),
    ranks=st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    epsilon=st.floats(0, 1),
    temperature=st.floats(1e-3, 1e6),
    share=st.floats(0, 1),
)
@settings(max_examples=200)
def test_it_always_deals_out_one(
    kind: Any, ranks: list[float], epsilon: float, temperature: float, share: float
) -> None:
    ordered = sorted(ranks, reverse=True)
    floor = share / 20
    policy = Policy(kind, epsilon=epsilon, temperature_cents=temperature, floor=floor, top=20)
    shares = distribution(policy, ordered, [ordered, ordered[::-1]])
    assert sum(shares) == pytest.approx(1.0)
    assert all(one >= floor - 1e-12 for one in shares)


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (Policy("epsilon", epsilon=1.5), "slots[0].policy.epsilon: must be a probability from 0 to 1"),
        (Policy("softmax", temperature_cents=0.0), "slots[0].policy.temperature_cents: must be above 0"),
        (Policy("softmax", top=21), "slots[0].policy.top: must be from 1 to 20"),
        (Policy("softmax", floor=0.3, top=5), "slots[0].policy.floor: must be from 0 to 0.2: 5 offers share"),
    ],
)
def test_it_does_not_publish_a_policy_that_cannot_be(policy: Policy, fault: str) -> None:
    plan = plan_of()
    slots = tuple(replace(slot, policy=policy) for slot in plan.slots)
    assert validate(replace(plan, slots=slots))[0].startswith(fault)


def test_it_does_not_publish_weights_that_cannot_be() -> None:
    plan = plan_of()
    wrong = Context("odd", {"always": True}, {"gift": 2.0, "service": 101.0})
    said = validate(replace(plan, arbitration=Arbitration(contexts=(wrong,))))
    assert said == [
        "arbitration.contexts[0].weights: name 'gift', which is no kind of offer",
        "arbitration.contexts[0].weights: must be from 0 to 100",
    ]


def test_a_plan_without_any_of_it_keeps_its_bytes() -> None:
    """What was published before goes on under the hash it had."""
    text = msgspec.json.encode(plan_of())
    for name in (b"arbitration", b"policy", b"lever", b"incentive", b"aftercare", b"prior", b"fatigue"):
        assert name not in text
    assert msgspec.json.encode(Arbitration(lever=False)) == b'{"lever":false}'


@pytest.mark.feature("DE-27")
def test_it_scores_the_first_of_many_and_always_the_same(model: Model) -> None:
    many = tuple(
        shop.offer(
            number, "cross-sell", name=f"offer {number}", category=1 + number % 3, value_cents=100 + number % 97,
            priority=9 if number == 4_321 else 0, mandatory=number == 77,
        )
        for number in range(100, 5_090)
    )  # fmt: skip
    base = plan_of()
    slot: Slot = replace(base.slots[0], offers=tuple(one.id for one in many))
    plan = replace(base, slots=(slot,), offers=(*many, shop.offer(shop.DEFAULT, "neutral")))
    decision = decided(plan, model)
    scored = {one.offer for one in decision.slots[0].candidates if one.probability is not None}
    left = {one.offer for one in decision.slots[0].candidates if one.rule == "not among the first"}
    assert len(scored) == MAX_SCORED
    assert scored | left == set(slot.offers)

    def worth(offer: Offer) -> tuple[float, ...]:
        popularity = SHARES[offer.category or 0]
        return (not offer.mandatory, -offer.priority, -popularity * offer.value_cents, offer.id)

    assert scored == {one.id for one in sorted(many, key=worth)[:MAX_SCORED]}
    turned = replace(plan, slots=(replace(slot, offers=slot.offers[::-1]),), offers=plan.offers[::-1])
    again = decided(turned, model)
    assert {one.offer for one in again.slots[0].candidates if one.probability is not None} == scored
    assert again.offers == decision.offers
