"""Who takes which place, by turns, in a situation in which it is known who may be shown: `render.decide` as a search.

A decision gives out the places in rounds: to offers that skip arbitration, to those that were shown last, to what an
exploring place draws, to all others; within a round first the places that go by rules, then those that go by value. A
place that goes by rules takes the first that is left in its order. A model may value offers in any order that the plan
leaves open (`campaigns.modelorder`), and each then takes its first free place by value; the outcomes of all orders are
those in which each such place, by number, takes anyone who is left, as long as whom places took may rank as high as
whom they left. So no order needs to be looked at, and an offer that a model finds to cost more than it earns is as one
that it values least.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from msgspec import UNSET

from campaigns.conditions import HUMAN, MACHINE, TROUBLED, Key
from campaigns.modelorder import Bound, Order
from campaigns.situations import KEYS_A_STEP, Steps, Truths
from render.arbitration import MAX_SCORED, Policy
from render.plan import Plan, Slot

MAX_WALKS: Final = 500
"""Ways of giving out the places looked at for one situation; more is told as not known."""
Takes = Literal["first", "any", "any or none"]
Pair = tuple[int, int]
"""A place and an offer."""


class TooMany(Exception):
    """There are more ways of giving out the places than are looked at."""


@dataclass(frozen=True)
class Way:
    """A way of deciding: with a model or, while none is there, by rules; exploring places draw for people alone.

    needs: the key of what must hold of the fetch for it. by_effect: the model knows what showing changes, and the plan
    ranks by that.
    """

    by_value: bool = False
    explores: bool = False
    needs: Key | None = None
    by_effect: bool = False


def ways(plan: Plan) -> list[Way]:
    """How a plan's decisions may be made."""
    if not any(slot.mode == "model" for slot in plan.slots):
        return [Way()]
    with_model = [Way(by_value=True)]
    if any(_policy(slot) is not None for slot in plan.slots):
        with_model = [Way(by_value=True, explores=True, needs=HUMAN), Way(by_value=True, needs=MACHINE)]
    if plan.arbitration is not UNSET and plan.arbitration.effect:
        with_model = [replace(way, by_effect=by_effect) for way in with_model for by_effect in (True, False)]
    return [*with_model, Way()]


def _policy(slot: Slot) -> Policy | None:
    """How a place draws, if it does."""
    draws = slot.mode == "model" and slot.policy is not UNSET and slot.policy.kind != "greedy"
    return slot.policy if draws and slot.policy is not UNSET else None


def _among(policy: Policy) -> int:
    """Among how many a place draws whatever a model says of them: by its bags it may draw the best alone."""
    is_wide = policy.kind == "softmax" or (policy.kind == "epsilon" and policy.epsilon > 0) or policy.floor > 0
    return policy.top if is_wide else 1


