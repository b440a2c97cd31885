"""What the timeline of a customer says of the signals that came of them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from signals.intake import take
from signals.sources import create_source, sender
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web


def said(shop: Shop, web: Web, name: str, title: str) -> list[str]:
    """What the lines of somebody's timeline with this title say, the newest first."""
    told = web.program("support").told("GET", f"/customers/{shop.profile(name)}/timeline?kind=signal")
    return [entry["detail"] for entry in told["entries"] if entry["title"] == title]


@pytest.mark.feature("SU-01")
def test_it_says_of_each_purpose_what_was_agreed_to_in_both_forms_of_a_consent(shop: Shop, web: Web) -> None:
    shop.people("ann", consent=False)
    forms: list[dict[str, Any]] = [
        {"consents": {"email": True, "tracking": True}},
        {"consents": {"profiling": False, "sms": True}},
        {"purpose": "email", "granted": False},
        {"purpose": "advertising", "granted": True},
    ]
    for properties in forms:
        shop.clock.advance(timedelta(minutes=1))
        shop.send({"type": "track", "userId": "ann", "event": "Consent Changed", "properties": properties})
    assert said(shop, web, "ann", "Consent changed") == [
        "agreed to being named to advertising channels", "refuses mail",
        "refuses being profiled, agreed to text messages",
        "agreed to mail, agreed to being followed",
    ]  # fmt: skip
    assert (
        "agreed to mail, agreed to being followed" in web.desk("support").get(f"/customers/{shop.profile('ann')}").text
    )


def test_a_customers_page_says_who_it_is_and_what_is_known_before_the_timeline(shop: Shop, web: Web) -> None:
    """So a phone shows them, which sets the one below the other; a wide page has them side by side."""
    shop.people("ann")
    page = web.desk("support").get(f"/customers/{shop.profile('ann')}").text
    assert page.index("Known as") < page.index(">Now<") < page.index("What they allow") < page.index('class="timeline"')
    assert 'kind=order#timeline"' in page, "what is left out of the timeline leaves one there"


def test_it_says_what_own_events_details_groups_and_joined_accounts_were_about(shop: Shop, web: Web) -> None:
    shop.people("ann")
    long = {f"p{number}": number for number in range(6)}
    for call in (
        {"type": "track", "event": "Newsletter Signup", "properties": {
            "list": "weekly", "vip": True, "email": "ann@example.com", "said": "write to bob@example.com", "gone": None,
        }},
        {"type": "track", "event": "Newsletter Signup", "properties": long | {"p0": {"deep": 1}, "p1": "x" * 99}},
        {"type": "track", "event": "Product Viewed", "properties": {"category": "Shoes", "list": "weekly"}},
        {"type": "identify", "traits": {"firstName": "Ann", "birthday": "1990-01-02"}},
        {"type": "group", "groupId": "house-4711", "traits": {"type": "household", "name": "At home"}},
        {"type": "alias", "previousId": "annabel-2019"},
    ):  # fmt: skip
        shop.clock.advance(timedelta(minutes=1))
        shop.send({"userId": "ann"} | call)
    assert said(shop, web, "ann", "Newsletter Signup") == [
        f"p0, p1: {'x' * 60}…, p2: 2, p3: 3 and 2 more",
        "list: weekly, vip: yes, email: a•••@example.com, said: write to b•••@example.com",
    ]
    assert said(shop, web, "ann", "Product Viewed") == ["Shoes"]
    lines = [{"product_id": one, "category": f"{one}, and more"} for one in ("Milk", "Eggs")]
    shop.send({"type": "track", "userId": "ann", "event": "Cart Viewed", "properties": {"products": lines}})
    assert said(shop, web, "ann", "Cart Viewed") == ["Milk, and more · Eggs, and more"]
    assert said(shop, web, "ann", "Details given")[0] == "first_name, birthday"
    assert said(shop, web, "ann", "Joined a group") == ["household ho•••11"]
    assert said(shop, web, "ann", "Accounts joined") == ["an•••19"]
    desk, ann = web.desk("support"), shop.profile("ann")
    page = desk.get(f"/customers/{ann}").text
    assert f'href="/stream/?person={ann}"' in page
    assert page.count(">The signal as it came<") == 9
    link = re.search(r'href="(/stream/taken/\d+)"', page)
    assert link is not None
    assert desk.get(link[1]).status_code == 200


