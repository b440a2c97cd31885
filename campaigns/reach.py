"""Which offers each place can ever show, and why the others cannot: what a manager checks before a send.

For each candidate of each place a situation is looked for in which the decision gives it that place. Where there is
one, it is told in words; where there is none, the reason: withdrawn, over, contradictory, or always behind another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from campaigns.conditions import Assignment, Conditions, Formula, Group, Variable, open_variable, truth
from render.plan import Live, Offer, Plan, Slot
from signals.rulewords import phrase

MAX_STEPS: Final = 5_000
"""Situations looked at for one candidate; a plan that needs more is told as not decided."""


@dataclass(frozen=True)
class Variant:
    """A candidate of a place. `reachable` None: not decided within bounds. `when` is a situation that shows it, plain
    values left out; `why` says what keeps it from ever being shown."""

    slot: int
    offer: int
    reachable: bool | None
    when: tuple[tuple[Variable, Any], ...] = ()
    why: str = ""


def variants(plan: Plan, live: Live, now_ms: int) -> list[Variant]:
    """Every candidate and default of every place, in the plan's order. Pure; `now_ms` is Unix ms."""
    search = _Search(plan, Conditions(plan, live, now_ms))
    found = []
    for slot in plan.slots:
        found += [search.variant(slot, plan.offer_by_id[number], live, now_ms) for number in slot.offers]
        if slot.default not in slot.offers:
            found.append(Variant(slot.index, slot.default, True))
    return found


