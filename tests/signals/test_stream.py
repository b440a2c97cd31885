"""The stream of signals: what became of each, what it changed, and how its source does."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest

from signals import sourcehealth, stream, tracing
from signals.events import Event
from signals.importing import import_events
from signals.intake import take
from signals.stream import Wanted
from tests.signals.sending import NOW, Desk, call, identified, order, refunded, viewed


def filled(desk: Desk) -> None:
    """Signals of every fate, from two sources."""
    first = order("u1", "o1", ("p1", "Shoes", 80.0), time="2026-03-01T09:00:00Z")
    desk.send(identified("u1", email="ann@example.com"), first)
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0), time="2026-03-01T11:00:00Z"))
    desk.send(first | {"properties": {"order_id": "o1", "total": 7}})
    desk.send(first)
    desk.send(call("track", userId="u2"), identified("ghost", email="Ann@example.com", phone=5), via=desk.server)
    desk.send(order("u3", "o9", ("p1", "Shoes", 1.0)) | {"anonymousId": "a"}, viewed("Hats", anonymousId="a"),
              via=desk.browser)  # fmt: skip


def test_it_lists_the_newest_signals_with_what_became_of_each(desk: Desk) -> None:
    filled(desk)
    with desk.sessions.begin() as session:
        found = stream.newest(session, Wanted()).entries
        statuses = sorted(entry.status for entry in found)
        assert statuses == ["contradicting", "refused", "refused", "refused", "repeat", "taken", "taken", "taken"]
        ann = desk.root("user_id", "u1")
        for wanted, fits in (
            (Wanted(source=desk.browser.id), {("Order Completed", "refused"), ("Product Viewed", "taken")}),
            (Wanted(name="Order Completed", status="taken"), {("Order Completed", "taken")}),
            (Wanted(status="repeat"), {("Order Completed", "repeat")}),
            (Wanted(status="contradicting", name="Order Completed"), {("Order Completed", "contradicting")}),
            (Wanted(name="nothing"), set()),
            # A refused signal belongs to nobody, but it may name somebody.
            (Wanted(members=(ann,), status="refused"), {("identify", "refused")}),
            (Wanted(members=(ann,), status="taken"), {("identify", "taken"), ("Order Completed", "taken")}),
        ):
            assert {(entry.name, entry.status) for entry in stream.newest(session, wanted).entries} == fits, wanted
        assert len(stream.newest(session, Wanted(), limit=3).entries) == 3
        seen = stream.mark(session)
    desk.send(viewed("Hats", anonymousId="a"))
    with desk.sessions.begin() as session:
        assert stream.mark(session) != seen


def traced(desk: Desk, number: int) -> tracing.Trace:
    with desk.sessions.begin() as session:
        event = session.get(Event, number)
        assert event is not None
        return tracing.trace(session, desk.intake.categories, event)


def test_it_tells_what_a_signal_changed_when_it_came(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0), ("p2", "Socks", 5.25), time="2026-03-01T09:00:00Z"))
    desk.send(refunded("u1", "o1", "p2"))
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0), time="2026-03-01T11:00:00Z"))
    bought, returned, again = (number for (number,) in desk.rows("SELECT id FROM event ORDER BY id"))
    found = traced(desk, bought)
    changes = {change.path: (change.before, change.after) for change in found.changes or ()}
    assert changes["orders"] == (0, 1)
    assert changes["categories.socks.cents"] == (None, 525)
    assert changes["last_order_s"] == (None, "2026-03-01T09:00:00+00:00")
    assert found.form["kind"] == "order"
    assert found.form["lines"][0] == {
        "product": "p1", "category": "shoes", "quantity": 1, "cents": 8000, "gift": False, "coupon": False,
    }  # fmt: skip
    back = {change.path: (change.before, change.after) for change in traced(desk, returned).changes or ()}
    assert back["categories.socks.cents"] == (525, None)
    assert traced(desk, again).changes == [], "an order that was told before changes nothing"
    before = desk.everything()
    traced(desk, bought)
    assert desk.everything() == before


def test_it_tells_the_form_alone_of_somebody_with_too_long_a_life(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0)), viewed("Hats", userId="u1"))
    monkeypatch.setattr(tracing, "MOST_EVENTS", 1)
    found = traced(desk, desk.rows("SELECT min(id) FROM event")[0][0])
    assert (found.changes, found.form["order_id"]) == (None, "o1")


def test_it_says_how_each_source_does(desk: Desk) -> None:
    def sent(minutes: float, lag: float, skew: float = 0.0) -> None:
        at = NOW - timedelta(minutes=minutes)
        given = at - timedelta(seconds=lag) - timedelta(seconds=skew)
        body = viewed("Hats", userId="u1", timestamp=given.isoformat())
        take(desk.intake, desk.server, [msgspec.json.encode(body)], at, skew=timedelta(seconds=skew))

    for minutes, lag in ((2, 10), (30, 20), (60 * 5, 30), (60 * 30, 9999)):
        sent(minutes, lag)
    desk.send(call("track", userId="u1"), now=NOW - timedelta(hours=2))
    with desk.sessions.begin() as session:
        found = sourcehealth.health(session, NOW)
    server, browser = found[desk.server.id], found[desk.browser.id]
    assert server.told == {"5 min": 1, "1 h": 2, "24 h": 3}
    assert (server.last_at, server.refused, server.refused_share) == (NOW - timedelta(minutes=2), 1, 0.25)
    assert (server.lag, server.skew) == (timedelta(seconds=20), timedelta(0))
    assert (browser.last_at, browser.refused_share, browser.lag, browser.skew) == (None, None, None, None)

    for _ in range(5):
        sent(1, 5, skew=-3600)
    with desk.sessions.begin() as session:
        server = sourcehealth.health(session, NOW)[desk.server.id]
    assert (server.lag, server.skew) == (timedelta(seconds=5), timedelta(seconds=-3600))


def test_it_counts_no_items_of_product_feeds_among_signals(desk: Desk) -> None:
    good, wrong = {"id": "p1", "title": "A", "price": "15.00 EUR"}, {"id": "p2", "title": "B", "price": "15,00 EUR"}
    assert desk.feed(good, wrong).refused == 1
    with desk.sessions.begin() as session:
        found = sourcehealth.health(session, NOW)
    fed = found[desk.server.id]
    assert (fed.last_at, fed.fed_at, fed.refused, fed.refused_share) == (None, NOW, 0, None)
    assert found[desk.browser.id].fed_at is None


def test_it_makes_up_no_rate_for_a_window_that_holds_more_than_is_counted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minutes in range(12):
        desk.send(viewed("Hats", userId="u1"), now=NOW - timedelta(minutes=11 - minutes))
    monkeypatch.setattr(sourcehealth, "COUNTED", 10)
    with desk.sessions.begin() as session:
        found = sourcehealth.health(session, NOW)[desk.server.id]
    assert found.at_least == {"1 h", "24 h"}
    assert found.told == {"5 min": 5, "1 h": 10, "24 h": 10}


def test_it_tells_an_import_of_old_signals_as_what_came_and_no_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sourcehealth, "COUNTED", 10)
    lines = [
        json.dumps(viewed("Hats", userId="u1", timestamp=f"2025-01-{day:02}T09:00:00Z")).encode()
        for day in range(1, 20)
    ]
    import_events(desk.intake, desk.server, lines, NOW)
    with desk.sessions.begin() as session:
        found = sourcehealth.health(session, NOW + timedelta(seconds=2))[desk.server.id]
    assert found.told == {"5 min": 10, "1 h": 10, "24 h": 10}
    assert found.at_least == {"5 min", "1 h", "24 h"}
