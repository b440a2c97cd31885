"""When an offer may be shown, as one formula over few variables, so that it can be asked whether that can ever be.

A variable has a short list of values that tell everything apart which the plan's rules can tell apart; the first is the
plain one: nothing bought, no complaint, a person's own fetch, now. Features of a profile are taken as independent of
each other, but for those that the decision itself reads (complaints, consent, lane, stock). The formula says what
`render.eligibility` does; the test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import ceil, floor, inf
from typing import Any, Final

from msgspec import UNSET

from render.arbitration import Fatigue
from render.eligibility import MACHINE_DAYS
from render.facts import DAY_MS
from render.guard import CROSS_KINDS
from render.plan import LAYERS, SALES_KINDS, Live, Offer, Plan
from signals.contents import REFUSABLE
from signals.features import Feature
from signals.fold import fold_all
from signals.readings import RuleFacts
from signals.rules import COMPARE, All, Always, InSegment, Node, Not, Rule, Some, Test, parse, sort_of

Variable = tuple[Hashable, ...]
Key = int | str
"""What a formula is of: an offer by its number, or one of the names below."""
Assignment = Mapping[Variable, Any]
COMPLAINT: Final[Variable] = ("complaint",)
LANE: Final[Variable] = ("lane",)
TIME: Final[Variable] = ("time",)
YES_NO: Final = (False, True)
GIVEN: Final = (True, None, False)
TROUBLED: Final = "troubled"
"""Service goes first, as `render.eligibility.Situation.is_troubled` says."""
DECIDED: Final = "decided"
"""The person may be decided on at all, as `render.permission.refused` says."""
MACHINE: Final = "machine"
HUMAN: Final = "human"
"""Whether a machine fetches, for whom nothing is drawn, or perhaps a person."""


_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "0-23": (0, 23), "1-7": (1, 7), "1 and up": (1, inf), "probability": (0, 1), "share": (0, 1),
    "score": (-inf, inf), "": (-inf, inf),
}  # fmt: skip
"""The least and the greatest number that there is of a unit; of other units none is below 0."""


@dataclass(frozen=True)
class Atom:
    """What one variable must be like."""

    variable: Variable
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Group:
    """All of the parts, or with `some` at least one; `negated` turns it round."""

    parts: tuple[Formula, ...]
    some: bool = False
    negated: bool = False


Formula = Atom | Group
NEVER: Final = Group((), some=True)


def truth(formula: Formula, known: Assignment) -> bool | None:
    """Whether it holds as far as is known; None while that is open."""
    if isinstance(formula, Atom):
        return formula.holds(known[formula.variable]) if formula.variable in known else None
    settled = formula.some
    result: bool | None = not settled
    for part in formula.parts:
        found = truth(part, known)
        if found is settled:
            result = settled
            break
        if found is None:
            result = None
    return None if result is None else result != formula.negated


def open_variable(formula: Formula, known: Assignment) -> Variable | None:
    """The first variable that decides it and is not known yet."""
    if isinstance(formula, Atom):
        return None if formula.variable in known else formula.variable
    for part in formula.parts:
        if truth(part, known) is None:
            return open_variable(part, known)
    return None


class Conditions:
    """The formulas of a plan's offers at `now_ms`, and the values of their variables."""

    def __init__(self, plan: Plan, live: Live, now_ms: int) -> None:
        self._plan = plan
        self._live = live
        self._numbers: dict[Variable, set[float]] = {}
        self.values: dict[Variable, list[Any]] = {
            TIME: sorted({now_ms, *(instant for instant in _turns(plan) if instant > now_ms)}),
            LANE: ["live", "undecided", "machine"],
            COMPLAINT: list(YES_NO),
        }
        self._nobody = RuleFacts(fold_all([]), datetime.fromtimestamp(now_ms / 1000, UTC))
        self._suppressed = self._suppression()
        self.of: dict[Key, Formula] = {offer.id: Group(tuple(self._parts(offer))) for offer in plan.offers}
        self.of |= {
            TROUBLED: Group((Atom(COMPLAINT, bool), self._suppressed), some=True),
            DECIDED: Group(tuple(self._permissions())),
            MACHINE: Atom(LANE, lambda lane: lane == "machine"),
            HUMAN: Atom(LANE, lambda lane: lane != "machine"),
        }

    def _permissions(self) -> Iterator[Formula]:
        """What must not be refused, or must be given, of what some offer asks for."""
        for variable in [variable for variable in self.values if variable[0] == "consent"]:
            if variable[1] in self._plan.needs_consent:
                yield Atom(variable, lambda given: given is True)
            elif variable[1] in (*REFUSABLE, self._plan.channel):
                yield Atom(variable, lambda given: given is not False)

    def _suppression(self) -> Formula:
        rule = self._plan.suppress
        if rule is UNSET:
            return NEVER
        return self._rule(self._read(rule).root, None)

    def _parts(self, offer: Offer) -> Iterator[Formula]:
        if offer.id in self._live.withdrawn or self._live.state != "live":
            yield NEVER
        yield from self._legal(offer)
        if offer.purpose_category is not None:
            yield self._no(("bought", offer.purpose_category))
        if offer.after_category is not None:
            yield self._yes(("bought", offer.after_category))
        yield from self._product(offer)
        if offer.asks_occasion or offer.incentive is not None:
            yield self._is(("suited", offer.id), (True, False))
        if offer.kind in SALES_KINDS:
            yield self._no(COMPLAINT)
            yield Group((self._suppressed,), negated=True)
            if self._plan.guarded and offer.kind in CROSS_KINDS:
                yield self._no(("flagged",))
        if offer.category is not None:
            yield self._no(("unwanted", "category", offer.category))
        if offer.cap_total == 0:
            yield NEVER
        if offer.is_limited and self._plan.tracking == "anonymous":
            yield NEVER
        if offer.is_capped or offer.no_repeat_days is not None:
            yield self._no(("used up", offer.id))
        yield from (self._no(resting(offer, rest)) for rest in offer.fatigue)
        for layer in LAYERS:
            rule = offer.rules.of(layer)
            if rule is not None:
                read = self._read(rule)
                yield self._rule(read.root, offer)
                if not read.categories.isdisjoint(self._plan.sensitive):
                    yield self._rule(read.root, offer, is_plain=True)

    def _read(self, rule: object) -> Rule:
        return parse(rule, self._plan.categories, where="eligibility", published=True)

    def _legal(self, offer: Offer) -> Iterator[Formula]:
        if offer.starts_ms is not None:
            yield Atom(TIME, lambda at: at >= offer.starts_ms)
        if offer.ends_ms is not None:
            yield Atom(TIME, lambda at: at < offer.ends_ms)
            lasting = Atom(TIME, lambda at: (offer.ends_ms or 0) - at >= MACHINE_DAYS * DAY_MS)
            yield Group((Atom(LANE, lambda lane: lane != "machine"), lasting), some=True)
        for purpose in offer.requires_consent:
            yield self._is(("consent", purpose), GIVEN)
        if (
            offer.is_capped
            or offer.clock_bound
            or offer.needs_stock
            or offer.shows_price
            or offer.products
            or offer.versions
            or offer.incentive is not None
        ):
            yield Atom(LANE, lambda lane: lane != "machine")
        if offer.clock_bound or (offer.is_capped and not self._plan.undecided_capped):
            yield Atom(LANE, lambda lane: lane != "undecided")

    def _product(self, offer: Offer) -> Iterator[Formula]:
        if offer.products or offer.pick is not None:
            yield self._is(("shown", offer.id), (True, False))
        if offer.product is None or offer.products:
            return
        yield self._no(("unwanted", "product", offer.product))
        yield self._no(("gone", offer.product))
        if offer.kind not in ("thank-you", "service"):
            since_send = offer.kind in ("replacement", "volume")
            yield self._no(("owned", offer.product, since_send))
        if offer.needs_stock or offer.shows_price:
            yield self._is(("fresh", offer.product), (True, False))
        if offer.needs_stock:
            yield self._is(("stock", offer.product), (True, False))

    def _rule(self, node: Node, offer: Offer | None, is_plain: bool = False) -> Formula:
        """A rule; `is_plain`: as without the signals of sensitive categories, which may suppress and not select."""
        match node:
            case Always(holds):
                return Group((), some=not holds)
            case InSegment(number):
                return self._yes(("segment", number))
            case All(parts) | Some(parts):
                made = tuple(self._rule(part, offer, is_plain) for part in parts)
                return Group(made, some=isinstance(node, Some))
            case Not(part):
                return Group((self._rule(part, offer, is_plain),), negated=True)
            case Test(feature, params) if is_plain and params.category in self._plan.sensitive:
                return Group((), some=not _compared(node, feature.read(self._nobody, params)))
            case Test():
                return self._test(node, offer)
            case _:
                return NEVER

    def _test(self, test: Test, offer: Offer | None) -> Formula:
        """A comparison; what the decision itself reads shares its variable."""
        name = test.feature.name
        if name == "complaint.open":
            return Atom(COMPLAINT, lambda open_: _compared(test, open_))
        if name == "open.lane":
            return Atom(LANE, lambda lane: _compared(test, "machine" if lane == "machine" else "live"))
        if name == "open.undecided":
            return Atom(LANE, lambda lane: _compared(test, lane == "undecided"))
        if name.startswith("consent."):
            return self._is(("consent", name.partition(".")[2]), GIVEN, lambda given: _compared(test, given))
        of_product = _whose(offer) if offer is not None and name.startswith("product.") else None
        variable = ("feature", name, test.params.category, test.params.within_days, test.params.name, of_product)
        values = self.values.setdefault(variable, [_plain(test.feature)])
        for value in (*_telling(test), *self._between(variable, test)):
            there = _within(test.feature, value)
            if not any(sort_of(one) == sort_of(there) and one == there for one in values):
                values.append(there)
        return Atom(variable, lambda value: _compared(test, value))

    def _between(self, variable: Variable, test: Test) -> list[float]:
        """What lies between the numbers that a variable is compared with, where parts of one are told."""
        if test.feature.type == "whole":
            return []
        given = test.value if isinstance(test.value, tuple) else (test.value,)
        numbers = self._numbers.setdefault(variable, set())
        numbers |= {value for value in given if isinstance(value, int | float) and not isinstance(value, bool)}
        return [(one + other) / 2 for one, other in pairwise(sorted(numbers))]

    def _yes(self, variable: Variable) -> Atom:
        return self._is(variable, YES_NO)

    def _no(self, variable: Variable) -> Atom:
        return self._is(variable, YES_NO, lambda value: not value)

    def _is(self, variable: Variable, values: tuple[Any, ...], holds: Callable[[Any], bool] = bool) -> Atom:
        self.values.setdefault(variable, list(values))
        return Atom(variable, holds)


