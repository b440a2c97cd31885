"""The decision for other channels, and the keys that may ask for it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from base import keys
from base.clock import FixedClock
from base.tokens import Purpose
from render.access import KeyFacts, encode_key
from render.contact import mint_profile
from render.record import AnonymousRecord
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import DEFAULT, DISCOUNT, NOON, SHOES, THANKS, bought, plan, state

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def keys_issued(mail: Mail) -> None:
    digest = hashlib.sha256(SECRET.encode()).digest()
    mail.store.set(keys.api_key("server1"), encode_key(KeyFacts("server", digest)))
    mail.store.set(keys.api_key("site1"), encode_key(KeyFacts("site", digest, ("https://shop.example.com",))))


def ask(client: FlaskClient, mail: Mail, key: str = f"server1.{SECRET}", **changes: Any) -> TestResponse:
    body = {
        "campaign": 7,
        "channel": "call",
        "placement": "hero",
        "profile": mint_profile(mail.tokens, 4711),
        "request": "call-1",
    } | changes
    return client.post("/v1/decide", json=body, headers={"Authorization": f"Bearer {key}"})


def test_it_makes_the_decision_the_mail_would_show_and_records_it(client: FlaskClient, mail: Mail) -> None:
    answer = ask(client, mail).get_json()
    (slot,) = answer["slots"]
    assert (slot["offer"], slot["name"], slot["fields"]["offer.headline"]) == (DISCOUNT, "hero", "discount")
    (decision,), (fetch,) = mail.decisions(), mail.fetches()
    assert (decision.id, decision.contact) == (answer["decision"], "call/hero/call-1")
    assert (fetch.kind, fetch.decision, fetch.is_personal) == ("decide", decision.id, True)
    assert msgspec.json.decode(fetch.body or b"") == answer
    client.get(mail.url(), headers=browser())
    assert mail.lane().chosen[0].offer == DISCOUNT


def test_it_answers_for_an_anonymous_campaign_and_names_nobody(client: FlaskClient, mail: Mail) -> None:
    mail.publish(msgspec.structs.replace(plan(), tracking="anonymous"))
    before = set(mail.store.keys(f"{{{mail.delivery.profile}}}*"))
    first, again = (ask(client, mail).get_json() for _ in range(2))
    assert [slot["offer"] for slot in (*first["slots"], *again["slots"])] == [DISCOUNT, DISCOUNT]
    assert first["decision"] != again["decision"]
    assert [made.kind for made in mail.records() if isinstance(made, AnonymousRecord)] == ["decide"] * 2
    assert len(mail.records()) == 2
    assert set(mail.store.keys(f"{{{mail.delivery.profile}}}*")) == before


def test_it_holds_for_the_same_request_and_decides_anew_for_another(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(plan(discount={"cap_person": 1, "cap_total": 10}))
    first, again = (ask(client, mail).get_json() for _ in range(2))
    assert (first["decision"], first["held"], again["held"]) == (again["decision"], False, True)
    assert mail.store.hget(keys.cap(DISCOUNT), "left") == b"9"
    other = ask(client, mail, request="call-2").get_json()
    assert (other["held"], other["slots"][0]["offer"] == DISCOUNT) == (False, False)
    noon.advance(timedelta(minutes=5))
    mail.know(state([bought(SHOES, NOON + timedelta(minutes=5))]))
    assert ask(client, mail).get_json()["slots"][0]["offer"] == THANKS


def test_it_records_nothing_of_whoever_withdrew(client: FlaskClient, mail: Mail) -> None:
    mail.know(state((), tracking=False))
    answer = ask(client, mail).get_json()
    assert (answer["slots"][0]["offer"], mail.records()) == (DEFAULT, [])


@pytest.mark.parametrize("key", ["", "server1", "server1.", "server1.wrong", "other.s3cret", "..s3cret", "x" * 5000])
def test_it_refuses_keys_that_are_none(client: FlaskClient, mail: Mail, key: str) -> None:
    answer = ask(client, mail, key)
    assert (answer.status_code, mail.records()) == (401, [])


def test_it_refuses_a_site_key_that_asks_about_a_person(client: FlaskClient, mail: Mail) -> None:
    assert ask(client, mail, f"site1.{SECRET}").status_code == 403


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("campaign", {"campaign": 0}),
        ("campaign", {"campaign": "7"}),
        ("channel", {"channel": "a b"}),
        ("request", {"request": "r" * 65}),
        ("profile", {"profile": "4711"}),
        ("", {"surprise": 1}),
    ],
)
def test_it_names_the_field_at_fault(client: FlaskClient, mail: Mail, field: str, changes: dict[str, Any]) -> None:
    answer = ask(client, mail, **changes)
    assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, field)


def test_it_refuses_a_mails_token_in_a_persons_place_and_bodies_that_are_no_json(
    client: FlaskClient, mail: Mail
) -> None:
    assert ask(client, mail, profile=mail.token(Purpose.CLICK)).status_code == 400
    headers = {"Authorization": f"Bearer server1.{SECRET}"}
    for body in (b"", b"{", b"\xff\xfe", b"[]", b"x" * 16_385):
        assert client.post("/v1/decide", data=body, headers=headers).status_code in (400, 413)


def test_it_says_that_a_campaign_is_unknown(client: FlaskClient, mail: Mail) -> None:
    assert ask(client, mail, campaign=99).status_code == 404


def test_it_takes_a_fetch_with_a_servers_key_for_staff_and_with_a_pages_for_anybodys(
    client: FlaskClient, mail: Mail
) -> None:
    for key in (f"server1.{SECRET}", "server1.wrong", f"site1.{SECRET}"):
        client.get(mail.url(), headers=browser({"Authorization": f"Bearer {key}"}))
    found = [(made.fetch_class, made.lane) for made in mail.fetches()]
    assert found == [("staff", "test"), ("person", "live"), ("person", "live")]


def test_it_begins_no_contact_for_a_placement_that_the_campaign_has_not(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(discount={"cap_total": 10}))
    answer = ask(client, mail, placement="cellar")
    assert (answer.status_code, answer.get_json()["slots"]) == (200, [])
    assert (mail.records(), mail.store.hget(keys.cap(DISCOUNT), "left")) == ([], b"10")
    assert not list(mail.store.scan_iter("*:shown:*"))
