"""History windows: which days they mean, and whom they find among stored events."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from base.errors import InvalidInput
from signals import contents, rules_sql
from signals.history import Bound, history
from signals.profiles import ProfileStateRow
from signals.rules import parse
from tests.signals.sending import Desk, call, cancelled, identified, order, refunded, viewed

JUNE = {"event": "Order Completed", "category": "shoes", "from": {"month_start": 12}, "to": {"month_start": 11}}
BERLIN = JUNE | {"zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("bound", "today", "day"),
    [
        (Bound("months_ago", 12), "2024-02-29", "2023-02-28"),
        (Bound("months_ago", 12), "2025-02-28", "2024-02-28"),
        (Bound("months_ago", 1), "2024-03-31", "2024-02-29"),
        (Bound("months_ago", 1), "2023-03-31", "2023-02-28"),
        (Bound("months_ago", 2), "2024-01-15", "2023-11-15"),
        (Bound("month_start", 0), "2024-02-29", "2024-02-01"),
        (Bound("month_start", 2), "2024-01-31", "2023-11-01"),
        (Bound("days_ago", 366), "2025-01-01", "2024-01-01"),
        (Bound("date", day=date(2024, 2, 29)), "2026-01-01", "2024-02-29"),
    ],
)
def test_it_counts_back_by_the_calendar(bound: Bound, today: str, day: str) -> None:
    assert bound.on(date.fromisoformat(today)).isoformat() == day


@pytest.mark.parametrize("end", ["from", "to"])
@pytest.mark.parametrize("day", ["0001-01-01", "1899-12-31", "2200-01-01", "9999-12-31"])
def test_it_refuses_days_at_the_edge_of_the_calendar(end: str, day: str) -> None:
    with pytest.raises(InvalidInput, match=f"{end}.date: must be in the years 1900 to 2199"):
        history({"event": "Order Completed", end: {"date": day}, "zone": "Asia/Tokyo"}, None, "")


@given(st.dates(date(2001, 1, 1), date(2100, 1, 1)), st.integers(0, 240))
def test_it_lands_in_the_month_so_many_months_back(today: date, back: int) -> None:
    day = Bound("months_ago", back).on(today)
    assert (today.year * 12 + today.month) - (day.year * 12 + day.month) == back
    assert day.day == today.day or (day.day < today.day and (day.month != Bound("days_ago", -1).on(day).month))
    assert Bound("month_start", back).on(today) == day.replace(day=1)


@pytest.mark.parametrize(
    ("zone", "begin", "end"),
    [
        ("UTC", "2024-03-31T00:00", "2024-04-01T00:00"),
        ("Europe/Berlin", "2024-03-30T23:00", "2024-03-31T22:00"),
        ("Asia/Kathmandu", "2024-03-30T18:15", "2024-03-31T18:15"),
        ("Pacific/Kiritimati", "2024-03-30T10:00", "2024-03-31T10:00"),
    ],
)
def test_it_begins_days_at_midnight_of_the_zone(zone: str, begin: str, end: str) -> None:
    raw = {"event": "x", "from": {"date": "2024-03-31"}, "to": {"date": "2024-04-01"}, "zone": zone}
    window = history(raw, None, "").window(datetime(2024, 6, 1, tzinfo=UTC))
    assert [moment and f"{moment:%Y-%m-%dT%H:%M}" for moment in window] == [begin, end]


def audience(desk: Desk, rule: dict[str, Any], now: str) -> set[str]:
    """The user ids of those a rule finds at a moment."""
    categories = {name: desk.category(name) for name in ("shoes", rule.get("category", "shoes"))}
    condition = rules_sql.where(parse(rule, categories), datetime.fromisoformat(now))
    with desk.sessions.begin() as session:
        found = list(session.scalars(select(ProfileStateRow.profile_id).where(condition)))
    rows = desk.rows(
        "SELECT i.value FROM identifier i JOIN profile p ON p.id = i.profile_id"
        " WHERE i.type = 'user_id' AND i.owns AND p.root_id = ANY(:found)",
        found=found,
    )
    return {row[0] for row in rows}


def test_it_finds_buyers_of_a_month_on_the_right_days_across_a_leap_year(desk: Desk) -> None:
    shoes, attire = ("p1", "shoes", 80.0), ("p2", "attire", 30.0)
    desk.send(
        order("first", "o1", shoes, time="2023-05-31T22:00:00Z"),
        order("last", "o2", shoes, time="2023-06-30T21:59:59.999Z"),
        order("both", "o3", shoes, attire, time="2023-06-15T12:00:00Z"),
        order("early", "o4", shoes, time="2023-05-31T21:59:59.999Z"),
        order("late", "o5", shoes, time="2023-06-30T22:00:00Z"),
        order("other", "o6", attire, time="2023-06-15T12:00:00Z"),
        order("year before", "o7", shoes, time="2022-06-15T12:00:00Z"),
    )
    june = {"first", "last", "both"}
    assert audience(desk, BERLIN, "2024-05-31T21:59:59+00:00") == {"early"}
    assert audience(desk, BERLIN, "2024-05-31T22:00:00+00:00") == june
    assert audience(desk, BERLIN, "2024-06-30T21:59:59+00:00") == june
    assert audience(desk, BERLIN, "2024-06-30T22:00:00+00:00") == {"late"}
    assert audience(desk, {"not": BERLIN}, "2024-06-15T00:00:00+00:00") == {"early", "late", "other", "year before"}
    anniversary = {"event": "order completed", "from": {"months_ago": 12}, "to": {"days_ago": 365}}
    assert audience(desk, anniversary, "2024-06-15T09:00:00+00:00") == {"both", "other"}


def test_it_does_not_count_what_was_taken_back(desk: Desk) -> None:
    shoes, attire = ("p1", "shoes", 80.0), ("p2", "attire", 30.0)
    when = "2023-06-15T12:00:00Z"
    desk.send(
        *(order(user, f"{user}-1", shoes, attire, time=when) for user in ("kept", "cancelled", "returned", "in part")),
        cancelled("cancelled", "cancelled-1", time="2023-06-16T12:00:00Z"),
        call(
            "track",
            event="Order Refunded",
            userId="returned",
            properties={"order_id": "returned-1"},
            timestamp="2023-07-16T12:00:00Z",
        ),
        call(
            "track",
            event="Order Refunded",
            userId="in part",
            properties={"order_id": "in part-1", "products": [{"product_id": "p2", "category": "attire"}]},
            timestamp="2023-06-16T12:00:00Z",
        ),
        order("in part", "in part-2", ("p9", "hats", 80.0), time=when),
        refunded("in part", "in part-2", "p9", time="2023-06-16T12:00:00Z"),
    )
    now = "2024-06-20T00:00:00+00:00"
    assert audience(desk, JUNE, now) == {"kept", "in part"}
    assert audience(desk, JUNE | {"category": "attire"}, now) == {"kept"}
    anything = {name: value for name, value in JUNE.items() if name != "category"}
    assert audience(desk, anything, now) == {"kept", "in part"}


def said(event: str, user: str, number: int, **properties: Any) -> dict[str, Any]:
    """What was said of a user's order, `number` days after it."""
    told = {"order_id": f"{user}-1"} | properties
    return call("track", event=event, userId=user, properties=told, timestamp=f"2023-06-{15 + number}T12:00:00Z")


