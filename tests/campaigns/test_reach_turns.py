"""What each place can show where a model decides, what was shown is held, and places draw: held against every open."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import prod
from typing import Any

import msgspec
import pytest

from campaigns.outlook import Outlook
from campaigns.reach import variants, words
from render.arbitration import Fatigue, Policy
from render.arms import Arm, Split
from render.decide import decide, prefilter
from render.eligibility import Situation
from render.facts import Facts, LastDecision, OfferUse, Used
from render.faults import validate
from render.plan import Live, Offer, Plan, Slot
from render.scoring import UNSCORED, Scores
from signals.moments import unix_ms
from tests.campaigns import test_reach as single
from tests.campaigns.test_reach import of_places
from tests.render import shoe_shop as shop
from tests.render.shoe_shop import NOON_MS, SENT_MS

TIRED = (Fatigue("shown", 1, 7, 7),)
IN_GROUP = (Fatigue("shown", 1, 7, 7, "group"),)
TWISTS: list[dict[str, Any]] = [
    *single.TWISTS,
    {"mandatory": True}, {"fatigue": TIRED}, {"group": "g", "fatigue": IN_GROUP},
]  # fmt: skip
Given = tuple[tuple[int, int], ...]
"""A whole decision: places and offers."""


def random_plan(seed: int) -> Plan:
    """Three or four candidates over one to three places that go by rules or value, some drawing, in one or two arms."""
    chance = random.Random(seed)
    modes = chance.choice((("rules",), ("model",), ("model", "rules")))
    offers = []
    for number in range(1, chance.randint(3, 4) + 1):
        content = dict(chance.choice(TWISTS)) if chance.random() < 0.5 else {}
        if chance.random() < 0.4:
            content["rules"] = {chance.choice(("legal", "relevant", "beneficial")): chance.choice(single.RULES)}
        content |= {"priority": chance.randint(0, 1), "sticky": chance.random() < 0.6, "value_cents": 1000}
        offers.append(shop.offer(number, chance.choice(single.KINDS), **content))
    numbers = [offer.id for offer in offers]
    base = of_places([(chance.choice(modes), ()) for _ in range(chance.randint(1, 3))], *offers)

    def filled(slot: Slot) -> Slot:
        held = tuple(chance.sample(numbers, chance.randint(1, len(numbers))))
        draws = slot.mode == "model" and chance.random() < 0.3
        return msgspec.structs.replace(slot, offers=held, **({"policy": Policy(kind="softmax")} if draws else {}))

    changes: dict[str, Any] = {"slots": tuple(map(filled, base.slots))}
    if chance.random() < 0.15:
        left_out = Arm(name="B", share=0.5, without=(chance.choice(numbers),))
        changes["split"] = Split(key=b"k", arms=(Arm(name="A", share=0.5), left_out))
    if chance.random() < 0.1:
        changes["tracking"] = "anonymous"
    plan = msgspec.structs.replace(base, **changes)
    assert validate(plan) == []
    return plan


def limited(plan: Plan) -> list[Offer]:
    return [offer for offer in plan.offers if offer.cap_person is not None or offer.fatigue]


@dataclass
class Moment:
    """Facts that are as good as others to a decision, and the first and the last instant (Unix ms) of such."""

    facts: Facts
    now: datetime
    used: frozenset[int]
    first_ms: int
    last_ms: int


class Force:
    """Every decision that any row of opens of a mail comes to, by the decider itself, each with its earliest instant.

    A model's values are any order of the offers. What was shown may be held at the next open by the same kind of fetch,
    no earlier, when what it used up counts as used.
    """

    _seeds: tuple[int, ...] = (1,)
    """What settles between offers of one rank."""

    def __init__(self, plan: Plan, patch: pytest.MonkeyPatch) -> None:
        self._plan = plan
        self._scores = UNSCORED
        self._draw = 0.0
        patch.setattr("render.decide.score", lambda at, offers: self._scores if offers else UNSCORED)
        patch.setattr("render.choice.unit", lambda seed, slot: self._draw)
        self._known: dict[tuple[int, Given], frozenset[Given]] = {}
        self._moments = self._all_moments()

    def pairs(self) -> set[tuple[int, int]]:
        """Place and offer of everything that is shown."""
        found: dict[tuple[str, Given], int] = {}
        waiting: list[tuple[str, Given, int]] = []

        def note(lane: str, decisions: frozenset[Given], at_ms: int) -> None:
            for given in decisions:
                if at_ms < found.get((lane, given), at_ms + 1):
                    found[lane, given] = at_ms
                    waiting.append((lane, given, at_ms))

        for number, moment in enumerate(self._moments):
            note(moment.facts.lane, self._decided(number, ()), moment.first_ms)
        capped = {offer.id for offer in limited(self._plan)}
        while waiting and self._plan.tracking != "anonymous":
            lane, given, at_ms = waiting.pop()
            for number, moment in enumerate(self._moments):
                is_used = {offer for _, offer in given} & capped <= moment.used
                if lane == moment.facts.lane and moment.last_ms >= at_ms and is_used:
                    note(lane, self._decided(number, given), max(at_ms, moment.first_ms))
        default = {(slot.index, slot.default) for slot in self._plan.slots}
        return default | {pair for _, given in found for pair in given}

    def _all_moments(self) -> list[Moment]:
        made: dict[Any, Moment] = {}
        for facts, now in self._everything():
            at = Situation(self._plan, facts, now)
            open_to = frozenset(number for number, reason in prefilter(at)[0].items() if reason is None)
            used = frozenset(facts.used.offers)
            moment = Moment(facts, now, used, at.now_ms, at.now_ms)
            moment = made.setdefault((open_to, at.is_troubled, facts.lane, used), moment)
            moment.first_ms, moment.last_ms = min(moment.first_ms, at.now_ms), max(moment.last_ms, at.now_ms)
        return list(made.values())

    def _everything(self) -> Iterator[tuple[Facts, datetime]]:
        numbers = [offer.id for offer in limited(self._plan)]
        grouped = {offer.id for offer in self._plan.offers if offer.group}
        for facts, now in single.everything(self._plan):
            if facts.used.offers:
                continue
            at_ms = unix_ms(now) - 1
            use = OfferUse(1, at_ms, (at_ms,))
            for count in range(len(numbers) + 1):
                for used in itertools.combinations(numbers, count):
                    groups = {"g": use} if grouped & set(used) else {}
                    yield msgspec.structs.replace(facts, used=Used(dict.fromkeys(used, use), groups)), now

    def _orders(self, offers: list[int]) -> Iterator[Scores]:
        """What models may say of these offers."""
        return map(scores, itertools.permutations(offers))

    def _decided(self, number: int, given: Given) -> frozenset[Given]:
        """Every decision of a moment after one that gave these offers."""
        facts, now = self._moments[number].facts, self._moments[number].now
        reasons, to_score = prefilter(Situation(self._plan, facts, now))
        last = tuple(pair for pair in given if reasons.get(pair[1], "") is None)
        if (number, last) not in self._known:
            facts = msgspec.structs.replace(facts, last=LastDecision("d", 1, SENT_MS, dict(last)) if last else None)
            draws = (0.0, 0.999) if any(slot.policy is not msgspec.UNSET for slot in self._plan.slots) else (0.0,)
            found = set()
            orders = (UNSCORED, *self._orders([offer.id for offer in to_score]))
            for order, draw, seed in itertools.product(orders, draws, self._seeds):
                self._scores, self._draw = order, draw
                found.add(tuple((one.slot, one.offer) for one in decide(self._plan, facts, now, seed).slots))
            self._known[number, last] = frozenset(found)
        return self._known[number, last]


def scores(order: tuple[int, ...]) -> Scores:
    """What a model says that values offers in this order."""
    return Scores({number: (0.5, 100.0 - at) for at, number in enumerate(order)}, None, bool(order))


def forced(plan: Plan, patch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """What any open of any arm shows."""
    return set().union(*(Force(arm, patch).pairs() for arm in plan.by_arm or (plan,)))


def said(plan: Plan) -> dict[tuple[int, int], bool | None]:
    """Place and offer of each candidate, and whether it can be shown."""
    assert validate(plan) == []
    found = variants(plan, Live(plan="p"), NOON_MS)
    return {(one.slot, one.offer): one.reachable for one in found if one.offer < shop.DEFAULT}


@pytest.mark.feature("CM-24")
@pytest.mark.parametrize("part", range(4))
def test_it_says_yes_and_never_only_where_every_row_of_opens_agrees(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys((True, False, None), 0)
    for seed in range(part, 240, 4):
        plan = random_plan(seed)
        if prod(map(len, single.sides(plan).values())) > 200:
            continue
        shown = forced(plan, monkeypatch)
        for one in variants(plan, Live(plan="p"), NOON_MS):
            counts[one.reachable] += 1
            assert one.reachable in (None, (one.slot, one.offer) in shown), (seed, one)
            assert one.why or one.reachable is not False
    assert min(counts[True], counts[False]) > 50
    assert counts[None] <= 5


def test_a_model_values_an_offer_alike_in_all_places() -> None:
    one, two, three = (shop.offer(number, "thank-you", value_cents=1000) for number in (1, 2, 3))
    for lists in (((2, 1), (1,)), ((1, 2), (2, 1)), ((2, 1), (1, 2))):
        assert set(said(of_places([("model", offers) for offers in lists], one, two)).values()) == {True}, lists
    plan = of_places([("model", (2, 1, 3)), ("model", (2, 1)), ("model", (2, 1))], one, two, three)
    assert set(said(plan).values()) == {True}, "the third takes the first place, and the others one each after it"


def test_several_that_skip_arbitration_go_in_any_order_where_a_model_decides() -> None:
    made = [shop.offer(number, "thank-you", mandatory=True, sticky=False) for number in (1, 2)]
    last = shop.offer(3, "thank-you", sticky=False)
    assert said(of_places([("model", (1, 2)), ("model", (2, 1, 3))], *made, last)) == {
        (0, 1): True, (0, 2): True, (1, 1): True, (1, 2): True, (1, 3): False,
    }  # fmt: skip


def test_it_goes_by_rules_too_while_there_is_no_model() -> None:
    first, second = shop.offer(1, "thank-you", priority=5), shop.offer(2, "thank-you")
    assert said(of_places([("model", (1, 2)), ("rules", (1,))], first, second))[0, 1]


def test_what_was_shown_makes_way_for_others_at_the_next_open() -> None:
    gold = shop.offer(1, "thank-you", priority=5, rules={"relevant": single.TRAIT})
    plan = of_places([("rules", (1, 2)), ("rules", (1,))], gold, shop.offer(2, "thank-you", name="Second"))
    (found,) = (one for one in variants(plan, Live(plan="p"), NOON_MS) if (one.slot, one.offer) == (1, 1))
    assert found.reachable
    assert [words(plan, *fact) for fact in found.when] == ["if tier is gold", "after Second was shown in hero"]
    anonymous = msgspec.structs.replace(plan, tracking="anonymous")
    assert said(anonymous)[1, 1] is False, "there nothing is known of what was shown"
    fixed = of_places([("rules", (1, 2)), ("rules", (1,))], gold, shop.offer(2, "thank-you", sticky=False))
    assert said(fixed)[1, 1] is False


def test_what_could_only_be_held_by_each_other_is_never_shown() -> None:
    one, two = shop.offer(1, "thank-you", priority=5), shop.offer(2, "thank-you")
    assert said(of_places([("rules", (1, 2)), ("rules", (1,))], one, two)) == {
        (0, 1): True,
        (0, 2): False,
        (1, 1): False,
    }


@pytest.mark.parametrize("first", ["model", "rules"])
def test_a_place_that_draws_goes_before_others(first: str) -> None:
    one, two = (shop.offer(number, "thank-you", value_cents=1000, sticky=False) for number in (1, 2))
    plan = of_places([(first, (1,)), ("model", (1, 2))], one, two)
    assert said(plan)[1, 1] is False
    draws = msgspec.structs.replace(plan.slots[1], policy=Policy(kind="epsilon", epsilon=0.5))
    assert said(msgspec.structs.replace(plan, slots=(plan.slots[0], draws)))[1, 1]


def test_an_offer_or_its_group_that_rests_makes_way() -> None:
    for content, told in (
        ({"fatigue": TIRED}, "while First rests"),
        ({"group": "shoes", "fatigue": IN_GROUP}, "while offers of the group shoes rest"),
    ):
        first = shop.offer(1, "thank-you", name="First", priority=5, **content)
        plan = of_places([("rules", (1, 2))], first, shop.offer(2, "thank-you"))
        (found,) = (one for one in variants(plan, Live(plan="p"), NOON_MS) if one.offer == 2)
        assert found.reachable
        assert [words(plan, *fact) for fact in found.when] == [told]


def test_it_is_told_of_every_version_of_a_campaign() -> None:
    made = [shop.offer(number, "thank-you", priority=9 - number) for number in (1, 2, 3)]
    arms = (Arm(name="A", share=0.5, without=(3,)), Arm(name="B", share=0.5, without=(1, 3)))
    plan = of_places([("rules", (1, 2, 3))], *made)
    assert said(plan) == {(0, 1): True, (0, 2): False, (0, 3): False}
    assert said(msgspec.structs.replace(plan, split=Split(key=b"k", arms=arms))) == {
        (0, 1): True, (0, 2): True, (0, 3): False,
    }  # fmt: skip


def test_what_a_tracking_level_never_shows_is_told_with_the_reason() -> None:
    capped = shop.offer(1, "thank-you", priority=5, cap_person=1)
    plan = of_places([("rules", (1, 2))], capped, shop.offer(2, "thank-you"))
    for level, whys in (
        ("anonymous", {1: "it may be shown only so often, and showings are not counted at this tracking level"}),
        ("none", dict.fromkeys((1, 2), "nobody is followed at this tracking level, so the default is shown")),
    ):
        found = variants(msgspec.structs.replace(plan, tracking=level), Live(plan="p"), NOON_MS)
        assert {one.offer: one.why for one in found if not one.reachable} == whys


def test_signals_of_a_sensitive_category_select_nothing() -> None:
    rule = {"field": "purchases.count", "category": "gifts", "op": ">=", "value": 1}
    gifts = shop.offer(1, "thank-you", priority=5, rules={"relevant": rule})
    assert said(of_places([("rules", (1, 2))], gifts, shop.offer(2, "thank-you"))) == {(0, 1): False, (0, 2): True}
    spared = shop.offer(1, "thank-you", priority=5, rules={"relevant": {"not": rule}})
    assert said(of_places([("rules", (1, 2))], spared, shop.offer(2, "thank-you"))) == {(0, 1): True, (0, 2): True}


def test_all_candidates_have_a_part_of_the_steps_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        shop.offer(
            number, "cross-sell", product=f"p-{number}", needs_stock=True,
            rules={"relevant": {**single.TRAIT, "name": f"t{number}"}},
        )
        for number in range(1, 41)
    ]  # fmt: skip
    plan = of_places([("rules", tuple(range(1, 21))), ("rules", tuple(range(21, 41)))], *made)
    monkeypatch.setattr("campaigns.reach.PAGE_STEPS", 2_500)
    told = said(plan)
    assert None in told.values()
    assert (told[0, 1], told[1, 21]) == (True, True), "those that need few are told, wherever they stand"
    monkeypatch.setattr("campaigns.reach.PAGE_STEPS", 0)
    assert set(said(plan).values()) == {None}


def test_outlooks_count_among_the_steps_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [shop.offer(number, "thank-you", priority=99 - number) for number in range(1, 65)]
    plan = of_places([("rules", tuple(range(1, 65)))] * 8, *made)
    looked: list[int] = []

    class Counted(Outlook):
        def __init__(self, *content: Any) -> None:
            looked.append(1)
            super().__init__(*content)

    monkeypatch.setattr("campaigns.reach.Outlook", Counted)
    monkeypatch.setattr("campaigns.reach.PAGE_STEPS", 5_000)
    said(plan)
    assert len(looked) <= 5_000 // 8, "each looks at eight places with 64 offers"


def test_a_number_between_two_others_is_one_too() -> None:
    between = [{"field": "score", "name": "churn", "op": op, "value": value} for op, value in ((">", 0.4), ("<", 0.6))]
    risky = shop.offer(1, "thank-you", priority=1, rules={"relevant": {"all": between}})
    found = variants(of_places([("rules", (1,))], risky), Live(plan="p"), NOON_MS)
    assert [one.reachable for one in found if one.offer == 1] == [True]