class Turns:
    """The turns of a plan's places in one way of deciding."""

    def __init__(self, plan: Plan, way: Way) -> None:
        self.way = way
        self._offers = plan.offer_by_id
        self._slots = plan.slot_by_index
        self.slots_of: dict[int, list[int]] = {}
        for slot in sorted(plan.slots, key=lambda one: one.index):
            for number in slot.offers:
                self.slots_of.setdefault(number, []).append(slot.index)
        by_index = sorted(self._slots)
        self.valued = frozenset(index for index in by_index if way.by_value and self._slots[index].mode == "model")
        policies = {index: _policy(self._slots[index]) for index in by_index if way.explores}
        self._draws = {index: _among(policy) for index, policy in policies.items() if policy is not None}
        ruled = [index for index in by_index if index not in self.valued]
        valued = sorted(self.valued)
        self.first = ruled + valued
        self.later = [*self._draws, *ruled, *(index for index in valued if index not in self._draws)]
        self.first_turn = {index: at for at, index in enumerate(self.first)}
        self.later_turn = {index: at for at, index in enumerate(self.later)}
        self._rank = {
            slot.index: {
                number: at
                for at, number in enumerate(
                    sorted(slot.offers, key=lambda one: (-self._offers[one].priority, slot.offers.index(one)))
                )
            }
            for slot in plan.slots
        }
        scored = list(dict.fromkeys(number for index in valued for number in self._slots[index].offers))
        self._possible = Order(plan, scored, by_effect=way.by_effect, whatever_holds=False)
        self._sure = Order(plan, scored, by_effect=way.by_effect, whatever_holds=True)
        self.is_told = len(scored) <= MAX_SCORED
        """Whether all candidates are scored at once; of more a model sees only some."""
        self.is_exact = self.is_told and not self._draws and self._sure.bounds == self._possible.bounds
        """Whether `given` finds whatever decision there is: nothing is drawn, and contexts change nothing."""

    def order(self, slot: int) -> list[int]:
        """A place's candidates as rules put them in order."""
        return list(self._rank[slot])

    def is_ahead(self, slot: int, number: int, wanted: int) -> bool:
        """Whether a place surely takes one candidate before another, where both are of the same round."""
        if slot in self.valued:
            return slot not in self._draws and self._possible.is_above(number, wanted)
        return self._rank[slot][number] < self._rank[slot][wanted]

    def pays(self, slot: int, number: int) -> bool:
        """Whether a place can go to an offer at all: by value to one alone that may earn what it costs."""
        return slot not in self.valued or self._possible.pays(number)

    def may_leave(self, slot: int, number: int, later: int) -> bool:
        """Whether a place may leave an offer to a later one that goes by rules, as costing more than it earns."""
        return slot in self.valued and later not in self.valued and self._possible.may_cost_more(number)

    def takes(
        self, slot: int, some: Iterable[int], left: Collection[int], caps: Mapping[int, Bound], *, skips: bool
    ) -> dict[int, Mapping[int, Bound]]:
        """Which of some who are left a place can take, whatever contexts hold, with the bounds on all of them then."""
        if slot not in self.valued:
            return dict.fromkeys(some, caps)
        among = 1 if skips else self._draws.get(slot, 1)
        return self._sure.takes(some, left, caps, skips=skips, among=among)

    def ahead(self, slot: int, wanted: int) -> list[int]:
        """The candidates of a place that may surely go before another there."""
        found = (one for one in self._rank[slot] if one != wanted)
        return [one for one in found if self.may_skip(one) or self.is_ahead(slot, one, wanted)]

    def relevant(self, slot: int, wanted: int) -> list[int]:
        """The offers that have a say in whether a place shows an offer, by turns."""
        if self.way.explores:
            return self.entangled(slot, wanted)
        before = [one for one in self.later if self.later_turn[one] < self.later_turn[slot]]
        found = dict.fromkeys([wanted, *self.ahead(slot, wanted), *self._above_any(slot, wanted, before)])
        involved = self._closure(found, before)
        by_turn = [number for index in (*before, slot) for number in self._rank[index] if number in found]
        return list(dict.fromkeys((*by_turn, *involved)))

    def _above_any(self, slot: int, wanted: int, before: list[int]) -> list[int]:
        """The candidates of a place that may be above another once that is below whom an earlier place took."""
        if slot not in self.valued or self._sure.is_open:
            return []
        others = {wanted, *(number for index in before if index in self.valued for number in self._rank[index])}
        return self._sure.above_any((one for one in self._rank[slot] if one != wanted), others)

    def entangled(self, slot: int, wanted: int) -> list[int]:
        """The offers that may take a place from one of this place, or from one that may do so, and so on."""
        return self._closure(dict.fromkeys([wanted, *self._rank[slot]]), self.later)

    def _closure(self, found: dict[int, None], within: Collection[int]) -> list[int]:
        waiting, seen = list(found), set[int]()
        for number in waiting:
            for index in self.slots_of[number]:
                if index in within and index not in seen:
                    seen.add(index)
                    fresh = [one for one in self._rank[index] if one not in found]
                    found.update(dict.fromkeys(fresh))
                    waiting += fresh
        return list(found)

    def may_skip(self, number: int) -> bool:
        """Whether an offer skips arbitration in some situation."""
        return self._offers[number].mandatory or self._offers[number].kind == "service"

    def is_mandatory(self, number: int) -> bool:
        """Whether an offer skips arbitration in every situation."""
        return self._offers[number].mandatory

    def skips(self, number: int, truths: Truths) -> bool | None:
        """Whether an offer skips arbitration; None while that is not known."""
        offer = self._offers[number]
        return offer.mandatory or (truths.get(TROUBLED) if offer.kind == "service" else False)

    def given(
        self, slot: int, wanted: int, truths: Truths, last: Mapping[int, int], steps: Steps
    ) -> dict[int, int] | None:
        """Places and offers of a decision in which a place shows an offer; None if there is none. Offers that are not
        known to be admissible are left out. `last` is what was shown last. Raises TooMany."""
        return _Walk(slot, wanted, list(self._rounds(truths, last, None)), self._sure, steps).found()

    def may_give(self, slot: int, wanted: int, truths: Truths, held: Collection[Pair], steps: Steps) -> bool:
        """Whether some decision shows an offer in a place, with whatever of `held` was shown last and, where a place
        draws, whatever costs more than it earns. Raises TooMany."""
        return _Walk(slot, wanted, list(self._rounds(truths, {}, held)), self._possible, steps).found() is not None

    def _rounds(self, truths: Truths, last: Mapping[int, int], held: Collection[Pair] | None) -> Iterator[_Turn]:
        """The turns in order. With `held`, which of it was shown last, and whether anything is drawn, is open."""
        known = {index: [one for one in self._rank[index] if truths.get(one) is True] for index in self._slots}
        later = {index: [one for one in offers if not self.skips(one, truths)] for index, offers in known.items()}
        for index in self.first:
            takes: Takes = "any" if index in self.valued else "first"
            yield _Turn(index, takes, [one for one in known[index] if self.skips(one, truths)], skips=True)
        for index in self.first:
            if held is not None:
                yield _Turn(index, "any or none", [one for one in later[index] if (index, one) in held])
            elif last.get(index) in later[index] and self._is_kept(index, last[index]):
                yield _Turn(index, "first", [last[index]])
        for index in self.later:
            if index not in self.valued:
                yield _Turn(index, "first", later[index])
                continue
            payers = [one for one in later[index] if self.pays(index, one)]
            is_open = held is not None and index in self._draws
            yield _Turn(index, "any or none" if is_open else "any", payers, among=self._draws.get(index, 1))

    def _is_kept(self, slot: int, number: int) -> bool:
        return self._offers[number].sticky and number != self._slots[slot].default and self.pays(slot, number)


