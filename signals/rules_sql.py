"""Rules as SQL: over stored state documents, and over stored events for history windows.

Every feature here means what its reading in signals/readings.py means; tests/signals/test_rules_sql.py proves it with
random states and rules. Nothing of a rule is written into the statement: values, names and moments are parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Double, and_, case, cast, false, func, literal, not_, or_, true
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from signals import routes, stages
from signals.documents import Condition, Document, Expression, bought, compared, told
from signals.history import History
from signals.history_sql import happened
from signals.household import ADULT_AT
from signals.identifying import is_identifying
from signals.readings import FLAG, Params
from signals.readings_household import BANDS
from signals.rules import COMPARE, ORDERED, All, Always, InSegment, Node, Not, Rule, Some, Test, sort_of
from signals.state import BOUGHT_CENTS, BOUGHT_INTERVAL, BOUGHT_N, NEWEST, NONE, SEEN_N, Trait


def where(rule: Rule, now: datetime) -> Condition:
    """The rule as a condition on rows of `profile_state`, never NULL; put it into a query that selects from that table.

    `now` is aware UTC. Categories and segments were resolved when the rule was parsed.
    """
    return _condition(rule.root, Document(now))


def _condition(node: Node, document: Document) -> Condition:
    match node:
        case Always(holds):
            return true() if holds else false()
        case InSegment(segment):
            return document.has(segment, "segments")
        case All(parts):
            return and_(*_conditions(parts, document, " && "))
        case Some(parts):
            return or_(*_conditions(parts, document, " || "))
        case Not(part):
            return not_(_condition(part, document))
        case Test():
            return func.coalesce(_test(node, document), false())
        case History():
            return happened(node, document.now)


def _conditions(parts: Sequence[Node], document: Document, joint: str) -> list[Condition]:
    """The conditions of a group's parts. Those that ask of traits alone are asked as one path of JSON, which reads them
    once: ten conditions, five of them such, take three quarters of the time (2026-11-30)."""
    predicates = [_predicate(part) for part in parts]
    together = [predicate for predicate in predicates if predicate]
    if len(together) < 2:
        return [_condition(part, document) for part in parts]
    others = [_condition(part, document) for part, said in zip(parts, predicates, strict=True) if not said]
    return [*others, document.fits(joint.join(together))]


def _predicate(node: Node) -> str:
    """A comparison of a trait, or a group of such, for `Document.fits`; "" for what else a rule asks.

    What cannot be compared is unknown to a path, and so are the groups it would decide: as good as false, but for what
    is negated, which therefore is asked on its own.
    """
    match node:
        case All(parts) | Some(parts):
            inner = [_predicate(part) for part in parts]
            return f"({(' && ' if isinstance(node, All) else ' || ').join(inner)})" if all(inner) else ""
        case Test(feature, params) if feature.type == "any":
            return _trait_predicate(node, _TRAITS[feature.name](params))
    return ""


def _trait_predicate(test: Test, name: str) -> str:
    if test.op in ("missing", "present"):
        if is_identifying(name):
            return ""
        return told(name) if test.op == "present" else f"!{told(name)}"
    if isinstance(test.value, tuple):
        return f"({' || '.join(compared(name, '==', wanted) for wanted in test.value)})"
    if test.value is not None and test.op == "=":
        return compared(name, "==", test.value)
    if test.value is not None and test.op in ORDERED and sort_of(test.value) == "number":
        return compared(name, test.op, test.value)
    return ""


def _test(test: Test, document: Document) -> Condition:
    if test.feature.type == "any":
        return _test_trait(test, document, _TRAITS[test.feature.name](test.params))
    value = _FEATURES[test.feature.name](document, test.params)
    if test.op == "missing":
        return value.is_(None)
    if test.op == "present":
        return value.is_not(None)
    if isinstance(test.value, tuple):
        return or_(*(_compared(value, "=", wanted) for wanted in test.value))
    return _compared(value, test.op, test.value)


def _test_trait(test: Test, document: Document, name: str) -> Condition:
    """A trait may be of any sort; it compares with values of its own sort only."""
    if isinstance(test.value, tuple):
        return or_(*(document.says(name, wanted) for wanted in test.value))
    if test.op == "=" and test.value is not None:
        return document.says(name, test.value)
    if test.op in ("missing", "present"):
        # What identifies is sealed, but for a yes or no: that it is there is all else that may be asked of it, as
        # `rules.parse` sees to.
        return document.tells(name) if test.op == "present" else not_(document.tells(name))
    if predicate := _trait_predicate(test, name):
        return document.fits(predicate)
    return _same_sort(document.at("traits", name), test.op, test.value)


def _same_sort(value: Any, op: str, wanted: Trait | None) -> Condition:
    sort = sort_of(wanted)
    json_type = {"number": "number", "text": "string", "yes/no": "boolean"}[sort or "text"]
    kind = {"number": Double, "text": None, "yes/no": Boolean}[sort or "text"]
    read = value.astext if kind is None else cast(value.astext, kind)
    # CASE keeps PostgreSQL from casting a text to a number before it has looked at the type.
    return case((func.jsonb_typeof(value) == json_type, _compared(read, op, wanted)), else_=false())


def _compared(value: Expression, op: str, wanted: Trait | None) -> Condition:
    # Python's comparison operators build SQL ones when given columns.
    compare: Callable[[Expression, Expression], Any] = COMPARE[op]
    if isinstance(wanted, bool):
        condition = compare(value, literal(wanted, Boolean))
    elif isinstance(wanted, str):
        # "C" orders texts by code point, as Python does, whatever the database's own order is.
        condition = compare(value.collate("C"), literal(wanted))
    else:
        condition = compare(cast(value, Double), literal(wanted, Double))
    return condition  # type: ignore[no-any-return]


def _orders(document: Document, params: Params) -> Expression:
    category, within = params.category, params.within_days
    if within is not None:
        return document.orders_within(within) if category is None else document.bought_within(category, within)
    return document.count("orders") if category is None else func.coalesce(document.bought(category, BOUGHT_N), 0)


def _amount(document: Document, params: Params) -> Expression:
    if params.category is None:
        return document.count("order_cents")
    return func.coalesce(document.bought(params.category, BOUGHT_CENTS), 0)


def _purchase_days(document: Document, params: Params) -> Expression:
    if params.category is None:
        return document.days_since("last_order_day")
    return document.since(document.bought(params.category, NEWEST))


def _interval(document: Document, params: Params) -> Expression:
    if params.category is None:
        return document.number("order_interval_days")
    return cast(func.nullif(bought(params.category, BOUGHT_INTERVAL), NONE), Double)


def _feedback(document: Document, params: Params) -> Expression:
    query = cast("$.marks[*] ? (@.target == $target).word", JSONPATH)
    target = cast({"target": f"category:{params.category}"}, JSONB)
    found: Any = func.jsonb_path_query_array(document.column, query, target, type_=JSONB)
    return found[0].astext  # type: ignore[no-any-return]


def _cart_cause(document: Document, params: Params) -> Expression:
    elsewhere, stock, price, delivery = (
        document.whole("clues", clue) for clue in ("elsewhere", "stock", "price", "delivery")
    )
    return case(
        (document.length("cart") == 0, None),
        (elsewhere.is_not(None), "bought elsewhere"),
        (stock.is_not(None), "stock"),
        (and_(price.is_not(None), func.coalesce(price > delivery, true())), "price"),
        (delivery.is_not(None), "delivery"),
        (document.whole("checkout_s").is_(None), "browsing"),
        else_=None,
    )


def _looks(document: Document, params: Params) -> Expression:
    return func.coalesce(document.seen(params.category, SEEN_N), 0)


def _days_since_looked(document: Document, params: Params) -> Expression:
    return document.since(document.seen(params.category, NEWEST))


def _route(document: Document, params: Params) -> Expression:
    category = params.category
    reviewed = document.whole("reviews", str(category), "day")
    is_bad = and_(
        func.coalesce(document.text("reviews", str(category), "sentiment") == "negative", false()),
        document.today - reviewed <= routes.REVIEW_DAYS,
        func.coalesce(document.bought(category, NEWEST) <= reviewed, true()),
    )
    is_looking = and_(
        _looks(document, params) >= routes.LOOKS,
        func.coalesce(_days_since_looked(document, params) <= routes.LOOK_DAYS, false()),
    )
    in_cart = document.has({"category": params.category}, "cart")
    return case(
        (or_(document.text("open_complaint_day").is_not(None), is_bad), "service"),
        (or_(in_cart, is_looking), "offer"),
        else_=None,
    )


def _stage(document: Document, params: Params) -> Expression:
    silent = document.days_since("last_order_day")
    usual = func.coalesce(_interval(document, Params()), literal(stages.NO_RHYTHM_DAYS, Double))

    def is_silent_for(gaps: int, least: int) -> Condition:
        return silent >= func.greatest(gaps * usual, literal(least, Double))

    return case(
        (silent.is_(None), "prospect"),
        (is_silent_for(stages.LAPSE_GAPS, stages.LAPSE_LEAST_DAYS), "lapsed"),
        (is_silent_for(stages.RISK_GAPS, stages.RISK_LEAST_DAYS), "at_risk"),
        (document.whole("order_days", 0) > document.whole("order_days", -1), "active"),
        else_="new",
    )


_Read = Callable[[Document, Params], Expression]


def _count(*path: str) -> _Read:
    return lambda document, params: document.count(*path)


def _since(*path: str) -> _Read:
    return lambda document, params: document.days_since(*path)


def _consent(purpose: str) -> _Read:
    return lambda document, params: document.yes("consent", purpose)


def _in_household(document: Document, value: Any) -> Expression:
    """A value of the household; NULL without one."""
    return case((document.text("household", "adults").is_(None), None), else_=value)


def _born(document: Document, which: str, **years: int) -> Expression:
    """How many children of the household have a birth year like this, a JSON path condition over these years."""
    query = cast(f"$.household.children[*] ? ({which})", JSONPATH)
    return func.jsonb_array_length(func.jsonb_path_query_array(document.column, query, cast(years, JSONB)))


def _children(document: Document) -> Expression:
    return _born(document, "@ == 0 || @ > $grown", grown=document.now.year - ADULT_AT)


def _grown_up(document: Document) -> Expression:
    return _born(document, "@ > 0 && @ <= $grown", grown=document.now.year - ADULT_AT)


def _aged(low: int, high: int) -> _Read:
    def read(document: Document, params: Params) -> Expression:
        year = document.now.year
        return _in_household(
            document, _born(document, "@ > 0 && @ >= $least && @ <= $most", least=year - high, most=year - low)
        )

    return read


def _people(document: Document, params: Params) -> Expression:
    counted = document.whole("household", "adults") + func.jsonb_array_length(document.at("household", "children"))
    return _in_household(document, func.coalesce(func.nullif(document.whole("household", "size"), 0), counted))


def _has_children(document: Document, params: Params) -> Expression:
    return case(
        (document.text("household", "adults").is_(None), None),
        (_children(document) > 0, True),
        (document.yes("household", "whole"), False),
        else_=None,
    )


def _youngest(document: Document, params: Params) -> Expression:
    born, year = document.whole("household", "children", -1), document.now.year
    return case((and_(born > 0, born > year - ADULT_AT), year - born), else_=None)


def _oldest(document: Document, params: Params) -> Expression:
    year = document.now.year
    grown = func.jsonb_path_query_first(  # The oldest of them: they ascend.
        document.column,
        cast("$.household.children[*] ? (@ > 0 && @ <= $grown)", JSONPATH),
        cast({"grown": year - ADULT_AT}, JSONB),
    )
    return year - func.least(func.nullif(document.whole("household", "oldest"), 0), cast(grown, BigInteger))


def _role(document: Document, params: Params) -> Expression:
    role, born = document.text("household", "role"), document.whole("household", "born")
    is_grown = and_(role == "child", born > 0, born <= document.now.year - ADULT_AT)
    return case((is_grown, "adult"), else_=role)


_HOUSEHOLD: Final[Mapping[str, _Read]] = {
    "people": _people,
    "adults": lambda document, params: document.whole("household", "adults") + _grown_up(document),
    "children": lambda document, params: _in_household(document, _children(document)),
    **{f"children_{low}_{high}": _aged(low, high) for low, high in BANDS},
    "has_children": _has_children,
    "youngest": _youngest,
    "oldest": _oldest,
    "grown_children": lambda document, params: document.whole("household", "grown"),
    "role": _role,
    "confidence": lambda document, params: document.number("household", "sure") / literal(100, Double),
}

_FEATURES: Final[Mapping[str, _Read]] = {
    "purchases.count": _orders,
    "purchases.amount": _amount,
    "purchases.days_since": _purchase_days,
    "purchases.interval_days": _interval,
    "purchases.due_ratio": lambda document, params: (
        cast(_purchase_days(document, params), Double) / _interval(document, params)
    ),
    "orders.count": _orders,
    "orders.amount": _amount,
    "orders.days_since": _purchase_days,
    "orders.by_mail": _count("mail_orders"),
    "lifecycle.stage": _stage,
    "person.known_days": _since("since_day"),
    "views.count": _looks,
    "views.days_since": _days_since_looked,
    "cart.count": lambda document, params: document.length("cart"),
    "cart.hours_since": lambda document, params: document.hours_since("cart_s"),
    "cart.contains": lambda document, params: document.has({"category": params.category}, "cart"),
    "cart.cause": _cart_cause,
    "checkout.hours_since": lambda document, params: document.hours_since("checkout_s"),
    "mail.clicks": _count("clicks"),
    "mail.days_since_click": _since("last_click_day"),
    "mail.opens": _count("opens"),
    "mail.days_since_open": _since("last_open_day"),
    "registrations.days_since": lambda document, params: document.days_since("registered", str(params.category)),
    "complaint.open": lambda document, params: document.text("open_complaint_day").is_not(None),
    "complaint.days_open": _since("open_complaint_day"),
    "review.sentiment": lambda document, params: document.text("reviews", str(params.category), "sentiment"),
    "survey.score": lambda document, params: document.number("surveys", params.name or "", "score"),
    "survey.days_since": lambda document, params: document.days_since("surveys", params.name or "", "day"),
    "notes.count": _count("notes"),
    "notes.days_since": _since("last_note_day"),
    "feedback.category": _feedback,
    "route": _route,
    "consent.email": _consent("email"),
    "consent.tracking": _consent("tracking"),
    "consent.profiling": _consent("profiling"),
    "consent.advertising": _consent("advertising"),
    "consent.sms": _consent("sms"),
    "consent.push": _consent("push"),
    "intent": lambda document, params: document.number("intents", params.name or ""),
    "intent.top": lambda document, params: document.text("intent_top"),
    "score": lambda document, params: document.number("scores", params.name or "", "value"),
    "score.days_since": lambda document, params: document.days_since("scores", params.name or "", "as_of_day"),
    "flag": lambda document, params: document.at("scores", f"{FLAG}{params.name}").is_not(None),
    **{f"household.{name}": read for name, read in _HOUSEHOLD.items()},
}
_TRAITS: Final[Mapping[str, Callable[[Params], str]]] = {
    "trait": lambda params: params.name or "",
    "household.size": lambda params: "household_size",
    "household.kids": lambda params: "household_kids",
    "household.age": lambda params: "household_age",
}
"""Which trait a feature reads whose values may be of any sort."""
