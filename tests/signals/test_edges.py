"""Values, refusals and changes at the edge: each costs itself at most, and nobody else what they said or bought."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from signals import joining, journal, refusals
from signals.erasure import erase
from signals.events import REJECTED_BODY
from signals.identity import address_hash
from signals.intake import take, take_apart
from signals.lineage import set_policy
from signals.scores import assign
from signals.signal import clock_skew
from signals.suppression import unsubscribe_address
from tests.signals.sending import NOW, Desk, call, identified, order, viewed

VERY_LATE = "9000-01-01T00:00:00Z"


def test_a_time_that_no_calendar_holds_is_refused_alone(desk: Desk) -> None:
    calls = [call("track", event="A", userId="u1"), call("track", event="B", userId="u2", timestamp=VERY_LATE)]
    calls[0].pop("timestamp")
    bodies = [json.dumps(one).encode() for one in calls]
    outcomes = take(desk.intake, desk.server, bodies, NOW, skew=clock_skew("0001-01-01T00:00:00Z", NOW))
    assert [(outcome.status, outcome.field) for outcome in outcomes] == [("accepted", ""), ("rejected", "timestamp")]


def test_a_raised_digit_and_a_nul_cost_their_product_alone(desk: Desk) -> None:
    good = {"id": "a", "title": "A", "price": "1.00 EUR", "quantity": "5"}
    raised = {"id": "b", "title": "B", "price": "1.00 EUR", "quantity": "²"}
    nul = {"id": "c", "title": "C", "price": "1.00 EUR", "complements": ["sh\x00oes"]}
    report = desk.feed(good, raised, nul)
    assert (report.stored, [bad.field for bad in report.rejected]) == (1, ["quantity", "complements"])


def test_an_order_is_not_lost_for_what_it_says_along(desk: Desk) -> None:
    along = {"traits": {"phone": "n/a", "email": "none", "loyaltyId": 4711}}
    assert desk.statuses(order("u1", "o1", ("p", "shoes", 5.0)) | {"context": along}) == ["accepted"]
    assert desk.rows("SELECT type FROM identifier ORDER BY 1") == [("loyalty_id",), ("user_id",)]
    assert desk.statuses(call("identify", userId="u1", traits={"loyaltyId": 4711})) == ["accepted"]
    (refused,) = desk.send(call("identify", userId="u1", traits={"email": "none"}))
    assert (refused.status, refused.field) == ("rejected", "traits.email")


def test_what_somebody_refused_is_not_kept_by_the_call_that_makes_them_one_with_another(desk: Desk) -> None:
    refusal = {"purpose": "profiling", "granted": False}
    desk.send(call("track", event="Consent Changed", anonymousId="a1", properties=refusal))
    desk.send(call("identify", userId="u1", traits={"plan": "x"}))
    assert desk.statuses(viewed("shoes", userId="u1", anonymousId="a1")) == ["withheld"]
    state = desk.state(desk.root("user_id", "u1"))
    assert (state.consent, state.views) == ({"profiling": False}, {})


def test_an_order_that_is_changed_after_many_others_is_not_bought_again(desk: Desk) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(18):
        at = (start + timedelta(days=number)).isoformat()
        desk.send(order("u1", f"o{number}", ("p", "shoes", 10.0), time=at))
    changed = order("u1", "o0", ("p", "shoes", 8.0), time=(start + timedelta(days=20)).isoformat())
    desk.send(changed | {"event": "Order Updated"})
    state = desk.state(desk.root("user_id", "u1"))
    assert (state.orders, state.order_cents) == (18, 17 * 1_000 + 800)


def test_a_rebuild_takes_nobody_off_the_list_of_those_who_left(desk: Desk) -> None:
    desk.send(identified("u1", email="a@example.com"))
    desk.send(call("identify", anonymousId="dev", traits={"loyaltyId": "L1"}))
    agreed = {"purpose": "email", "granted": True}
    desk.send(
        call("track", event="Consent Changed", anonymousId="dev", properties=agreed, timestamp="2026-03-01T11:00:00Z")
    )
    with desk.sessions.begin() as session:
        left = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
        unsubscribe_address(session, address_hash(desk.intake.hash_key, "a@example.com"), left)
    link = joining.join(desk.intake, desk.root("user_id", "u1"), desk.root("loyalty_id", "L1"), NOW, by="x")
    desk.rebuilt()
    take_apart(desk.intake, link, NOW, apart=True, by="x")
    assert desk.is_suppressed("a@example.com")


def test_one_and_yes_are_two_values_to_a_policy(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        set_policy(session, "vip", "trusted", NOW)
    said = [
        call("identify", anonymousId="a", traits={"vip": value}, timestamp=f"2026-03-01T1{hour}:00:00Z")
        for hour, value in enumerate((1, True))
    ]
    desk.send(said[0])
    desk.send(said[1], via=desk.browser)
    before = desk.everything()
    desk.rebuilt()
    assert desk.everything() == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_is_a_finite_number(desk: Desk, value: float) -> None:
    desk.send(identified("u1"))
    with pytest.raises(ValueError, match="finite"):
        assign(desk.intake, {desk.root("user_id", "u1"): {"churn": value}}, NOW, 1, NOW)


def test_what_is_paid_is_rounded_as_the_state_rounds_it(desk: Desk) -> None:
    for number, total in enumerate((0.125, 0.285, 4.015)):
        sent = order("u1", f"o{number}", ("p", "shoes", 1.0))
        sent["properties"] = json.loads(json.dumps(sent["properties"])) | {"total": total}
        desk.send(sent)
    (told,) = desk.rows("SELECT sum(order_total_cents)::int FROM event")[0]
    assert told == desk.state(desk.root("user_id", "u1")).order_cents == 13 + 29 + 402


@pytest.mark.parametrize(
    ("properties", "cents"),
    [
        ({"products": [{"product_id": "p", "price": 2.5, "quantity": 3}, {"product_id": "q"}]}, 750),
        ({"product_id": "p", "price": 4, "quantity": 2}, 800),
        ({"products": [{"product_id": "p", "price": 10, "quantity": 1.5}]}, 1_500),
        ({"products": [{"product_id": "p", "price": 10, "quantity": "0.75"}]}, 750),
        ({"product_id": "p", "price": 9.99, "quantity": 0.5}, 500),
        ({"products": [{"product_id": "p"}]}, None),
        ({"products": [{"product_id": f"p{n}", "price": 10**10, "quantity": 100_000} for n in range(95)]}, 10**12),
    ],
)
def test_an_order_without_a_total_is_kept_as_what_its_lines_came_to(
    desk: Desk, properties: dict[str, Any], cents: int | None
) -> None:
    desk.send(call("track", event="Order Completed", userId="u1", properties={"order_id": "o1"} | properties))
    assert desk.rows("SELECT order_total_cents FROM event") == [(cents,)]
    assert desk.state(desk.root("user_id", "u1")).order_cents == (cents or 0)


@pytest.mark.feature("SU-13")
def test_an_erasure_finds_who_is_named_in_a_call_that_contradicts_somebody_elses(desk: Desk) -> None:
    desk.send(call("track", event="A", userId="alice", messageId="m1"))
    bob = {"email": "bob@example.com", "name": "Bob Quux"}
    assert desk.statuses(call("identify", userId="bob", messageId="m1", traits=bob)) == ["conflict"]
    desk.send(call("identify", userId="bob", traits={"email": "bob@example.com"}))
    person, other = desk.root("user_id", "bob"), desk.root("user_id", "alice")
    with desk.sessions.begin() as session:
        assert len(refusals.contradicting(session, [person])) == 1
        assert refusals.contradicting(session, [other]) == []
    assert erase(desk.intake, person, NOW)
    assert desk.rows("SELECT count(*) FROM event_conflict") == [(0,)]


def test_nothing_is_kept_of_a_refused_call_of_which_not_all_could_be(desk: Desk) -> None:
    said = {"name": "Bob Quux", "email": "none", "bio": "x" * REJECTED_BODY}
    assert desk.statuses(call("identify", userId="bob", traits=said)) == ["rejected"]
    (row,) = desk.rows("SELECT body, message, whole FROM rejected_event")
    assert (row.body, row.whole) == ("", False)
    assert row.message.endswith("its body is too long to be kept")


def test_calls_that_contradict_a_stored_one_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "CONFLICTS_KEPT", 5)
    for number in range(12):
        desk.send(call("track", event="A", anonymousId="x", messageId="same", properties={"n": number}))
    assert desk.rows("SELECT count(*) FROM event_conflict") == [(5,)]