def test_it_says_of_own_events_nothing_that_names_or_reaches_people(shop: Shop, web: Web) -> None:
    shop.people("ann")
    for properties in (
        {"iban": "DE89370400440532013000", "customerName": "Ann Lee", "deliveryNote": "under the mat", "size": "M"},
        {"mobilePhone": 491721234567, "customer_id": 4711, "form": "Fitting"},
    ):
        shop.clock.advance(timedelta(minutes=1))
        shop.send({"type": "track", "userId": "ann", "event": "Form Sent", "properties": properties})
    assert said(shop, web, "ann", "Form Sent") == [
        "mobilePhone: •••, customer_id: •••, form: Fitting",
        "iban: •••, customerName: •••, deliveryNote: •••, size: M",
    ]
    shop.send(
        {"type": "page", "userId": "ann", "name": "Order of a.lee@example.com", "properties": {"name": "+41791234567"}}
    )
    page = web.browser("support").get(f"/customers/{shop.known()['ann']}").text
    assert "Order of a•••@example.com" in page
    assert "a.lee" not in page
    assert "1234567" not in page


def test_details_that_were_given_before_leave_no_line(shop: Shop, web: Web) -> None:
    """A shop tells of its buyer with each word on an order. What another source says in between makes it news again."""
    with shop.sessions.begin() as session:
        till = sender(create_source(session, "till", "server", shop.now, write_key="till")[0])
    ann = {"type": "identify", "userId": "ann", "traits": {"firstName": "Ann", "address": {"city": "Bern"}}}
    counts = []
    for source, call in (
        (shop.source, ann),
        (shop.source, ann),
        (shop.source, ann | {"traits": {"first_name": "Ann"}}),
        (shop.source, ann | {"anonymousId": "phone"}),
        (shop.source, ann | {"anonymousId": "phone"}),
        (till, ann | {"traits": {"firstName": "Anne"}}),
        (shop.source, ann),
        (shop.source, ann),
        (shop.source, ann | {"traits": {"address": {"city": "Basel"}}}),
        (till, ann | {"traits": {"address": {"city": "Basel"}}}),
    ):
        shop.clock.advance(timedelta(minutes=1))
        body = msgspec.json.encode({"timestamp": shop.now.isoformat()} | call)
        assert [outcome.status for outcome in take(shop.intake, source, [body], shop.now)] == ["accepted"]
        counts.append(len(said(shop, web, "ann", "Details given")))
    assert counts == [1, 1, 1, 2, 2, 3, 4, 4, 5, 6]


@pytest.mark.parametrize(("event", "title"), [("Call Note Added", "Call note"), ("Complaint Opened", "Complaint")])
def test_it_says_what_was_said_in_a_call_under_whichever_name_it_is_told(
    shop: Shop, web: Web, event: str, title: str
) -> None:
    shop.people("ann")
    for properties in (
        {"text": "Wants a larger size", "complaint_id": "7"},
        {"note": "Asked for the way", "minutes": 4, "customerName": "Ann Lee"},
        {"text": " ", "body": "b" * 1_200},
        {"message": "Said thanks", "comment": "mailto:ann@example.com"},
        {"topic": "delivery", "solved": False},
        {},
    ):
        shop.clock.advance(timedelta(minutes=1))
        shop.send({"type": "track", "userId": "ann", "event": event, "properties": properties})
    assert said(shop, web, "ann", title) == [
        "", "topic: delivery, solved: no", "Said thanks; comment: •••", "b" * 1_000,
        "Asked for the way; minutes: 4, customerName: •••", "Wants a larger size",
    ]  # fmt: skip
