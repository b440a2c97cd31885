"""What each place can show where the plan's values, costs and priorities bound what a model may do."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from campaigns.reach import variants
from render.arbitration import Arbitration, Context, Policy
from render.decide import decide
from render.eligibility import Situation
from render.faults import validate
from render.model import Model
from render.plan import Live, Offer, Plan
from render.scoring import Scores, score
from tests.campaigns import test_reach as single
from tests.campaigns.test_reach import of_places
from tests.campaigns.test_reach_turns import Force, said
from tests.render import shoe_shop as shop
from tests.render.shoe_shop import NOON, NOON_MS

MODEL = Model.load(shop.model_bytes())


def random_plan(seed: int) -> Plan:
    """Two or three candidates of many values over one to three places, some drawing, with some factors off."""
    chance = random.Random(seed)
    offers = []
    for number in range(1, chance.randint(2, 3) + 1):
        content: dict[str, Any] = {
            "priority": chance.randint(0, 2),
            "value_cents": chance.choice((0, 0, 100, 300)),
            "cost_cents": chance.choice((0, 0, 0, 100, 300)),
            "aftercare_cents": chance.choice((0, 0, 0, 50)),
            "lever": chance.choice((1.0, 1.0, 1.0, 0.0, 2.0)),
            "sticky": chance.random() < 0.4,
            "mandatory": chance.random() < 0.15,
        }
        if chance.random() < 0.3:
            content["rules"] = {"relevant": single.TRAIT}
        offers.append(shop.offer(number, chance.choice(("thank-you", "cross-sell")), **content))
    numbers = [offer.id for offer in offers]
    modes = chance.choice((("model",), ("model", "rules")))
    lists = [tuple(chance.sample(numbers, chance.randint(1, len(numbers)))) for _ in range(chance.randint(1, 3))]
    plan = of_places([(chance.choice(modes), candidates) for candidates in lists], *offers)
    if chance.random() < 0.2:
        draws = Policy(kind="epsilon", epsilon=0.5, top=chance.randint(1, 3))
        first = plan.slots[0]
        plan = msgspec.structs.replace(
            plan, slots=(msgspec.structs.replace(first, mode="model", policy=draws), *plan.slots[1:])
        )
    if chance.random() < 0.5:
        factors = Arbitration(probability=chance.random() < 0.5, value=chance.random() < 0.7)
        plan = msgspec.structs.replace(plan, arbitration=factors)
    assert validate(plan) == []
    return plan


class Says:
    """A model that says of each offer what it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.chances: tuple[float, ...] = ()
        self.effects: tuple[float, ...] | None = None
        patch.setattr(Model, "predict", lambda model, matrix, tables=None: np.array(self.chances))
        patch.setattr(
            Model, "predict_effects", lambda model, matrix: None if self.effects is None else np.array(self.effects)
        )

    def scores(self, plan: Plan) -> list[Scores]:
        """What the offers of a plan are ranked by, one for each way in which they can be put in order."""
        offers = [offer for offer in plan.offers if offer.id < shop.DEFAULT]
        at = Situation(plan, shop.facts(shop.state(), model=MODEL), NOON)
        made: dict[Any, Scores] = {}
        for self.chances in itertools.product(*(telling(offer, offers) for offer in offers)):
            found = score(at, offers)
            ranks = [found.rank(offer.id) for offer in offers]
            signs = [np.sign(one - other) for one, other in itertools.combinations(ranks, 2)]
            made.setdefault((*signs, *(one < 0 for one in ranks)), found)
        return list(made.values())


def telling(offer: Offer, offers: list[Offer]) -> list[float]:
    """Chances at which an offer is worth as much as others may be at most or at least, or nothing, and some between."""
    least, most = -offer.cost_cents, offer.earned_cents - offer.cost_cents
    weights = (1.0, 2.0)
    ends = {0.0, *(weight * one for of in offers for one in (-of.cost_cents, of.earned_cents - of.cost_cents)
                   for weight in weights)}  # fmt: skip
    found = {0.0, 1.0}
    if most != least:
        found |= {(end / weight - least) / (most - least) for end in ends for weight in weights}
    sides = sorted(chance for chance in found if 0 <= chance <= 1)
    parts = (0.3, 0.6) if len(offers) > 2 else (0.5,)
    return sides + [one + part * (other - one) for one, other in pairwise(sides) for part in parts]


