"""The tracking plan: what breaks it changes nothing, is listed, and is taken once the plan was mended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from base.errors import Conflict, InvalidInput, NotFound
from signals import quarantine, trackingplan
from signals.consent import set_consent
from signals.events import REJECTED_BODY
from signals.intake import take
from signals.sources import INTERNAL, keyless_sender
from signals.telling import tell
from signals.trackingplan import Definition, Property
from tests.signals.sending import NOW, Desk, call, order, viewed

FITTED = Definition(
    properties={
        "size": Property("text", required=True, values=["S", "M", "L"]),
        "height": Property("number", least=50, most=250),
        "visits": Property("whole"),
        "guided": Property("boolean"),
        "at": Property("time"),
        "parts": Property("list"),
        "room": Property("object"),
    },
    strict=True,
)


def planned(desk: Desk, name: str, wanted: Definition) -> int:
    """Plan an event, in effect at once."""
    with desk.sessions.begin() as session:
        number = trackingplan.plan_event(session, name, wanted, NOW)[0].id
    desk.intake.reader.plans.renew()
    return number


def fitting(**properties: Any) -> dict[str, Any]:
    """An event of the shop's own."""
    return call("track", event="Fitting Booked", userId="u1", properties=properties)


@pytest.mark.parametrize(
    ("properties", "blamed"),
    [
        ({"size": "M", "height": 180.5, "visits": 2, "guided": True, "at": "2026-03-01T09:30:00Z"}, ""),
        ({"size": "M", "parts": [], "room": {}, "height": None}, ""),
        ({}, "size"),
        ({"size": "XL"}, "size"),
        ({"size": 5}, "size"),
        ({"size": "M", "height": "180"}, "height"),
        ({"size": "M", "height": True}, "height"),
        ({"size": "M", "height": 20}, "height"),
        ({"size": "M", "height": 10**400}, "height"),
        ({"size": "M", "visits": 1.5}, "visits"),
        ({"size": "M", "guided": "yes"}, "guided"),
        ({"size": "M", "at": "yesterday"}, "at"),
        ({"size": "M", "at": "2026-03-01T09:30:00"}, "at"),
        ({"size": "M", "parts": {}}, "parts"),
        ({"size": "M", "room": "blue"}, "room"),
        ({"size": "M", "colour": "blue"}, "colour"),
    ],
)
def test_it_quarantines_what_breaks_the_plan_and_names_the_property(
    desk: Desk, properties: dict[str, Any], blamed: str
) -> None:
    planned(desk, "fitting booked", FITTED)
    good = viewed("Shoes", userId="u1")
    outcomes = desk.send(fitting(**properties), good)
    assert [outcome.status for outcome in outcomes] == ["rejected" if blamed else "accepted", "accepted"]
    listed = desk.rows("SELECT reason, field, name, whole FROM rejected_event")
    assert listed == ([("plan", f"properties.{blamed}", "Fitting Booked", True)] if blamed else [])


def test_it_takes_a_quarantined_event_once_when_the_plan_was_mended(desk: Desk) -> None:
    planned(desk, "Fitting Booked", FITTED)
    late = NOW - timedelta(hours=3)
    bare = {"type": "track", "event": "Fitting Booked", "userId": "u1", "properties": {"size": "XL"}}
    desk.send(fitting(size="XL"), bare, now=late)
    numbers = desk.rows("SELECT id FROM rejected_event ORDER BY id")
    with desk.sessions.begin() as session:
        waiting = quarantine.waiting(session, name="Fitting Booked")
    assert [(number,) for number in waiting] == numbers
    assert quarantine.replay_all(desk.intake, waiting, NOW) == {"rejected": 2}
    assert desk.rows("SELECT count(*) FROM event") == [(0,)]

    planned(desk, "Fitting Booked", msgspec.structs.replace(FITTED, properties={"size": Property("text")}))
    assert quarantine.replay_all(desk.intake, waiting, NOW) == {"accepted": 2}
    # The time of one that tells none is when it came first, and what it means is known from now on.
    times = desk.rows("SELECT event_time, received_at FROM event ORDER BY event_time")
    assert times[1] == (late, NOW)
    before = desk.everything()
    assert quarantine.replay_all(desk.intake, waiting, NOW) == {"duplicate": 2}
    assert desk.everything() == before
    assert desk.rows("SELECT count(*) FROM event") == [(2,)]
    with desk.sessions.begin() as session:
        assert quarantine.waiting(session) == []
    assert desk.rows("SELECT count(*) FROM rejected_event WHERE replayed_at = :now", now=NOW) == [(2,)]


