"""What a browser's key may say: it ties nobody, invents nothing and changes no one beyond its own device."""

from __future__ import annotations

from typing import Any

import pytest

from signals.reading import ACCEPTED
from tests.signals.sending import Desk, call, identified, order, refunded, viewed

BY_SERVERS = (
    "Complaint Opened", "Complaint Closed", "Call Note Added", "Offer Feedback", "Offer Feedback Withdrawn",
    "Email Opened", "Email Link Clicked", "Order Updated", "Order Cancelled", "Completed Order", "Order Canceled",
    "Email Clicked",
)  # fmt: skip


@pytest.mark.feature("DE-35")
def test_it_ties_a_browsers_device_to_nobody_whom_it_names_along(desk: Desk) -> None:
    home = {"street": "12 Main Street", "postalCode": "53111"}
    ann: dict[str, Any] = {"firstName": "Ann", "lastName": "Lee", "address": home}
    desk.send(identified("u1", email="ann@example.com", **ann))
    before = desk.rows("SELECT type, profile_id FROM identifier ORDER BY 1")
    person = desk.state(desk.root("user_id", "u1"))
    named = {
        "userId": "u1",
        "anonymousId": "a1",
        "context": {"traits": {"email": "ann@example.com", "phone": "+4922812345"}},
    }
    told = (viewed("Shoes", **named), call("page", **named), call("identify", anonymousId="a1", traits=ann))
    assert desk.send(*told, via=desk.browser) == [ACCEPTED] * 3

    device = desk.root("anonymous_id", "a1")
    assert device != desk.root("user_id", "u1") == desk.root("email", "ann@example.com")
    assert desk.rows(f"SELECT type FROM identifier WHERE profile_id = {device}") == [("anonymous_id",)]
    assert desk.rows(f"SELECT type, profile_id FROM identifier WHERE profile_id <> {device} ORDER BY 1") == before
    assert desk.state(desk.root("user_id", "u1")) == person


@pytest.mark.feature("DE-35")
def test_it_lists_what_a_browser_key_may_not_say_and_changes_no_profile(desk: Desk) -> None:
    desk.send(identified("u1", email="ann@example.com"), order("u1", "o1", ("p", "Shoes", 10.0)))
    desk.send(viewed("Shoes", anonymousId="a1"), via=desk.browser)
    before = desk.everything()

    forged = [
        identified("u1", city="Elsewhere"),
        call("identify", anonymousId="a1", traits={"email": "ann@example.com"}),
        call("identify", anonymousId="a1", traits={"phone": "+4922812345"}),
        call("alias", userId="u1", previousId="a1"),
        order("u1", "o9", ("p", "Shoes", 10.0)) | {"anonymousId": "a1"},
        refunded("u1", "o1", "p") | {"anonymousId": "a1"},
        call("track", event="ORDER COMPLETED", anonymousId="a1", properties={"order_id": "o8"}),
        call("track", event="Consent Changed", anonymousId="a1", properties={"purpose": "email", "granted": True}),
        viewed("Shoes", userId="u1"),
        call("identify", anonymousId="a1", traits={"LoyaltyId": "L1"}),
        call("identify", anonymousId="a1", traits={" EMAIL": "ann@example.com"}),
        call("identify", anonymousId="a1", traits={"loyaltyId": "L7"}),
        call("identify", anonymousId="a1", traits={"loyalty_id": "L7"}),
        call("identify", anonymousId="a1", context={"traits": {"email": "ann@example.com"}}),
        viewed("Shoes", anonymousId="shopify-guest-order-1"),
        call("group", anonymousId="a1", groupId="h1", traits={"type": "household", "role": "partner"}),
        *(
            call("track", event=name, anonymousId="a1", properties={"order_id": "o1", "feedback": "gift"})
            for name in BY_SERVERS
        ),
    ]
    outcomes = desk.send(*forged, via=desk.browser)

    assert {outcome.status for outcome in outcomes} == {"rejected"}
    assert desk.everything() == before
    listed = desk.rows("SELECT reason, field FROM rejected_event ORDER BY id")
    assert [reason for reason, _ in listed] == ["untrusted"] * len(forged)
    assert [field for _, field in listed] == [
        "userId", "traits.email", "traits.phone", "userId", "event", "event", "event", "event", "anonymousId",
        "traits.LoyaltyId", "traits. EMAIL",
        "traits.loyaltyId", "traits.loyalty_id", "traits.email", "anonymousId", "traits.type",
        *["event"] * len(BY_SERVERS),
    ]  # fmt: skip
    assert (
        desk.statuses(*(event | {"messageId": f"{event['messageId']}-s"} for event in forged[:2])) == ["accepted"] * 2
    )


def test_it_counts_a_browsers_view_for_the_anonymous_id_alone(desk: Desk) -> None:
    desk.send(identified("u1"))
    desk.send(viewed("Shoes", anonymousId="a1", userId="u1"), via=desk.browser)

    assert desk.root("anonymous_id", "a1") != desk.root("user_id", "u1")
    assert desk.state(desk.root("user_id", "u1")).views == {}


def test_it_lets_a_browser_invent_no_category(desk: Desk) -> None:
    desk.send(viewed("Nonsense", anonymousId="a1"), via=desk.browser)

    assert desk.rows("SELECT count(*) FROM category") == [(0,)]
    desk.send(viewed("Nonsense", userId="u1"))
    assert desk.rebuilt().different == 0