class Valued(Force):
    """Every decision where a model says of each offer any chance, by the scores that the decider makes of it."""

    _seeds = (1, 2, 5, 6, 7, 13)
    """They settle between three offers in every order."""

    def __init__(self, plan: Plan, patch: pytest.MonkeyPatch) -> None:
        self._all = Says(patch).scores(plan)
        super().__init__(plan, patch)

    def _orders(self, offers: list[int]) -> Iterator[Scores]:
        for one in self._all:
            yield Scores(
                {number: one.by_offer[number] for number in offers}, None, bool(offers),
                {number: one.ranks[number] for number in offers if one.ranks},
            )  # fmt: skip


@pytest.mark.feature("CM-24")
@pytest.mark.parametrize("part", range(4))
def test_it_says_yes_and_never_only_where_every_chance_agrees(part: int) -> None:
    counts = dict.fromkeys((True, False, None), 0)
    for seed in range(part, 72, 4):
        plan = random_plan(seed)
        with pytest.MonkeyPatch.context() as patch:
            shown = Valued(plan, patch).pairs()
        for one in variants(plan, Live(plan="p"), NOON_MS):
            counts[one.reachable] += 1
            assert one.reachable in (None, (one.slot, one.offer) in shown), (seed, one)
    assert min(counts[True], counts[False]) > 5
    assert counts[None] <= 3


def test_an_order_that_the_plan_fixes_is_told_also_where_a_model_decides() -> None:
    first, second = shop.offer(1, "thank-you", priority=1), shop.offer(2, "thank-you")
    (found,) = (one for one in variants(of_places([("model", (1, 2))], first, second), Live(plan="p"), NOON_MS)
                if one.offer == 2)  # fmt: skip
    assert (found.reachable, found.why) == (False, "discount may always be shown and goes first")
    earning = shop.offer(1, "thank-you", priority=1, value_cents=1000)
    assert said(of_places([("model", (1, 2))], earning, second))[0, 2] is False
    assert said(of_places([("model", (1, 2))], shop.offer(1, "thank-you", value_cents=1000), second))[0, 2], "a draw"
    sure = Arbitration(probability=False)
    less = shop.offer(2, "thank-you", priority=1, value_cents=100, rules={"relevant": single.TRAIT})
    more = shop.offer(1, "thank-you", value_cents=1000)
    plan = msgspec.structs.replace(of_places([("model", (1, 2)), ("model", (1, 2))], more, less), arbitration=sure)
    assert said(plan) == {(0, 1): True, (0, 2): True, (1, 1): True, (1, 2): True}, "by rules it goes first"
    assert said(msgspec.structs.replace(plan, slots=plan.slots[:1]))[0, 2]


def test_whom_a_place_took_ranks_as_high_as_whom_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = {"priority": 1, "mandatory": True}
    low, middle, high = (
        shop.offer(number, "thank-you", value_cents=value, **fixed) for number, value in ((1, 100), (2, 1000), (3, 0))
    )
    costly = shop.offer(4, "thank-you", value_cents=900, cost_cents=200, **fixed)
    for made, lists in (((low, middle, high), ((1, 2), (2, 3))), ((low, middle, costly), ((1, 2), (2, 4), (4, 1)))):
        plan = of_places([("model", candidates) for candidates in lists], *made)
        with monkeypatch.context() as patch:
            shown = Valued(plan, patch).pairs()
        for pair, reachable in said(plan).items():
            assert reachable is (pair in shown), pair