def test_it_comes_to_those_behind_many_that_still_break_the_plan(desk: Desk) -> None:
    planned(desk, "Fitting Booked", FITTED)
    sizes = ("XL", "XL", "XXL", "XL", "XXL")
    desk.send(*(fitting(size=size) | {"messageId": f"m{number}"} for number, size in enumerate(sizes)))
    planned(
        desk, "Fitting Booked", msgspec.structs.replace(FITTED, properties={"size": Property("text", values=["XXL"])})
    )
    found = []
    for minute in range(4):
        with desk.sessions.begin() as session:
            numbers = quarantine.waiting(session, limit=2)
        found.append(dict(quarantine.replay_all(desk.intake, numbers, NOW + timedelta(minutes=minute))))
    # The fifth has its turn, and the first again after it.
    assert found == [{"rejected": 2}, {"accepted": 1, "rejected": 1}, {"accepted": 1, "rejected": 1}, {"rejected": 2}]


def test_it_reads_it_again_by_the_clock_and_the_address_it_came_by(desk: Desk) -> None:
    planned(desk, "Fitting Booked", FITTED)
    told = {"event": "Fitting Booked", "userId": "u1", "timestamp": "2026-02-20T10:00:00Z"}
    skew = timedelta(days=2)
    take(desk.intake, desk.server, [msgspec.json.encode(told)], NOW, skew=skew, type_="track")
    with desk.sessions.begin() as session:
        trackingplan.unplan_event(session, 1)
    (number,) = desk.rows("SELECT id FROM rejected_event")[0]
    assert quarantine.replay(desk.intake, number, NOW) == "accepted"
    assert desk.rows("SELECT type, CAST(event_time AS text) FROM event") == [("track", "2026-02-22 10:00:00+00")]


def test_it_takes_nothing_again_of_which_it_has_not_all(desk: Desk) -> None:
    planned(desk, "Fitting Booked", FITTED)
    desk.send(fitting(size="XL", words="x" * REJECTED_BODY), b"\xff\xfe")
    desk.feed({"id": "p1", "title": "Runner", "price": "free"})
    for (number,) in desk.rows("SELECT id FROM rejected_event"):
        with pytest.raises(Conflict):
            quarantine.replay(desk.intake, number, NOW)
    with pytest.raises(NotFound):
        quarantine.replay(desk.intake, 999, NOW)


