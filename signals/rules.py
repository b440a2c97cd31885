"""The rule language: a small JSON that says who is meant, for segments and audiences (SQL) and eligibility (Python).

    {"all": [rule, …]}   {"any": [rule, …]}   {"not": rule}   {"always": true}   {"segment": 7}
    {"field": "purchases.count", "category": "shoes", "within_days": 30, "op": ">=", "value": 1}
    {"event": "Order Completed", "category": "shoes", "from": {"months_ago": 13}, "to": {"months_ago": 11},
     "zone": "Europe/Berlin", "min_count": 1}

It is two-valued: a comparison with a missing value, or with a value of another type, is false whatever the operator,
and "not" of it is true. History windows (`event`) are for audiences only. docs/rules.md has the whole of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from base.errors import InvalidInput
from signals.features import CATALOGUE, MAX_WITHIN_DAYS, Feature
from signals.foldevent import MAX_ID, UNKEPT_TRAITS, trait_name
from signals.history import History, history
from signals.identifying import is_identifying
from signals.readings import Params, RuleFacts
from signals.rulejson import below, only, text, whole
from signals.state import MAX_NUMBER, MAX_TRAIT_TEXT, Trait

__all__ = ["Node", "Rule", "RuleFacts", "compile_python", "parse"]

MAX_DEPTH: Final = 12
MAX_NODES: Final = 200
MAX_LIST: Final = 100
MOST_SEGMENT: Final = 2**31 - 1
UNKEPT: Final = "is not kept with what is known of a person, so no rule can ask for it, nor whether it is there"
Where = Literal["audience", "eligibility"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "missing", "present"]
COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ORDERED: Final = frozenset({"<", "<=", ">", ">="})
Sort = Literal["number", "text", "yes/no"]
"""What two values must share to be compared. Whole numbers and fractions are one sort."""


class Always(msgspec.Struct, frozen=True):
    """True for everybody, or for nobody."""

    holds: bool


class InSegment(msgspec.Struct, frozen=True):
    """The profile is a member of the segment, as its state says."""

    id: int


class All(msgspec.Struct, frozen=True):
    """Every part holds."""

    parts: tuple[Node, ...]


class Some(msgspec.Struct, frozen=True):
    """At least one part holds."""

    parts: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True):
    """The part does not hold."""

    part: Node


class Test(msgspec.Struct, frozen=True):
    """A feature compared with a value; with a tuple of values for "in", with nothing for "missing" and "present"."""

    __test__ = False  # pytest looks for tests by this name

    feature: Feature
    params: Params
    op: Operator
    value: Trait | tuple[Trait, ...] | None = None


Node = Always | InSegment | All | Some | Not | Test | History


class Rule(msgspec.Struct, frozen=True):
    """A rule that was read. `categories` are all category numbers it names."""

    root: Node
    where: Where
    categories: frozenset[int]


def parse(raw: object, categories: Mapping[str, int], where: Where = "audience", *, published: bool = False) -> Rule:
    """Read a rule from decoded JSON. `categories` are the known slugs with their numbers.

    A rule of a `published` plan is read as it was kept, also where it asks for a trait that no state holds. Raises
    InvalidInput whose field is the path inside the rule, such as `all[1].value`; "" is the rule itself.
    """
    reader = _Reader(categories, where, published)
    return Rule(reader.node(raw, "", 1), where, frozenset(reader.named))


def compile_python(rule: Rule) -> Callable[[RuleFacts], bool]:
    """The rule as a function. Raises InvalidInput for history windows, which only SQL over events can answer."""
    return _compiled(rule.root)


def sort_of(value: object) -> Sort | None:
    """What a value can be compared with."""
    if isinstance(value, bool):
        return "yes/no"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


def _compiled(node: Node) -> Callable[[RuleFacts], bool]:
    match node:
        case Always(holds):
            return lambda facts: holds
        case InSegment(segment):
            return lambda facts: segment in facts.state.segments
        case All(parts):
            every = tuple(map(_compiled, parts))
            return lambda facts: all(part(facts) for part in every)
        case Some(parts):
            some = tuple(map(_compiled, parts))
            return lambda facts: any(part(facts) for part in some)
        case Not(part):
            inner = _compiled(part)
            return lambda facts: not inner(facts)
        case Test():
            return _comparison(node)
        case History():
            raise InvalidInput("event", "asks the stored events, which an audience can do and an open cannot")


def _comparison(test: Test) -> Callable[[RuleFacts], bool]:
    read, params = test.feature.read, test.params
    if test.op == "missing":
        return lambda facts: read(facts, params) is None
    if test.op == "present":
        return lambda facts: read(facts, params) is not None
    if isinstance(test.value, tuple):
        wanted = frozenset((sort_of(value), value) for value in test.value)

        def among(facts: RuleFacts) -> bool:
            found = read(facts, params)
            return found is not None and (sort_of(found), found) in wanted

        return among
    compare, value, sort = COMPARE[test.op], test.value, sort_of(test.value)

    def compared(facts: RuleFacts) -> bool:
        found = read(facts, params)
        return found is not None and sort_of(found) == sort and compare(found, value)

    return compared


class _Reader:
    """Reads one rule; keeps count of its nodes and of the categories it names."""

    def __init__(self, categories: Mapping[str, int], where: Where, published: bool) -> None:
        self.categories = categories
        self.where = where
        self.published = published
        self.nodes = 0
        self.named: set[int] = set()

    def node(self, raw: object, path: str, depth: int) -> Node:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise InvalidInput(path, f"rules nest at most {MAX_DEPTH} deep")
        if self.nodes > MAX_NODES:
            raise InvalidInput(path, f"a rule has at most {MAX_NODES} parts")
        if not isinstance(raw, Mapping) or not all(isinstance(name, str) for name in raw):
            raise InvalidInput(path, "must be an object")
        for name, read in _FORMS.items():
            if name in raw:
                return read(self, raw, path, depth)
        raise InvalidInput(path, f"must have one of {', '.join(_FORMS)}")

    def all(self, raw: Mapping[str, object], path: str, depth: int) -> Node:
        return All(self._parts(raw, "all", path, depth))

    def some(self, raw: Mapping[str, object], path: str, depth: int) -> Node:
        return Some(self._parts(raw, "any", path, depth))

    def negation(self, raw: Mapping[str, object], path: str, depth: int) -> Node:
        only(raw, {"not"}, path)
        return Not(self.node(raw["not"], below(path, "not"), depth + 1))

    def always(self, raw: Mapping[str, object], path: str, depth: int) -> Node:
        only(raw, {"always"}, path)
        if not isinstance(raw["always"], bool):
            raise InvalidInput(below(path, "always"), "must be true or false")
        return Always(raw["always"])

    def segment(self, raw: Mapping[str, object], path: str, depth: int) -> Node:
        only(raw, {"segment"}, path)
        return InSegment(whole(raw["segment"], below(path, "segment"), 1, MOST_SEGMENT))

    def event(self, raw: Mapping[str, object], path: str, depth: int) -> Node:
        if self.where != "audience":
            raise InvalidInput(below(path, "event"), "history windows are for audiences only")
        only(raw, {"event", "category", "from", "to", "zone", "min_count", "max_count"}, path)
        category = self.category(raw["category"], path) if raw.get("category") is not None else None
        return history(raw, category, path)

    def test(self, raw: Mapping[str, object], path: str, depth: int) -> Node:
        feature = CATALOGUE.get(raw["field"]) if isinstance(raw["field"], str) else None
        if feature is None:
            raise InvalidInput(below(path, "field"), f"there is no feature {str(raw['field'])[:64]!r}")
        if feature.at_open and self.where == "audience":
            raise InvalidInput(below(path, "field"), f"{feature.name} is known only when a mail is opened")
        only(raw, {"field", "op", "value", *feature.needs, *feature.takes}, path)
        params = self._params(raw, feature, path)
        if feature.name == "trait" and params.name in UNKEPT_TRAITS and not self.published:
            raise InvalidInput(below(path, "name"), f"{params.name} {UNKEPT}")
        op = raw.get("op")
        if op in ("missing", "present"):
            if raw.get("value") is not None:
                raise InvalidInput(below(path, "value"), f"{op} takes no value")
            return Test(feature, params, op)
        if self.where == "audience" and feature.name == "trait" and is_identifying(params.name or ""):
            asked = raw.get("value")
            if not all(isinstance(one, bool) for one in (asked if isinstance(asked, list | tuple) else [asked])):
                message = f"{params.name} is kept sealed: a rule may ask whether it is present, missing, yes or no"
                raise InvalidInput(below(path, "op"), message)
        if op == "in":
            return Test(feature, params, op, _values(raw.get("value"), feature, below(path, "value")))
        if not isinstance(op, str) or op not in COMPARE:
            raise InvalidInput(below(path, "op"), "must be one of =, !=, <, <=, >, >=, in, missing, present")
        value = _value(raw.get("value"), feature, below(path, "value"))
        if op in ORDERED and isinstance(value, bool):
            raise InvalidInput(below(path, "op"), "yes and no have no order: use = or !=")
        return Test(feature, params, op, value)  # type: ignore[arg-type]

    def category(self, raw: object, path: str) -> int:
        number = self.categories.get(raw) if isinstance(raw, str) else raw
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InvalidInput(below(path, "category"), f"there is no category {str(raw)[:64]!r}")
        self.named.add(number)
        return number

    def _parts(self, raw: Mapping[str, object], name: str, path: str, depth: int) -> tuple[Node, ...]:
        only(raw, {name}, path)
        parts = raw[name]
        if not isinstance(parts, list | tuple) or not parts:
            raise InvalidInput(below(path, name), "must be a list of at least one rule")
        return tuple(self.node(part, f"{below(path, name)}[{index}]", depth + 1) for index, part in enumerate(parts))

    def _params(self, raw: Mapping[str, object], feature: Feature, path: str) -> Params:
        for need in feature.needs:
            if raw.get(need) is None:
                raise InvalidInput(below(path, need), f"{feature.name} needs it")
        category = self.category(raw["category"], path) if raw.get("category") is not None else None
        days = raw.get("within_days")
        within = None if days is None else whole(days, below(path, "within_days"), 0, MAX_WITHIN_DAYS)
        name = raw.get("name")
        if name is not None:
            name = text(name, below(path, "name"), MAX_ID)
            name = trait_name(name) if feature.name == "trait" else name
        return Params(category, within, name)


_Read = Callable[[_Reader, Mapping[str, object], str, int], Node]
_FORMS: Final[Mapping[str, _Read]] = {
    "all": _Reader.all,
    "any": _Reader.some,
    "not": _Reader.negation,
    "field": _Reader.test,
    "segment": _Reader.segment,
    "always": _Reader.always,
    "event": _Reader.event,
}
_SORTS: Final[Mapping[str, Sort]] = {"whole": "number", "number": "number", "yes/no": "yes/no", "text": "text"}


def _values(raw: object, feature: Feature, path: str) -> tuple[Trait, ...]:
    if not isinstance(raw, list | tuple) or not 1 <= len(raw) <= MAX_LIST:
        raise InvalidInput(path, f"must be a list of 1 to {MAX_LIST} values")
    return tuple(_value(value, feature, f"{path}[{index}]") for index, value in enumerate(raw))


def _value(raw: object, feature: Feature, path: str) -> Trait:
    sort = sort_of(raw)
    wanted = _SORTS.get(feature.type, sort)
    if sort is None or sort != wanted:
        raise InvalidInput(path, f"{feature.name} compares with a {wanted or 'number, text, true or false'}")
    if isinstance(raw, str):
        if feature.values and raw not in feature.values:
            raise InvalidInput(path, f"{feature.name} is one of {', '.join(feature.values)}")
        return text(raw, path, MAX_TRAIT_TEXT)
    if not abs(raw) <= MAX_NUMBER:  # type: ignore[arg-type]
        raise InvalidInput(path, "must be a number between -2^53 and 2^53")
    return raw  # type: ignore[return-value]