class _Search:
    """Looks for situations. A candidate that was shown before goes first (held), but only after it was once shown
    without that, so what was shown last needs no looking at."""

    def __init__(self, plan: Plan, conditions: Conditions) -> None:
        self._plan = plan
        self._conditions = conditions
        self._slots_of: dict[int, list[Slot]] = {}
        self._orders: dict[tuple[int, bool | None], list[tuple[int, int]]] = {}
        for slot in plan.slots:
            for number in slot.offers:
                self._slots_of.setdefault(number, []).append(slot)

    def variant(self, slot: Slot, offer: Offer, live: Live, now_ms: int) -> Variant:
        """What is to be said of one candidate."""
        if offer.id == slot.default:
            return Variant(slot.index, offer.id, True)
        if why := _plainly(offer, live, now_ms):
            return Variant(slot.index, offer.id, False, why=why)
        steps = [MAX_STEPS]
        if next(self._solutions([self._conditions.of[offer.id]], steps), None) is None:
            return self._none(slot, offer, steps, "its conditions contradict each other")
        found = self._shown(slot, offer, steps)
        if found is None:
            return self._none(slot, offer, steps, self._blocked(slot, offer))
        plain = self._conditions.values
        told = tuple((variable, value) for variable, value in found.items() if value != plain[variable][0])
        return Variant(slot.index, offer.id, True, told)

    def _none(self, slot: Slot, offer: Offer, steps: list[int], why: str) -> Variant:
        return Variant(slot.index, offer.id, False if steps[0] > 0 else None, why=why if steps[0] > 0 else "")

    def _blocked(self, slot: Slot, offer: Offer) -> str:
        """Who always goes first, if one offer alone does."""
        if not self._above(slot, offer):
            return "another place always shows it first"
        for number in self._above(slot, offer):
            never = Group((self._conditions.of[number],), negated=True)
            if next(self._solutions([never], [MAX_STEPS]), None) is None:
                return f"{self._plan.offer_by_id[number].name} may always be shown and goes first"
        return "others always go first here"

    def _above(self, slot: Slot, offer: Offer) -> list[int]:
        """The candidates of a place that can go before an offer."""
        by_turn = sorted(slot.offers, key=lambda number: self._rank(slot, number, None))
        ahead = [number for number in by_turn if self._may_precede(slot, number, offer)]
        return [number for number in ahead if number != offer.id]

    def _may_precede(self, slot: Slot, number: int, offer: Offer) -> bool:
        other = self._plan.offer_by_id[number]
        if other.mandatory or other.kind == "service":
            return True
        return self._rank(slot, number, offer.id) < self._rank(slot, offer.id, offer.id)

    def _rank(self, slot: Slot, number: int, wanted: int | None) -> tuple[int, int, int]:
        """The turn of a candidate within its tier; a model may prefer whichever is wanted."""
        first = 0 if slot.mode == "model" and number == wanted else 1
        return first, -self._plan.offer_by_id[number].priority, slot.offers.index(number)

    def _shown(self, slot: Slot, offer: Offer, steps: list[int]) -> dict[Variable, Any] | None:
        """A situation in which the place shows the offer: the plainest, else one in which others may be shown too that
        can take the places before it, else any."""
        relevant = [offer.id, *self._above(slot, offer)]
        alone = all(len(self._slots_of[number]) == 1 for number in relevant)
        if not alone:
            relevant += [number for number in self._entangled(slot) if number not in relevant]

        def first_of(wanted: list[int], most: int | None) -> dict[Variable, Any] | None:
            settled: list[Formula] = [self._conditions.of[number] for number in relevant if number not in wanted]
            formulas: list[Formula] = [self._conditions.of[number] for number in wanted]
            found = self._solutions(formulas, steps, settled, lambda so_far: self._may_win(slot, offer, so_far))
            return next((known for known in islice(found, most) if self._shows(slot, offer.id, known)), None)

        known = first_of([offer.id], 1)
        before = [place for place in self._slots_of[offer.id] if place.index < slot.index]
        others = [*dict.fromkeys(number for place in before for number in place.offers if number != offer.id)]
        for start in range(len(others)):
            if known is not None or steps[0] <= 0:
                break
            known = first_of(self._together(offer.id, others[start:] + others[:start], len(before), steps), 1)
        return known if known is not None else first_of([offer.id], None)

    def _together(self, wanted: int, others: list[int], most: int, steps: list[int]) -> list[int]:
        """An offer and up to `most` of others that may be shown in one situation with it, the first that fit."""
        chosen = [wanted]
        for number in others:
            formulas: list[Formula] = [self._conditions.of[one] for one in (*chosen, number)]
            if len(chosen) <= most and next(self._solutions(formulas, steps), None) is not None:
                chosen.append(number)
        return chosen

    def _entangled(self, slot: Slot) -> list[int]:
        """The offers that may take a place from one of this place, or from one that may do so, and so on."""
        places, found = [slot], dict.fromkeys(slot.offers)
        for place in places:
            for number in place.offers:
                found[number] = None
                places += [other for other in self._slots_of[number] if other not in places]
        return list(found)

    def _may_win(self, slot: Slot, offer: Offer, known: Assignment) -> bool:
        """Whether the place is not surely taken yet: by somebody ahead who can stand nowhere else."""
        own = self._turn(slot, offer.id, known, offer.id)
        if own is None:
            return True
        for number in slot.offers:
            if (
                number == offer.id
                or len(self._slots_of[number]) > 1
                or truth(self._conditions.of[number], known) is not True
            ):
                continue
            other = self._turn(slot, number, known, offer.id)
            if other is not None and other < own:
                return False
        return True

    def _turn(self, slot: Slot, number: int, known: Assignment, wanted: int) -> tuple[Any, ...] | None:
        """When a candidate has its turn, as `render.decide` sorts; None while its tier is not known."""
        offer = self._plan.offer_by_id[number]
        is_first: bool | None = offer.mandatory
        if offer.kind == "service" and not offer.mandatory:
            is_first = truth(self._conditions.troubled, known)
        if is_first is None:
            return None
        tier = 0 if is_first else 2
        by_value = slot.mode == "model"
        return tier, by_value, () if by_value else (slot.index,), self._rank(slot, number, wanted), slot.index

    def _shows(self, slot: Slot, wanted: int, known: Assignment) -> bool:
        """Whether a place shows an offer, among what is surely admissible: by turns, each place and offer once."""
        places: set[int] = set()
        offers: set[int] = set()
        for index, number in self._order(known, wanted):
            if index in places or number in offers or not truth(self._conditions.of[number], known):
                continue
            if index == slot.index:
                return number == wanted
            taker = number if number != wanted else self._preferred(index, wanted, known, places, offers)
            if taker is None:
                return False
            places.add(index)
            offers.add(taker)
        return False

    def _preferred(self, index: int, wanted: int, known: Assignment, places: set[int], offers: set[int]) -> int | None:
        """Another offer that a model may put into a place before the wanted one, which then goes on to its next place;
        one that an earlier place would take does not count."""
        slots = {slot.index: slot for slot in self._plan.slots if slot.mode == "model"}
        if index not in slots:
            return None
        own = self._turn(slots[index], wanted, known, wanted)
        for number in slots[index].offers:
            if number == wanted or number in offers or not truth(self._conditions.of[number], known):
                continue
            turn = self._turn(slots[index], number, known, wanted)
            free = (one.index for one in self._slots_of[number] if one.index in slots and one.index not in places)
            if turn is not None and own is not None and turn[0] == own[0] and min(free) == index:
                return number
        return None

    def _order(self, known: Assignment, wanted: int) -> list[tuple[int, int]]:
        """Candidates by their turn, each with its place; those whose tier is not known are left out."""
        key = wanted, truth(self._conditions.troubled, known)
        if key not in self._orders:
            turns = sorted(
                (turn, slot.index, number)
                for slot in self._plan.slots
                for number in slot.offers
                if (turn := self._turn(slot, number, known, wanted)) is not None
            )
            self._orders[key] = [(index, number) for _, index, number in turns]
        return self._orders[key]

    def _solutions(
        self,
        wanted: list[Formula],
        steps: list[int],
        settled: list[Formula] | None = None,
        possible: Any = lambda _known: True,
    ) -> Iterator[dict[Variable, Any]]:
        """Situations in which all of `wanted` holds and each of `settled` is decided, plain values first.

        `steps[0]` counts down; at 0 the search ends. `possible` cuts off what cannot come to anything.
        """
        known: dict[Variable, Any] = {}
        choices: list[tuple[Variable, Iterator[Any], int]] = []
        formulas = (*wanted, *(settled or ()))
        while steps[0] > 0:
            steps[0] -= 1
            truths = [truth(formula, known) for formula in wanted]
            fits = False not in truths and possible(known)
            if fits:
                # What was decided before a choice stays so whatever is chosen, and is not looked at again.
                first = choices[-1][2] if choices else 0
                pending = next((n for n in range(first, len(formulas)) if truth(formulas[n], known) is None), None)
                variable = None if pending is None else open_variable(formulas[pending], known)
                if variable is None and settled is not None and truth(self._conditions.troubled, known) is None:
                    variable = open_variable(self._conditions.troubled, known)
                if variable is None:
                    yield dict(known)
                else:
                    at = len(formulas) if pending is None else pending
                    choices.append((variable, iter(self._conditions.values[variable]), at))
            while choices:
                variable, left, _ = choices[-1]
                known.pop(variable, None)
                try:
                    known[variable] = next(left)
                    break
                except StopIteration:
                    choices.pop()
            else:
                return


