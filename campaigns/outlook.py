"""What may come of an offer in a place while only part of a situation is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice

from campaigns.modelorder import Bound
from campaigns.situations import Truths
from campaigns.turns import Pair, Turns


class Outlook:
    """An offer in a place, in one way of deciding; `held` are the places and offers that may have been shown last."""

    def __init__(self, turns: Turns, slot: int, wanted: int, held: Collection[Pair] = ()) -> None:
        self._turns = turns
        self._slot, self._wanted = slot, wanted
        self._held = held
        others = [one for one in turns.order(slot) if one != wanted]
        self._ahead = [one for one in others if turns.may_skip(one) or turns.is_ahead(slot, one, wanted)]
        self._fillers = {
            skips: [
                [one for one in turns.order(index) if one != wanted and self._may_fill(index, one, skips)]
                for index in turns.slots_of[wanted]
                if turn[index] < turn[slot] and (skips or not turns.may_leave(index, wanted, slot))
            ]
            for skips, turn in ((True, turns.first_turn), (False, turns.later_turn))
        }
        self._rounds = [
            (skips, index, candidates)
            for skips, places in ((True, turns.first), (False, turns.later))
            for index in places
            if (candidates := [one for one in turns.order(index) if self._has_part(index, one, skips)])
        ]

    def _may_fill(self, slot: int, number: int, skips: bool) -> bool:
        """Whether an offer may take a place before the wanted one does."""
        turns = self._turns
        if turns.is_ahead(slot, number, self._wanted) or turns.may_skip(number):
            return not skips or turns.may_skip(number)
        if skips:
            return False
        if (slot, number) in self._held:
            return True
        return slot in turns.valued and turns.pays(slot, number) and not turns.is_ahead(slot, self._wanted, number)

    def _has_part(self, slot: int, number: int, skips: bool) -> bool:
        turns = self._turns
        if skips:
            return turns.may_skip(number)
        return not turns.is_mandatory(number) and turns.pays(slot, number)

    def may_show(self, truths: Truths) -> bool:
        """Whether the place may still show the offer. True also where it cannot: only who must be out of the way, and
        who could be in the places before, is looked at.

        Those who go before it there must each have another place, taken earlier; and each place that it would take
        earlier needs another offer. If there are enough of each, places can be given to both (Mendelsohn and Dulmage).
        """
        turns, slot = self._turns, self._slot
        skips = turns.skips(self._wanted, truths)
        if skips is None:
            return True
        if not skips and not turns.pays(slot, self._wanted):
            return False
        blocking: list[list[int]] = []
        for number in self._ahead:
            if truths.get(number):
                elsewhere = self._elsewhere(number, skips, turns.skips(number, truths))
                if elsewhere is not None:
                    blocking.append(elsewhere)
                    if not elsewhere:
                        return False
        if blocking and _matched(blocking) is None:
            return False
        before = self._fillers[skips]
        fillers = [list(islice((one for one in each if truths.get(one) is not False), len(before))) for each in before]
        return not fillers or _matched(fillers) is not None

    def helpers(self) -> list[int]:
        """Offers of which each may take one of the places that the wanted one would take before its own."""
        return list(_matched(self._fillers[False]) or ())

    def _elsewhere(self, number: int, skips: bool, skipping: bool | None) -> list[int] | None:
        """The places that one who goes before the wanted offer may have taken by then; None if it does not."""
        turns, slot = self._turns, self._slot
        is_ahead = turns.is_ahead(slot, number, self._wanted)
        if skipping and (not skips or is_ahead):
            return [one for one in turns.slots_of[number] if turns.first_turn[one] < turns.first_turn[slot]]
        if skipping is False and not skips and is_ahead:
            return [
                one
                for one in turns.slots_of[number]
                if one != slot and (turns.later_turn[one] < turns.later_turn[slot] or (one, number) in self._held)
            ]
        return None

    def comes(self, truths: Truths) -> bool | None:
        """Whether the place shows the offer where nothing was shown before, as far as is known: True if some order of
        values comes to that whatever else holds, False if none does. Offers without a truth have no say."""
        if not self.may_show(truths):
            return False
        taken, used, has_chosen = set[int](), set[int](), False
        caps: Mapping[int, Bound] = {}
        for skips, index, candidates in self._rounds:
            if index in taken:
                continue
            sure, unsure = self._left(skips, index, candidates, used, truths)
            left = (*sure, *unsure)
            if index == self._slot and self._wanted in sure:
                return True if self._turns.takes(index, [self._wanted], left, caps, skips=skips) else None
            others = [number for number in sure if number != self._wanted]
            if index == self._slot and others:
                return None if has_chosen or self._wanted in unsure else False
            if others:
                has_chosen = has_chosen or index in self._turns.valued
                possible = self._turns.takes(index, others, left, caps, skips=skips)
                if not possible:
                    return None
                number = min(possible, key=lambda number: len(self._turns.slots_of[number]))
                caps = possible[number]
                used.add(number)
                taken.add(index)
            elif unsure:
                return None
            elif sure and (skips or not self._turns.may_leave(index, self._wanted, self._slot)):
                return None if has_chosen else False
        return None if has_chosen else False

    def _left(
        self, skips: bool, index: int, candidates: list[int], used: set[int], truths: Truths
    ) -> tuple[list[int], list[int]]:
        """Who is left for a place to take in its turn, and who perhaps."""
        sure: list[int] = []
        unsure: list[int] = []
        for number in candidates:
            holds = truths.get(number, False)
            if holds is False or number in used:
                continue
            skipping = self._turns.skips(number, truths)
            if skipping is (not skips):
                continue
            if holds and skipping is not None:
                sure.append(number)
            else:
                unsure.append(number)
            if index not in self._turns.valued:
                break
        return sure, unsure


def _matched(wishes: list[list[int]]) -> dict[int, int] | None:
    """Whose each wish becomes, so that each has one of its wishes; None if not all can (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(one: int, seen: set[int]) -> bool:
        for wish in wishes[one]:
            if wish not in seen:
                seen.add(wish)
                if wish not in owner or place(owner[wish], seen):
                    owner[wish] = one
                    return True
        return False

    return owner if all(place(one, set()) for one in range(len(wishes))) else None