def test_it_takes_only_planned_events_of_a_source_that_is_held_to_them(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        trackingplan.close_source(session, desk.server.id, closed=True)
    own = call("track", event="Fitting Booked", userId="u1")
    bought = order("u1", "o1", ("p1", "Shoes", 10.0))
    assert desk.statuses(own, bought, call("page", userId="u1")) == ["rejected", "accepted", "accepted"]
    assert desk.statuses(call("track", event="Fitting Booked", anonymousId="a"), via=desk.browser) == ["accepted"]
    planned(desk, "Fitting Booked", Definition())
    assert desk.statuses(own) == ["accepted"]


def test_a_stored_event_that_comes_again_is_a_duplicate_whatever_the_plan_has_come_to_be(desk: Desk) -> None:
    own = call("track", event="Fitting Booked", userId="u1", messageId="m1", properties={"size": "XS"})
    bare = {name: value for name, value in own.items() if name != "messageId"}
    assert desk.statuses(own, bare) == ["accepted", "accepted"]
    planned(desk, "Fitting Booked", FITTED)
    assert desk.statuses(own, bare, own) == ["duplicate", "duplicate", "duplicate"]
    assert desk.statuses(own | {"properties": {"size": "XXL"}}, own | {"messageId": "m2"}) == ["rejected", "rejected"]
    assert desk.statuses(own, via=desk.browser) == ["rejected"], "another source never said it"
    assert desk.rows("SELECT reason, count(*) FROM rejected_event GROUP BY 1 ORDER BY 1") == [
        ("plan", 2), ("untrusted", 1),
    ]  # fmt: skip
    assert desk.rows("SELECT count(*) FROM event") == [(2,)]


def test_a_damaged_planned_event_stops_nothing(desk: Desk) -> None:
    planned(desk, "Fitting Booked", FITTED)
    number = planned(desk, "Fitting Missed", FITTED)
    damage = """UPDATE planned_event SET definition = '{"properties": {"size": {"type": "odd"}}}' WHERE id = :number"""
    with desk.sessions.begin() as session:
        session.execute(text(damage), {"number": number})
    desk.intake.reader.plans.renew()
    missed = call("track", event="Fitting Missed", userId="u1", properties={"size": "XL"})
    assert desk.statuses(missed, fitting(size="XL"), call("page", userId="u1")) == ["accepted", "rejected", "accepted"]
    with desk.sessions.begin() as session:
        trackingplan.close_source(session, desk.server.id, closed=True)
    desk.intake.reader.plans.renew()
    assert desk.statuses(missed | {"messageId": "m2"}) == ["accepted"], "it is in the plan"


def test_it_holds_no_word_of_consent_to_the_plan(desk: Desk) -> None:
    desk.send(call("track", event="Consent Changed", userId="u1", properties={"purpose": "sms", "granted": True}))
    profile = desk.root("user_id", "u1")
    with desk.sessions.begin() as session:
        row = trackingplan.plan_event(session, "Planned before", FITTED, NOW)[0]
        row.name, row.spelt = "Consent Changed", "consent changed"
        noted = trackingplan.plan_event(session, "Offer Feedback", FITTED, NOW)[0]
        trackingplan.close_source(session, desk.server.id, closed=True)
    desk.intake.reader.plans.renew()
    stop = call("track", event="consent changed", userId="u1", properties={"purpose": "sms", "granted": False},
                timestamp="2026-03-01T11:00:00Z")  # fmt: skip
    assert desk.statuses(stop) == ["accepted"]
    assert set_consent(desk.intake, profile, "email", False, at=NOW, now=NOW, via="page", message_id="u:1")
    assert desk.state(profile).consent == {"sms": False, "email": False}
    assert noted.spelt == "offer feedback"
    with desk.sessions.begin() as session:
        own = keyless_sender(session, INTERNAL, NOW)
    gift = {"message_id": "m", "answer": "gift"}
    told = tell(desk.intake, own, profile, "Offer Feedback", gift, at=NOW, now=NOW, message_id="f:1")
    assert told is not None
    assert told.status == "accepted"
    assert desk.rows("SELECT count(*) FROM rejected_event") == [(0,)]


def test_it_keeps_nothing_of_what_somebody_does_who_refuses_it(desk: Desk) -> None:
    planned(desk, "Product Viewed", FITTED)
    planned(desk, "Order Completed", FITTED)
    said = {"purpose": "tracking", "granted": False}
    objects = call("track", event="Consent Changed", userId="u1", anonymousId="d1", properties=said)
    seen = viewed("Wine", userId="u1", secret="whiskey")
    assert desk.statuses(objects, seen) == ["accepted", "rejected"], "from the request on in which they object"
    by_device = viewed("Wine", anonymousId="d1", secret="whiskey")
    unsound = viewed("Wine", userId="u1", secret="whiskey", timestamp="whiskey o'clock")
    assert desk.statuses(by_device, via=desk.browser) == ["rejected"]
    assert desk.statuses(unsound, viewed("Wine", userId="u2"), order("u1", "o1", ("p1", "Wine", 9.0))) == (
        ["rejected"] * 3
    )
    kept = desk.rows("SELECT reason, field, body, whole FROM rejected_event ORDER BY id")
    rows = [(why, field, len(body) > 0, whole) for why, field, body, whole in kept]
    hidden = ("plan", "properties.size", False, False)
    assert rows == [
        hidden, hidden, ("invalid", "timestamp", False, False), ("plan", "properties.size", True, True),
        ("plan", "properties.size", True, True),
    ]  # fmt: skip
    assert "whiskey" not in str(desk.rows("SELECT * FROM rejected_event"))
    for (number,) in desk.rows("SELECT id FROM rejected_event WHERE NOT whole"):
        with pytest.raises(Conflict):
            quarantine.replay(desk.intake, number, NOW)


def test_it_lists_no_contradiction_of_who_refuses_to_be_followed(desk: Desk) -> None:
    first = viewed("Shoes", userId="u1", messageId="one")
    said = {"purpose": "profiling", "granted": False}
    desk.send(first)
    desk.send(call("track", event="Consent Changed", userId="u1", properties=said))
    assert desk.statuses(viewed("Wine", userId="u1", messageId="one")) == ["conflict"]
    assert desk.rows("SELECT count(*) FROM event_conflict") == [(0,)]


@pytest.mark.parametrize("name", ["Consent Changed", " consent changed "])
def test_it_refuses_to_plan_consent(desk: Desk, name: str) -> None:
    with desk.sessions.begin() as session, pytest.raises(InvalidInput, match="cannot be planned") as refused:
        trackingplan.plan_event(session, name, Definition(), NOW)
    assert refused.value.field == "name"


@pytest.mark.parametrize(
    ("name", "wanted", "field"),
    [
        (" ", Definition(), "name"),
        ("x" * 201, Definition(), "name"),
        ("x", Definition({"": Property()}), "properties"),
        ("x", Definition({"a": Property("boolean", values=["yes"])}), "properties.a"),
        ("x", Definition({"a": Property("whole", values=["1"])}), "properties.a"),
        ("x", Definition({"a": Property("text", least=1)}), "properties.a"),
        ("x", Definition({"a": Property("number", least=2, most=1)}), "properties.a"),
        ("x", Definition({"a": Property("number", least=float("nan"))}), "properties.a"),
        ("x", Definition({"a": Property("number", values=[1, float("nan")])}), "properties.a"),
        ("x", Definition({"a": Property("number", values=[float("inf")])}), "properties.a"),
        ("x", Definition({"a": Property("text", values=[f"v{number}" for number in range(101)])}), "properties.a"),
    ],
)
def test_it_refuses_a_plan_that_is_not_sound(desk: Desk, name: str, wanted: Definition, field: str) -> None:
    with desk.sessions.begin() as session, pytest.raises(InvalidInput) as refused:
        trackingplan.plan_event(session, name, wanted, NOW)
    assert refused.value.field == field
