"""Why not this offer: for every code by which an offer can lose, its sentence, and what undoes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from render import reasons
from render.arbitration import MAX_SCORED, Arbitration, Fatigue, Policy
from render.decide import decide
from render.decision import GAINS_TOO_LITTLE
from render.explanation import explain
from render.facts import Facts, Used
from render.model import Model
from render.picking import UNPICKED
from render.plan import Plan
from render.replay import without_cause
from signals.state import Mark
from tests.render import shoe_shop as shop
from tests.render.ranking import effects_bytes, model_bytes
from tests.render.test_decide_cases import CASES, facts_of, plan_of

DAY_MS = 86_400_000
INCENTIVE = ("not on promotion", "needs no incentive", "need unknown")
SELLING = {"category": shop.SHOES, "value_cents": 1000}
RESTS = ("shown", "ignored", "taken", "refused")


class Loss(NamedTuple):
    """A decision in which offers lose. `slot` is the place that is asked about."""

    plan: Plan
    facts: Facts
    slot: int = 0


def model() -> Model:
    return Model.load(shop.model_bytes({shop.SHOES: 0.4, shop.ATTIRE: 0.2}))


def told(code: str) -> Loss:
    """A decision in which the discount rests for this reason."""
    after: Any = code.removeprefix("resting: ")
    used = Used().reserved([(shop.DISCOUNT, None)], shop.NOON_MS - 5 * DAY_MS)
    if after in ("taken", "refused"):
        used = used.answered(shop.DISCOUNT, None, after, shop.NOON_MS - 4 * DAY_MS)
    rest = Fatigue(after=after, times=1, within_days=30, off_days=60)
    return Loss(shop.plan(discount={"fatigue": [rest]}), shop.facts(shop.state(), used=used))


def scored(plan: Plan, **changes: Any) -> Loss:
    return Loss(plan, shop.facts(shop.state(), model=model(), **changes))


def drawn() -> Loss:
    plan = shop.plan("model", discount=SELLING, tights={"value_cents": 900})
    slots = tuple(replace(slot, policy=Policy("epsilon", epsilon=0.2, floor=0.1, top=3)) for slot in plan.slots)
    return scored(replace(plan, slots=slots))


def crowded() -> Loss:
    plan = shop.plan("model", discount=SELLING)
    many = tuple(
        shop.offer(number, "cross-sell", category=shop.SHOES, value_cents=5000)
        for number in range(100, 101 + MAX_SCORED)
    )
    slot = replace(plan.slots[0], offers=(*plan.slots[0].offers, *(one.id for one in many)))
    return scored(replace(plan, slots=(slot,), offers=(*plan.offers, *many)))


def without_effect() -> Loss:
    by_effect = replace(shop.plan("model", discount=SELLING), arbitration=Arbitration(effect=True))
    return Loss(by_effect, shop.facts(shop.state(), model=Model.load(model_bytes(uplift=effects_bytes()))))


def marked() -> Loss:
    marks = (Mark(f"category:{shop.SHOES}", "not_for_me", 0),)
    return Loss(shop.plan(), shop.facts(replace(shop.state(), marks=marks)))


MORE: dict[str, Callable[[], Loss]] = {
    **{f"resting: {after}": lambda after=after: told(after) for after in RESTS},  # type: ignore[misc]
    "another was drawn": drawn,
    "not among the first": crowded,
    "not for me": marked,
    "costs more than it earns": lambda: scored(shop.plan("model", discount=SELLING, tights={"cost_cents": 5000})),
    GAINS_TOO_LITTLE: without_effect,
    "shown in another slot": lambda: Loss(shop.plan(slots=2), shop.facts(shop.state()), slot=1),
    "sensitive category": lambda: Loss(replace(shop.plan(), sensitive=(shop.SHOES,)), shop.facts(shop.state())),
    "no longer sold": lambda: Loss(
        shop.plan(tights={"needs_stock": False}),
        shop.facts(shop.state(), products={"tights-1": replace(shop.product(stock=0), gone=True)}),
    ),
    "no product in stock": lambda: Loss(
        shop.plan(tights={"product": None, "needs_stock": False, "products": ["tights-1"]}),
        shop.facts(shop.state(), products={"tights-1": shop.product(stock=0)}),
    ),
    "anonymous: limited": lambda: Loss(
        replace(shop.plan(discount={"cap_person": 1}), tracking="anonymous"), shop.facts(shop.state())
    ),
}
"""By code, a decision in which an offer loses that way, beside those of decision_cases.json."""


ELSEWHERE = {
    *UNPICKED, *INCENTIVE, "nothing to replace", "interval unknown", "bought too recently", "no purchase to add to",
    "upsell window over", "quantity unknown", "too many at once",
}  # fmt: skip
"""Codes whose tests stand beside what they need: test_picking, test_incentive and test_occasion."""


def losses() -> dict[str, Loss]:
    from_table = {case["it"]: Loss(plan_of(case), facts_of(case)) for case in CASES if "reason" not in case}
    return from_table | {code: made() for code, made in MORE.items()}


LOSSES = losses()


def fates(plan: Plan, facts: Facts, slot: int) -> dict[int, tuple[str | None, str | None]]:
    made = decide(plan, facts, shop.NOON, seed=1).slot(slot).candidates
    return {one.offer: (one.removed_by, one.rule) for one in made}


def test_it_knows_a_case_for_every_code() -> None:
    seen = {rule for loss in LOSSES.values() for _, rule in fates(*loss).values() if rule is not None}
    assert set(reasons.WHY) - ELSEWHERE <= seen
    assert {rule.partition(":")[0] for rule in seen - set(reasons.WHY)} == {
        "no consent", "rule 1", "rule 2", "suppressed", "unprofitable",
    }  # fmt: skip


@pytest.mark.feature("SU-04")
@pytest.mark.parametrize("name", LOSSES, ids=[name.replace(" ", "_") for name in LOSSES])
def test_it_says_of_every_losing_offer_what_alone_would_have_to_be_otherwise(name: str) -> None:
    plan, facts, slot = LOSSES[name]
    decision = decide(plan, facts, shop.NOON, seed=1)
    part = next(part for part in explain(decision, plan) if part.slot == slot)
    before = fates(plan, facts, slot)
    lost = {offer: fate for offer, fate in before.items() if fate[0] is not None}
    if name in MORE:
        assert name in {rule for _, rule in lost.values()}
    # Whoever asks gets an answer for each of them, in the words of its own cause.
    assert {other.offer for other in part.others} == set(lost)
    for other in part.others:
        assert other.sentence.startswith(f"“{other.name}” was not shown: ")
        assert other.sentence.endswith(".")
        assert "None" not in other.sentence
    by_cause: dict[tuple[str | None, str | None], list[int]] = {}
    for offer, fate in lost.items():
        by_cause.setdefault(fate, []).append(offer)
    # Of many that lost alike a few stand for all.
    for cause, offers in by_cause.items():
        for offer in offers[:3]:
            after = fates(*without_cause(plan, facts, slot, decision, offer), slot)
            assert after[offer] != cause
            if cause[0] == "arbitration" and cause[1] not in ("costs more than it earns", GAINS_TOO_LITTLE):
                assert after[offer] == (None, None), "nothing but the others kept it from being shown"
            for number, fate in lost.items():
                if fate != cause and "arbitration" not in (fate[0], cause[0]):
                    assert after.get(number, fate) == fate
