"""Who takes which place, by turns, in a situation in which it is known who may be shown: `render.decide` as a search.

A decision gives out the places in rounds: to offers that skip arbitration, to those that were shown last, to what an
exploring place draws, to all others; within a round first the places that go by rules, then those that go by value. A
place that goes by rules takes the first that is left in its order. A model may value offers in any order, and each then
takes its first free place by value; the outcomes of all orders are those in which each such place, by number, takes
anyone who is left. So no order needs to be looked at, and an offer that a model finds to cost more than it earns is as
one that it values least.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import UNSET

from campaigns.conditions import HUMAN, MACHINE, TROUBLED, Key
from campaigns.situations import Steps, Truths
from render.arbitration import MAX_SCORED
from render.plan import Offer, Plan, Slot

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

    needs: the key of what must hold of the fetch for it.
    """

    by_value: bool = False
    explores: bool = False
    needs: Key | None = None


def ways(plan: Plan) -> list[Way]:
    """How a plan's decisions may be made."""
    if not any(slot.mode == "model" for slot in plan.slots):
        return [Way()]
    if any(_explores(slot) for slot in plan.slots):
        return [Way(by_value=True, explores=True, needs=HUMAN), Way(by_value=True, needs=MACHINE), Way()]
    return [Way(by_value=True), Way()]


def _explores(slot: Slot) -> bool:
    return slot.mode == "model" and slot.policy is not UNSET and slot.policy.kind != "greedy"


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
        draws = [index for index in by_index if way.explores and _explores(self._slots[index])]
        ruled = [index for index in by_index if index not in self.valued]
        valued = sorted(self.valued)
        self.first = ruled + valued
        self.later = [*draws, *ruled, *(index for index in valued if index not in draws)]
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
        factors = plan.arbitration
        counts_value = factors is UNSET or factors.value
        self.pays = {offer.id: not counts_value or _may_pay(offer) for offer in plan.offers}
        scored = {number for index in self.valued for number in self._slots[index].offers}
        self.is_told = len(scored) <= MAX_SCORED
        """Whether all candidates are scored at once; of more a model sees only some."""

    def order(self, slot: int) -> list[int]:
        """A place's candidates as rules put them in order."""
        return list(self._rank[slot])

    def is_ahead(self, slot: int, number: int, wanted: int) -> bool:
        """Whether a place surely takes one candidate before another, where both are of the same round."""
        return slot not in self.valued and self._rank[slot][number] < self._rank[slot][wanted]

    def ahead(self, slot: int, wanted: int) -> list[int]:
        """The candidates of a place that may surely go before another there."""
        found = (one for one in self._rank[slot] if one != wanted)
        return [one for one in found if self.may_skip(one) or self.is_ahead(slot, one, wanted)]

    def relevant(self, slot: int, wanted: int) -> list[int]:
        """The offers that have a say in whether a place shows an offer, by turns."""
        if self.way.explores:
            return self.entangled(slot, wanted)
        found = dict.fromkeys([wanted, *self.ahead(slot, wanted)])
        before = [one for one in self.later if self.later_turn[one] < self.later_turn[slot]]
        involved = self._closure(found, before)
        by_turn = [number for index in (*before, slot) for number in self._rank[index] if number in found]
        return list(dict.fromkeys((*by_turn, *involved)))

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
        return _Walk(slot, wanted, list(self._rounds(truths, last, None)), steps).found()

    def may_give(self, slot: int, wanted: int, truths: Truths, held: Collection[Pair], steps: Steps) -> bool:
        """Whether some decision shows an offer in a place, with whatever of `held` was shown last and, where a place
        draws, whatever costs more than it earns. Raises TooMany."""
        return _Walk(slot, wanted, list(self._rounds(truths, {}, held)), steps).found() is not None

    def _rounds(self, truths: Truths, last: Mapping[int, int], held: Collection[Pair] | None) -> Iterator[_Turn]:
        """The turns in order. With `held`, which of it was shown last, and whether anything is drawn, is open."""
        known = {index: [one for one in self._rank[index] if truths.get(one) is True] for index in self._slots}
        later = {index: [one for one in offers if not self.skips(one, truths)] for index, offers in known.items()}
        for index in self.first:
            takes: Takes = "any" if index in self.valued else "first"
            yield _Turn(index, takes, [one for one in known[index] if self.skips(one, truths)])
        for index in self.first:
            if held is not None:
                yield _Turn(index, "any or none", [one for one in later[index] if (index, one) in held])
            elif last.get(index) in later[index] and self._is_kept(index, last[index]):
                yield _Turn(index, "first", [last[index]])
        for index in self.later:
            if index not in self.valued:
                yield _Turn(index, "first", later[index])
                continue
            is_open = held is not None and self.way.explores and _explores(self._slots[index])
            yield _Turn(index, "any or none" if is_open else "any", [one for one in later[index] if self.pays[one]])

    def _is_kept(self, slot: int, number: int) -> bool:
        pays = self.pays[number] or slot not in self.valued
        return self._offers[number].sticky and number != self._slots[slot].default and pays


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