def _plainly(offer: Offer, live: Live, now_ms: int) -> str:
    """What keeps an offer off without any looking; "" if nothing does."""
    if live.state != "live":
        return "the campaign is switched off" if live.state == "killed" else "the campaign has ended"
    if offer.id in live.withdrawn:
        return "it is withdrawn"
    if offer.ends_ms is not None and offer.ends_ms <= now_ms:
        return "its time is over"
    return ""


def words(plan: Plan, variable: Variable, value: Any) -> str:
    """One circumstance of a situation, for people. Instants are in UTC; pages know the reader's zone and tell it."""
    names: Mapping[int, str] = plan.category_words
    match variable:
        case ("time",):
            return f"from {datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        case ("complaint",):
            return "while a complaint is open"
        case ("flagged",):
            return "for people whom the profit guard flags"
        case ("lane",):
            return "when a machine fetches it" if value == "machine" else "when a machine may be fetching it"
        case ("bought", int(category)):
            return f"after a purchase of {names.get(category, category)}"
        case ("unwanted", "category", int(category)):
            return f"if {names.get(category, category)} is not for them"
        case ("unwanted", _, product) | ("owned", product, _):
            return f"if they own or do not want {product}"
        case ("fresh", product):
            return f"while the feed of {product} is old"
        case ("gone", product):
            return f"once {product} is no longer in the catalogue"
        case ("stock", product):
            return f"while {product} is out of stock"
        case ("shown", int(number)):
            return f"while {plan.offer_by_id[number].name} has no product to show"
        case ("suited", int(number)):
            return f"while it is not the occasion for {plan.offer_by_id[number].name}"
        case ("used up", int(number)):
            return f"once {plan.offer_by_id[number].name} was shown as often as it may be"
        case ("consent", purpose):
            return f"without consent to {purpose}"
        case ("segment", number):
            return f"for people in segment {number}"
        case ("feature", str(name), category, days, of, _):
            said = {"category": category, "within_days": days, "name": of}
            asked = {"field": name} | {key: part for key, part in said.items() if part is not None}
            compared = {"op": "missing"} if value is None else {"op": "=", "value": value}
            return f"if {phrase(asked | compared, {str(number): word for number, word in names.items()})}"
        case _:
            return ""