def kept(plan: Plan) -> list[Pair]:
    """The places and offers that a next open of the same mail holds, once they were shown."""
    if plan.tracking == "anonymous":
        return []
    return [
        (slot.index, number)
        for slot in plan.slots
        for number in slot.offers
        if plan.offer_by_id[number].sticky and number != slot.default
    ]


@dataclass(frozen=True)
class _Turn:
    """A turn of a place: what it takes of those of these offers that are left.

    skips: these skip arbitration. among: among how many of the best it draws; 1 for none but the best.
    """

    slot: int
    takes: Takes
    offers: list[int]
    skips: bool = False
    among: int = 1


class _Walk:
    """One search for a way of giving out the places in which one of them gets an offer."""

    def __init__(self, slot: int, wanted: int, turns: list[_Turn], order: Order, steps: Steps) -> None:
        self._slot, self._wanted = slot, wanted
        self._turns, self._order, self._steps = turns, order, steps
        self._left = MAX_WALKS
        self._failed: set[tuple[int, frozenset[int], frozenset[int], frozenset[tuple[int, Bound]]]] = set()
        # Those that stand in the same turns to come, none of which goes by order, are one as good as another, where a
        # model may put them in any order.
        self._to_come: list[dict[int, tuple[int, ...]]] = []
        coming: dict[int, tuple[int, ...]] = {}
        for at in range(len(turns) - 1, -1, -1):
            self._to_come.append(coming)
            is_ordered = turns[at].takes == "first"
            coming = coming | {one: (-one if is_ordered else at, *coming.get(one, ())) for one in turns[at].offers}
        self._to_come.reverse()

    def found(self) -> dict[int, int] | None:
        """Places and their offers, or None. Raises TooMany."""
        return self._from(0, {}, {})

    def _from(self, at: int, given: dict[int, int], caps: Mapping[int, Bound]) -> dict[int, int] | None:
        self._left -= 1
        self._steps.left -= 1
        if self._left < 0 or self._steps.is_spent:
            raise TooMany
        while at < len(self._turns):
            turn = self._turns[at]
            at += 1
            left = [] if turn.slot in given else [one for one in turn.offers if one not in given.values()]
            if not left:
                continue
            options = self._options(turn, left, given, caps)
            if len(options) > 1:
                return self._one_of(at, given, caps, turn.slot, options)
            if not options:
                return None
            ((number, caps),) = options.items()
            given = _with(given, turn.slot, number)
        return given if given.get(self._slot) == self._wanted else None

    def _options(
        self, turn: _Turn, left: list[int], given: dict[int, int], caps: Mapping[int, Bound]
    ) -> dict[int | None, Mapping[int, Bound]]:
        """Whom a place may take for the wanted offer to get its place, None for nobody, each with the bounds on who is
        left then; empty if it cannot any more."""
        takes: dict[int, Mapping[int, Bound]] = dict.fromkeys(left if turn.takes != "first" else left[:1], caps)
        if turn.takes == "any":
            takes = self._order.takes(left, left, caps, skips=turn.skips, among=turn.among)
            self._steps.left -= 0 if self._order.is_open else len(takes) * len(left) // KEYS_A_STEP
        nobody: dict[int | None, Mapping[int, Bound]] = {None: caps} if turn.takes == "any or none" else {}
        if self._slot in given:
            return dict(list(takes.items())[:1])
        if turn.slot == self._slot:
            return {self._wanted: takes[self._wanted]} if self._wanted in takes else nobody
        return nobody | {one: bounds for one, bounds in takes.items() if one != self._wanted}

    def _one_of(
        self,
        at: int,
        given: dict[int, int],
        caps: Mapping[int, Bound],
        slot: int,
        options: dict[int | None, Mapping[int, Bound]],
    ) -> dict[int, int] | None:
        to_come = self._to_come[at - 1]
        alike = {None if one is None else (to_come.get(one, ()), self._order.alike(one, caps)): one for one in options}
        for number in alike.values():
            chosen, bounds = _with(given, slot, number), options[number]
            key = at, frozenset(chosen), frozenset(chosen.values()), frozenset(bounds.items())
            if key in self._failed:
                continue
            if (found := self._from(at, chosen, bounds)) is not None:
                return found
            self._failed.add(key)
        return None


def _with(given: dict[int, int], slot: int, number: int | None) -> dict[int, int]:
    return given if number is None else {**given, slot: number}