def resting(offer: Offer, rest: Fatigue) -> Variable:
    """The variable of a rest: of the offer, or of those of its group that rest after the same."""
    if rest.of == "offer":
        return "resting", offer.id
    return "group resting", offer.group, rest.after, rest.times, rest.within_days, rest.off_days


def _turns(plan: Plan) -> Iterator[int]:
    """The instants (Unix ms) at which an offer begins, ends, or stops being fit for a machine's copy."""
    for offer in plan.offers:
        if offer.starts_ms is not None:
            yield offer.starts_ms
        if offer.ends_ms is not None:
            yield from (offer.ends_ms, offer.ends_ms - MACHINE_DAYS * DAY_MS + 1)


def _whose(offer: Offer) -> str | None:
    """Of which product an offer asks; what is picked for a person is each offer's own."""
    return offer.product if offer.pick is None else f"picked {offer.id}"


def _plain(feature: Feature) -> Any:
    """What is read of somebody of whom nothing is known: nothing, where that can be."""
    if not feature.is_always_there:
        return None
    if feature.type == "whole":
        return _bounds(feature)[0]
    return False if feature.type == "yes/no" else next(iter(feature.values), None)


def _bounds(feature: Feature) -> tuple[float, float]:
    """The least and the greatest number that there can be of a feature."""
    return _BOUNDS.get(feature.unit, (0, inf)) if feature.type in ("whole", "number") else (-inf, inf)


def _within(feature: Feature, value: Any) -> Any:
    """A value, or the nearest that there is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    least, most = _bounds(feature)
    return min(max(value, least), most)


def _telling(test: Test) -> Iterator[Any]:
    """Values on both sides of what a comparison compares with; of those alone that there are, where all are known."""
    if test.feature.values:
        yield from test.feature.values
        return
    for value in test.value if isinstance(test.value, tuple) else (test.value,):
        match value:
            case None:
                yield from {"yes/no": YES_NO, "text": ("x",)}.get(test.feature.type, (0,))
            case bool():
                yield from YES_NO
            case int() | float():
                if test.feature.type == "whole":
                    yield from range(floor(value) - 1, ceil(value) + 2)
                else:
                    yield from (value - 1, value, value + 1)
            case _:
                yield from (value, f"{value}~", "")


def _compared(test: Test, found: Any) -> bool:
    """A comparison as `signals.rules` makes it."""
    if test.op in ("missing", "present"):
        return (found is None) == (test.op == "missing")
    if found is None:
        return False
    if isinstance(test.value, tuple):
        return any(sort_of(found) == sort_of(value) and found == value for value in test.value)
    return sort_of(found) == sort_of(test.value) and COMPARE[test.op](found, test.value)