RETURNED = {"products": [{"product_id": "p1", "quantity": 1}]}
ALL = {"products": [{"product_id": "p1", "quantity": 1}, {"product_id": "p2", "quantity": 1}]}


@pytest.mark.parametrize(
    ("calls", "stays"),
    [
        ([("Order Refunded", {"total": 5})], True),
        ([("Order Refunded", {"total": "-5.00"})], True),
        ([("Order Refunded", {"total": 110})], False),
        ([("Order Refunded", {"revenue": 110.0})], False),
        ([("Order Refunded", {"total": 60}), ("Order Refunded", {"total": 49.99})], True),
        ([("Order Refunded", {"total": 60}), ("Order Refunded", {"total": 50})], False),
        ([("Order Refunded", RETURNED | {"total": 80})], True),
        ([("Order Refunded", ALL | {"total": 110})], False),
        ([("Order Refunded", ALL)], False),
        ([("Order Refunded", RETURNED), ("Order Refunded", {"products": [{"product_id": "p2"}]})], False),
        ([("Order Refunded", RETURNED), ("Order Refunded", {"total": 30})], False),
        ([("Order Refunded", {"total": 30}), ("Order Refunded", RETURNED)], False),
        ([("Order Refunded", {"total": 29.99}), ("Order Refunded", RETURNED)], True),
        ([("Order Refunded", RETURNED | {"total": 110})], False),
        ([("Order Refunded", {})], False),
        ([("Order Cancelled", {}), ("Order Updated", ALL)], False),
        ([("Order Cancelled", {}), ("Order Updated", ALL | {"order_status": "placed"})], True),
        ([("Order Updated", ALL | {"order_status": "placed"}), ("Order Canceled", {})], False),
    ],
)
def test_an_order_is_undone_when_all_of_it_came_back_in_windows_as_in_states(
    desk: Desk, calls: list[tuple[str, dict[str, Any]]], stays: bool
) -> None:
    bought = order("ann", "ann-1", ("p1", "shoes", 80.0), ("p2", "attire", 30.0), time="2023-06-15T12:00:00Z")
    desk.send(bought, *(said(event, "ann", 1 + day, **told) for day, (event, told) in enumerate(calls)))
    anything = {name: value for name, value in JUNE.items() if name != "category"}
    assert audience(desk, anything, "2024-06-20T00:00:00+00:00") == ({"ann"} if stays else set())
    assert desk.read(desk.root("user_id", "ann")).orders == (1 if stays else 0)


