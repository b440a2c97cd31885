"""The rule language: what is refused and where, and what rules mean in Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from base.errors import InvalidInput
from signals.fold import fold_all
from signals.productfacts import ProductFacts
from signals.readings import RuleFacts
from signals.rules import MAX_DEPTH, MAX_NODES, compile_python, parse
from signals.state import ProfileState
from tests.signals.stories import CATEGORIES, MORNING, event, identify, item, order

DAY = timedelta(days=1)
NOW = MORNING + 40 * DAY
COUNT: dict[str, Any] = {"field": "purchases.count", "category": "shoes", "op": ">=", "value": 1}
TRAIT: dict[str, Any] = {"field": "trait", "name": "city"}
STAGE = {"field": "lifecycle.stage"}
EVENT: dict[str, Any] = {"event": "Order Completed"}


def nested(depth: int) -> dict[str, Any]:
    """A rule that nests so deep."""
    return {"always": True} if depth == 1 else {"not": nested(depth - 1)}


@pytest.mark.parametrize(
    ("rule", "field", "words"),
    [
        (7, "", "must be an object"),
        ({}, "", "must have one of"),
        ({"all": []}, "all", "at least one"),
        ({"any": "x"}, "any", "at least one"),
        ({"all": [{"always": True}, {"no": 1}]}, "all[1]", "must have one of"),
        ({"always": 1}, "always", "true or false"),
        ({"always": True, "also": 1}, "also", "not known here"),
        ({"segment": "x"}, "segment", "whole number"),
        ({"not": {"any": [COUNT | {"field": "purchases.cuont"}]}}, "not.any[0].field", "no feature 'purchases.cuont'"),
        ({"field": ["x"], "op": "=", "value": 1}, "field", "no feature"),
        (COUNT | {"category": "sheos"}, "category", "no category 'sheos'"),
        (COUNT | {"category": True}, "category", "no category"),
        (COUNT | {"within_days": -1}, "within_days", "whole number"),
        (COUNT | {"within_dasy": 3}, "within_dasy", "not known here"),
        (COUNT | {"op": "=="}, "op", "must be one of"),
        (COUNT | {"op": ["="]}, "op", "must be one of"),
        (COUNT | {"value": "1"}, "value", "compares with a number"),
        (COUNT | {"value": True}, "value", "compares with a number"),
        (COUNT | {"value": float("nan")}, "value", "between"),
        (COUNT | {"value": 2**60}, "value", "between"),
        (COUNT | {"op": "in", "value": 1}, "value", "list of 1 to 100"),
        (COUNT | {"op": "in", "value": [1, "a"]}, "value[1]", "compares with a number"),
        (COUNT | {"op": "missing"}, "value", "takes no value"),
        ({"field": "views.count", "op": ">", "value": 1}, "category", "needs it"),
        ({"field": "orders.amount", "category": "shoes", "op": ">", "value": 1}, "category", "not known here"),
        ({"field": "complaint.open", "op": "<", "value": True}, "op", "have no order"),
        (TRAIT | {"op": "=", "value": None}, "value", "number, text, true or false"),
        (TRAIT | {"op": "=", "value": "a\0b"}, "value", "NUL"),
        (TRAIT | {"op": "=", "value": "\ud800"}, "value", "surrogates"),
        (TRAIT | {"op": "=", "value": "x" * 129}, "value", "at most 128"),
        ({"field": "now.hour", "op": ">", "value": 8}, "field", "only when a mail is opened"),
        (EVENT | {"from": {"months": 1}}, "from.months", "not known here"),
        (EVENT | {"from": {"months_ago": 1, "days_ago": 2}}, "from", "an object with one of"),
        (EVENT | {"from": {"date": "2024-02-30"}}, "from.date", "must be a date"),
        (EVENT | {"from": {"months_ago": 11}, "to": {"months_ago": 13}}, "to", "come after from"),
        (EVENT | {"zone": "Mars/Base"}, "zone", "no time zone"),
        (EVENT | {"zone": "../../etc/passwd"}, "zone", "no time zone"),
        (EVENT | {"min_count": 3, "max_count": 2}, "max_count", "not be less"),
        ({"event": " "}, "event", "must name an event"),
        (STAGE | {"op": "=", "value": "gone"}, "value", "is one of prospect, new, active, at_risk, lapsed"),
        (STAGE | {"op": "in", "value": ["new", "at risk"]}, "value[1]", "is one of prospect"),
        (nested(MAX_DEPTH + 1), ".".join(["not"] * MAX_DEPTH), "nest at most"),
        ({"all": [{"always": True}] * MAX_NODES}, f"all[{MAX_NODES - 1}]", "at most 200"),
    ],
)
def test_it_refuses_and_names_the_place(rule: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(rule, CATEGORIES)
    assert refused.value.field == field
    assert words in refused.value.message


def test_it_keeps_history_windows_for_audiences() -> None:
    with pytest.raises(InvalidInput, match="audiences only"):
        parse({"any": [EVENT]}, CATEGORIES, where="eligibility")
    with pytest.raises(InvalidInput, match="an open cannot"):
        compile_python(parse(EVENT, CATEGORIES))


def test_it_names_all_categories_of_a_rule() -> None:
    rule = {"any": [COUNT, {"not": COUNT | {"category": "socks"}}, EVENT | {"category": "attire"}, COUNT]}
    assert parse(rule, CATEGORIES).categories == {1, 2, 3}
    assert parse(COUNT | {"category": 9}, CATEGORIES).categories == {9}


def holds(rule: dict[str, Any], state: ProfileState, now: datetime = NOW, **known: Any) -> bool:
    """Whether the rule holds at an open."""
    return compile_python(parse(rule, CATEGORIES, where="eligibility"))(RuleFacts(state, now, **known))


ANN = fold_all(
    [
        order("o1", item("shoes"), at=MORNING),
        order("o2", item("shoes"), item("socks"), at=MORNING + 10 * DAY),
        order("o3", item("shoes"), at=MORNING + 30 * DAY),
        identify({"city": "Rome", "age": 40, "vip": True, "timezone": "Asia/Tokyo"}),
        event("Offer Feedback", {"feedback": "already own", "product_id": "p9"}, id="f"),
        event("Consent Changed", {"purpose": "email", "granted": False}, id="c"),
    ],
    segments=(4,),
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (COUNT, True),
        (COUNT | {"op": "=", "value": 3}, True),
        (COUNT | {"within_days": 10, "op": "=", "value": 1}, True),
        (COUNT | {"within_days": 9}, False),
        (COUNT | {"op": "in", "value": [2, 3.0]}, True),
        ({"field": "purchases.due_ratio", "category": "shoes", "op": "<", "value": 0.7}, True),
        ({"field": "purchases.interval_days", "category": "shoes", "op": "=", "value": 15}, True),
        ({"field": "purchases.interval_days", "category": "socks", "op": "missing"}, True),
        ({"field": "purchases.count", "op": "=", "value": 3}, True),
        ({"field": "purchases.days_since", "category": "attire", "op": "!=", "value": 5}, False),
        ({"not": {"field": "purchases.days_since", "category": "attire", "op": "!=", "value": 5}}, True),
        (TRAIT | {"op": "=", "value": "Rome"}, True),
        (TRAIT | {"op": "!=", "value": 5}, False),
        (TRAIT | {"name": "City", "op": "present"}, True),
        (TRAIT | {"name": "vip", "op": "=", "value": 1}, False),
        (TRAIT | {"name": "vip", "op": "in", "value": [1, True]}, True),
        ({"field": "consent.email", "op": "=", "value": False}, True),
        ({"field": "consent.tracking", "op": "=", "value": False}, False),
        ({"segment": 4}, True),
        ({"not": {"segment": 5}}, True),
        ({"all": [COUNT, {"always": False}]}, False),
        ({"any": [COUNT, {"always": False}]}, True),
        ({"field": "now.hour", "op": "=", "value": 18}, True),
        ({"field": "now.weekday", "op": "=", "value": 6}, True),
        ({"field": "now.date", "op": ">=", "value": "2026-02-14"}, True),
        ({"field": "open.lane", "op": "=", "value": "live"}, True),
        ({"field": "open.undecided", "op": "=", "value": False}, False),
        ({"field": "product.stock", "op": ">", "value": 0}, True),
        ({"field": "product.in_stock", "op": "=", "value": True}, True),
        ({"field": "product.feed_hours", "op": "=", "value": 3}, True),
        ({"field": "product.feedback", "op": "=", "value": "already_own"}, True),
        ({"field": "product.days_since", "op": "missing"}, True),
    ],
)
def test_it_means_what_it_says(rule: dict[str, Any], expected: bool) -> None:
    feed_ms = int((NOW - timedelta(hours=3)).timestamp() * 1000)
    product = ProductFacts("p9", 500, "EUR", 2, feed_ms, "A shoe", 1, "")
    assert holds(rule, ANN, product=product, open={"lane": "live"}) is expected


def test_it_holds_nothing_of_a_product_that_is_not_known() -> None:
    for name in ("product.price_cents", "product.stock", "product.in_stock", "product.feed_hours"):
        assert holds({"field": name, "op": "missing"}, ANN)


@pytest.mark.parametrize("zone", ["GMT-8", "", "America", 5, "../etc"])
def test_it_takes_utc_for_a_zone_nobody_knows(zone: Any) -> None:
    state = fold_all([identify({"timezone": zone})])
    assert holds({"field": "now.hour", "op": "=", "value": 9}, state, datetime(2026, 5, 1, 9, 30, tzinfo=UTC))