@pytest.mark.parametrize("factors", [Arbitration(), Arbitration(probability=False)])
def test_what_earns_exactly_its_cost_may_be_shown(factors: Arbitration, monkeypatch: pytest.MonkeyPatch) -> None:
    even = shop.offer(1, "thank-you", value_cents=50, cost_cents=50)
    losing = shop.offer(2, "thank-you", value_cents=50, cost_cents=60, priority=5)
    plan = msgspec.structs.replace(of_places([("model", (1, 2))], even, losing), arbitration=factors)
    assert said(plan)[0, 1]
    Says(monkeypatch).chances = (1.0, 1.0)
    decided = decide(plan, shop.facts(shop.state(), model=MODEL), NOON, 1)
    assert [one.offer for one in decided.slots] == [1]


def test_what_is_less_often_taken_where_it_is_shown_may_pay_by_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    cared = shop.offer(1, "thank-you", aftercare_cents=100)
    first = shop.offer(2, "thank-you", priority=3)
    plan = of_places([("model", (1, 2))], cared, first)
    assert said(plan)[0, 1] is False
    plan = msgspec.structs.replace(plan, arbitration=Arbitration(effect=True))
    assert said(plan)[0, 1]
    says = Says(monkeypatch)
    says.chances, says.effects = (0.5, 0.5), (-0.5, 0.0)
    decided = decide(plan, shop.facts(shop.state(), model=MODEL), NOON, 1)
    assert [one.offer for one in decided.slots] == [1]


def test_offers_that_only_rules_choose_have_no_value() -> None:
    capped = shop.offer(2, "thank-you", priority=1, cap_person=1)
    plan = of_places(
        [("rules", (2, 3)), ("model", (1, 2))], shop.offer(1, "thank-you"), capped, shop.offer(3, "thank-you")
    )
    told = said(plan)
    assert [told[pair] for pair in ((0, 2), (0, 3), (1, 1))] == [True, True, True]


@pytest.mark.parametrize("kind", ["softmax", "thompson", "epsilon"])
@pytest.mark.parametrize(("value", "cost"), [(300, 100), (0, 100), (300, 0)])
def test_a_place_that_draws_leaves_what_costs_more_than_it_earns(
    kind: Any, value: int, cost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = shop.offer(1, "cross-sell", value_cents=value, cost_cents=cost, cap_person=1)
    plan = of_places([("model", (1,)), ("rules", (1,))], once)
    policy = Policy(kind=kind, temperature_cents=1000, top=3, epsilon=0.1)
    plan = msgspec.structs.replace(plan, slots=(msgspec.structs.replace(plan.slots[0], policy=policy), plan.slots[1]))
    told = said(plan)
    for chance in (0.0, 1.0):
        with monkeypatch.context() as patch:
            Says(patch).chances = (chance,)
            decided = decide(plan, shop.facts(shop.state(), model=MODEL), NOON, 1)
        assert all(told[one.slot, 1] for one in decided.slots if one.offer == 1)


def test_an_offer_that_earns_its_cost_at_best_is_not_left_to_a_later_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first place it is passed over only for what earns more, and then it does not earn its cost."""
    cared = shop.offer(1, "thank-you", priority=2, aftercare_cents=200)
    even = shop.offer(2, "cross-sell", priority=1, value_cents=300, cost_cents=300, sticky=False)
    plan = of_places([("model", (1, 2)), ("model", (2,)), ("model", (1,))], cared, even)
    shown = Valued(plan, monkeypatch).pairs()
    assert all(reachable in (None, pair in shown) for pair, reachable in said(plan).items())


def test_no_order_is_told_that_hangs_on_a_context() -> None:
    dear = shop.offer(1, "thank-you", value_cents=300, priority=1)
    cheap = shop.offer(2, "neutral", value_cents=200)
    gold = Context("gold", single.TRAIT, {"thank-you": 0.5})
    plan = of_places([("model", (1, 2))], dear, cheap)
    plan = msgspec.structs.replace(plan, arbitration=Arbitration(probability=False))
    assert said(plan)[0, 2] is False
    plan = msgspec.structs.replace(plan, arbitration=Arbitration(probability=False, contexts=(gold,)))
    assert said(plan)[0, 2] is None