def _may_pay(offer: Offer) -> bool:
    """Whether some model finds that an offer earns what it costs."""
    return offer.earned_cents > offer.cost_cents or offer.earned_cents == offer.cost_cents == 0


@dataclass(frozen=True)
class _Turn:
    """A turn of a place: what it takes of those of these offers that are left."""

    slot: int
    takes: Takes
    offers: list[int]


class _Walk:
    """One search for a way of giving out the places in which one of them gets an offer."""

    def __init__(self, slot: int, wanted: int, turns: list[_Turn], steps: Steps) -> None:
        self._slot, self._wanted = slot, wanted
        self._turns, self._steps = turns, steps
        self._left = MAX_WALKS
        self._failed: set[tuple[int, frozenset[int], frozenset[int]]] = set()
        # Those that stand in the same turns to come, none of which goes by order, are one as good as another.
        self._to_come: list[dict[int, tuple[int, ...]]] = []
        coming: dict[int, tuple[int, ...]] = {}
        for at in range(len(turns) - 1, -1, -1):
            self._to_come.append(coming)
            is_ordered = turns[at].takes == "first"
            coming = coming | {one: (-one if is_ordered else at, *coming.get(one, ())) for one in turns[at].offers}
        self._to_come.reverse()

    def found(self) -> dict[int, int] | None:
        """Places and their offers, or None. Raises TooMany."""
        return self._from(0, {})

    def _from(self, at: int, given: dict[int, int]) -> dict[int, int] | None:
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
            options = self._options(turn, left, given)
            if len(options) > 1:
                return self._one_of(at, given, turn.slot, options)
            if not options:
                return None
            given = _with(given, turn.slot, options[0])
        return given if given.get(self._slot) == self._wanted else None

    def _options(self, turn: _Turn, left: list[int], given: dict[int, int]) -> list[int | None]:
        """Whom a place may take for the wanted offer to get its place, None for nobody; empty if it cannot any more."""
        takes = left if turn.takes != "first" else left[:1]
        nobody = [None] if turn.takes == "any or none" else []
        if self._slot in given:
            return [*takes[:1]]
        if turn.slot == self._slot:
            return [self._wanted] if self._wanted in takes else [*nobody]
        return [*nobody, *(one for one in takes if one != self._wanted)]

    def _one_of(self, at: int, given: dict[int, int], slot: int, options: list[int | None]) -> dict[int, int] | None:
        to_come = self._to_come[at - 1]
        for number in {None if one is None else to_come.get(one, ()): one for one in options}.values():
            chosen = _with(given, slot, number)
            key = at, frozenset(chosen), frozenset(chosen.values())
            if key in self._failed:
                continue
            if (found := self._from(at, chosen)) is not None:
                return found
            self._failed.add(key)
        return None


def _with(given: dict[int, int], slot: int, number: int | None) -> dict[int, int]:
    return given if number is None else {**given, slot: number}