@pytest.mark.parametrize("turn", [1, -1])
def test_an_order_that_is_placed_and_cancelled_at_one_moment_is_cancelled_in_windows_as_in_states(
    desk: Desk, turn: int
) -> None:
    desk.send(order("ann", "ann-1", ("p1", "shoes", 80.0), time="2023-06-15T12:00:00Z"))
    for one in [said("Order Updated", "ann", 1, order_status="placed"), said("Order Cancelled", "ann", 1)][::turn]:
        desk.send(one)
    assert desk.state(desk.root("user_id", "ann")).orders == 0
    assert audience(desk, JUNE, "2024-06-20T00:00:00+00:00") == set()


@pytest.mark.parametrize("turn", [1, -1])
def test_a_refund_that_two_channels_tell_of_counts_once_in_windows_as_in_states(desk: Desk, turn: int) -> None:
    till = desk.source("till", "server")
    desk.send(order("ann", "ann-1", ("p1", "shoes", 80.0), ("p2", "attire", 30.0), time="2023-06-15T12:00:00Z"))
    webhook = said("Order Refunded", "ann", 2, refund_id="91", total=60)
    for via, one in [
        (desk.server, webhook),
        (till, said("Order Refunded", "ann", 1, refund_id="ann-91", total=60.0)),
        (desk.server, webhook | {"messageId": "again"}),
    ][::turn]:
        assert desk.statuses(one, via=via) == ["accepted"]
    anything = {name: value for name, value in JUNE.items() if name != "category"}
    now = "2024-06-20T00:00:00+00:00"
    state = desk.state(desk.root("user_id", "ann"))
    assert (state.orders, state.order_cents) == (1, 5000)
    assert audience(desk, anything, now) == {"ann"}
    assert [folds for (folds,) in desk.rows("SELECT folds FROM event ORDER BY event_time, id")][:2] == [True, True]
    assert desk.rows("SELECT count(*) FROM event WHERE NOT folds") == [(2,)]
    desk.send(said("Order Refunded", "ann", 3, refund_id="92", total=50))
    assert (desk.state(desk.root("user_id", "ann")).orders, audience(desk, anything, now)) == (0, set())
    desk.send(order("bob", "bob-1", ("p1", "shoes", 80.0), time="2023-06-15T12:00:00Z"))
    desk.send(said("Order Refunded", "bob", 1, total=30), said("Order Refunded", "bob", 2, total=30))
    assert desk.state(desk.root("user_id", "bob")).order_cents == 2000
    assert desk.rebuilt().different == 0


@pytest.mark.parametrize("turn", [1, -1])
def test_an_order_keeps_its_contents_in_windows_as_in_states_where_its_update_is_dated_before_it(
    desk: Desk, turn: int
) -> None:
    placed = said("Order Updated", "ann", -1, order_status="placed")
    bought = order("ann", "ann-1", ("p1", "shoes", 80.0), ("p2", "attire", 30.0), time="2023-06-15T12:00:00Z")
    for one in [placed, bought][::turn]:
        desk.send(one)
    state = desk.state(desk.root("user_id", "ann"))
    assert (state.orders, state.order_cents) == (1, 11000)
    assert {desk.category("shoes"), desk.category("attire")} == set(state.categories)
    assert audience(desk, JUNE, "2024-06-20T00:00:00+00:00") == {"ann"}


