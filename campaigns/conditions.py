"""When an offer may be shown, as one formula over few variables, so that it can be asked whether that can ever be.

A variable has a short list of values that tell everything apart which the plan's rules can tell apart; the first is the
plain one: nothing bought, no complaint, a person's own fetch, now. Features of a profile are taken as independent of
each other, but for those that the decision itself reads (complaints, consent, lane, stock). The formula says what
`render.eligibility` does; the test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import UNSET

from render.eligibility import MACHINE_DAYS
from render.facts import DAY_MS
from render.guard import CROSS_KINDS
from render.plan import LAYERS, SALES_KINDS, Live, Offer, Plan
from signals.rules import COMPARE, All, Always, InSegment, Node, Not, Some, Test, parse, sort_of

Variable = tuple[Hashable, ...]
Assignment = Mapping[Variable, Any]
COMPLAINT: Final[Variable] = ("complaint",)
LANE: Final[Variable] = ("lane",)
TIME: Final[Variable] = ("time",)
YES_NO: Final = (False, True)


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
        self.values: dict[Variable, list[Any]] = {
            TIME: sorted({now_ms, *(instant for instant in _turns(plan) if instant > now_ms)}),
            LANE: ["live", "undecided", "machine"],
            COMPLAINT: list(YES_NO),
        }
        self._suppressed = self._suppression()
        self.troubled = Group((Atom(COMPLAINT, bool), self._suppressed), some=True)
        """Whether service goes first, as `render.eligibility.Situation.is_troubled` says."""
        self.of = {offer.id: Group(tuple(self._parts(offer))) for offer in plan.offers}

    def _suppression(self) -> Formula:
        rule = self._plan.suppress
        if rule is UNSET:
            return NEVER
        return self._rule(self._read(rule), None)

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
        if offer.is_capped or offer.no_repeat_days is not None:
            yield self._no(("used up", offer.id))
        for layer in LAYERS:
            rule = offer.rules.of(layer)
            if rule is not None:
                yield self._rule(self._read(rule), offer)

    def _read(self, rule: object) -> Node:
        return parse(rule, self._plan.categories, where="eligibility", published=True).root

    def _legal(self, offer: Offer) -> Iterator[Formula]:
        if offer.starts_ms is not None:
            yield Atom(TIME, lambda at: at >= offer.starts_ms)
        if offer.ends_ms is not None:
            yield Atom(TIME, lambda at: at < offer.ends_ms)
            lasting = Atom(TIME, lambda at: (offer.ends_ms or 0) - at >= MACHINE_DAYS * DAY_MS)
            yield Group((Atom(LANE, lambda lane: lane != "machine"), lasting), some=True)
        for purpose in offer.requires_consent:
            yield self._is(("consent", purpose), (True, None))
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

    def _rule(self, node: Node, offer: Offer | None) -> Formula:
        match node:
            case Always(holds):
                return Group((), some=not holds)
            case InSegment(number):
                return self._yes(("segment", number))
            case All(parts) | Some(parts):
                return Group(tuple(self._rule(part, offer) for part in parts), some=isinstance(node, Some))
            case Not(part):
                return Group((self._rule(part, offer),), negated=True)
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
            return self._is(("consent", name.partition(".")[2]), (True, None), lambda given: _compared(test, given))
        of_product = offer.product if offer is not None and name.startswith("product.") else None
        variable = ("feature", name, test.params.category, test.params.within_days, test.params.name, of_product)
        values = self.values.setdefault(variable, [None])
        values += [value for value in _telling(test) if value not in values]
        return Atom(variable, lambda value: _compared(test, value))

    def _yes(self, variable: Variable) -> Atom:
        return self._is(variable, YES_NO)

    def _no(self, variable: Variable) -> Atom:
        return self._is(variable, YES_NO, lambda value: not value)

    def _is(self, variable: Variable, values: tuple[Any, ...], holds: Callable[[Any], bool] = bool) -> Atom:
        self.values.setdefault(variable, list(values))
        return Atom(variable, holds)


def _turns(plan: Plan) -> Iterator[int]:
    """The instants (Unix ms) at which an offer begins, ends, or stops being fit for a machine's copy."""
    for offer in plan.offers:
        if offer.starts_ms is not None:
            yield offer.starts_ms
        if offer.ends_ms is not None:
            yield from (offer.ends_ms, offer.ends_ms - MACHINE_DAYS * DAY_MS + 1)


def _telling(test: Test) -> Iterator[Any]:
    """Values on both sides of what a comparison compares with."""
    for value in test.value if isinstance(test.value, tuple) else (test.value,):
        match value:
            case None:
                yield from {"yes/no": YES_NO, "text": ("x",)}.get(test.feature.type, (0,))
            case bool():
                yield from YES_NO
            case int() | float():
                least = 0 if test.feature.type == "whole" else None
                yield from (near for near in (value - 1, value, value + 1) if least is None or near >= least)
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