@pytest.mark.parametrize("price", [80.0, 0.0])
@pytest.mark.parametrize("told", [{"total": 0}, RETURNED | {"total": 0}])
def test_a_refund_of_no_money_undoes_no_order_in_windows_as_in_states(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, price: float, told: dict[str, Any]
) -> None:
    # Some are stored from before intake refused them.
    monkeypatch.setattr(contents, "_check_refund", lambda properties: None)
    desk.send(order("ann", "ann-1", ("p1", "shoes", price), ("p2", "attire", price), time="2023-06-15T12:00:00Z"))
    assert [one.status for one in desk.send(said("Order Refunded", "ann", 1, **told))] == ["accepted"]
    anything = {name: value for name, value in JUNE.items() if name != "category"}
    assert audience(desk, anything, "2024-06-20T00:00:00+00:00") == {"ann"}
    state = desk.state(desk.root("user_id", "ann"))
    assert (state.orders, state.order_cents) == (1, int(200 * price))


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("Order Completed", ["Completed Order", "order completed"]),
        ("Order Cancelled", ["Order Canceled"]),
        ("Product Viewed", ["Viewed Product", "VIEWED PRODUCT"]),
        ("Product Added", ["Added Product"]),
        ("Product Removed", ["Removed Product"]),
    ],
)
def test_a_window_finds_an_event_by_whichever_of_its_names_it_came_and_is_asked(
    desk: Desk, name: str, others: list[str]
) -> None:
    names = [name, *others]
    for number, event in enumerate(names):
        told = {"order_id": f"o{number}", "product_id": "p1", "category": "shoes"}
        desk.send(call("track", event=event, userId=event, properties=told, timestamp="2024-03-01T10:00:00Z"))
    click = {"product_id": "p1", "category": "shoes"}
    desk.send(
        call("track", event="Product Clicked", userId="clicked", properties=click, timestamp="2024-03-01T10:00:00Z")
    )
    for asked in names:
        assert audience(desk, {"event": asked}, "2024-03-02T00:00:00+00:00") == set(names), asked


def test_a_window_finds_pages_and_screens_by_their_names(desk: Desk) -> None:
    time = "2024-03-01T10:00:00Z"
    desk.intake.categories.learn(["shoes"], create=True)
    desk.send(
        *(call(kind, userId=kind, name=" Pricing", timestamp=time) for kind in ("page", "screen", "group")),
        call("track", event="pricing", userId="track", timestamp=time),
        call("page", userId="page", name="PRICING", timestamp=time),
        call("page", userId="unnamed", timestamp=time, properties={"path": "/pricing", "title": "Pricing"}),
        call("page", userId="elsewhere", name="Über uns", timestamp=time),
        identified("details", time=time, name="Pricing"),
    )
    now = "2024-03-02T00:00:00+00:00"
    assert audience(desk, {"event": "Pricing"}, now) == {"page", "screen", "track"}
    assert audience(desk, {"event": "Pricing", "min_count": 2}, now) == {"page"}
    assert audience(desk, {"event": "Über uns"}, now) == {"elsewhere"}
    assert audience(desk, {"event": "Pricing", "max_count": 0}, now) == {"group", "unnamed", "elsewhere", "details"}


@pytest.mark.parametrize(
    "name", ["Order Completed", "Order Updated", "Completed Order", "Product Viewed", "Cart Viewed"]
)
def test_a_page_that_is_called_as_what_states_count_is_none_of_it(desk: Desk, name: str) -> None:
    done = {"order_id": "o1", "product_id": "p1", "category": "shoes", "products": [{"product_id": "p1"}]}
    desk.send(
        *(call(kind, userId=kind, name=name, properties=done) for kind in ("page", "screen")),
        call("track", userId="track", event=name, properties=done),
    )
    assert audience(desk, {"event": name}, "2026-03-02T00:00:00+00:00") == {"track"}


def test_it_counts_events_for_the_person_they_came_to_belong_to(desk: Desk) -> None:
    for day in (1, 2, 3):
        desk.send(viewed("shoes", anonymousId="visitor", timestamp=f"2024-03-0{day}T10:00:00Z"))
    desk.send(
        viewed("shoes", userId="ann", timestamp="2024-03-04T10:00:00Z"),
        viewed("shoes", userId="bob", timestamp="2024-03-04T10:00:00Z"),
        identified("ann", "visitor", time="2024-03-05T10:00:00Z"),
        identified("cleo", time="2024-03-05T10:00:00Z"),
    )
    views = {"event": "Product Viewed", "category": "shoes", "from": {"days_ago": 10}}
    now = "2024-03-06T00:00:00+00:00"
    assert audience(desk, views, now) == {"ann", "bob"}
    assert audience(desk, views | {"min_count": 4}, now) == {"ann"}
    assert audience(desk, views | {"max_count": 1}, now) == {"bob"}
    assert audience(desk, views | {"max_count": 0}, now) == {"cleo"}
    assert audience(desk, views | {"min_count": 0, "max_count": 3}, now) == {"bob", "cleo"}
    assert audience(desk, views | {"min_count": 0}, now) == {"ann", "bob", "cleo"}
    assert audience(desk, views | {"to": {"date": "2024-03-04"}}, now) == {"ann"}
    assert audience(desk, views, "2024-03-03T00:00:00+00:00") == {"ann"}
