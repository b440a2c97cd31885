"""What people say to the offer of a call: told once, kept with its decision, and asking for nothing anew."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace
from werkzeug.test import TestResponse

from base import keys
from base.clock import FixedClock
from render.access import KeyFacts, encode_key
from render.arbitration import Fatigue
from render.contact import mint_profile
from render.lookup import Look
from tests.render.mail import PROFILE, Mail
from tests.render.shoe_shop import DISCOUNT, SHOES, THANKS, bought, plan, state

SECRET = "s3cret"
TIRES = {"fatigue": (Fatigue(after="refused", times=1, within_days=30, off_days=30),)}


@pytest.fixture(autouse=True)
def keys_issued(mail: Mail) -> None:
    digest = hashlib.sha256(SECRET.encode()).digest()
    mail.store.set(keys.api_key("server1"), encode_key(KeyFacts("server", digest)))
    mail.store.set(keys.api_key("site1"), encode_key(KeyFacts("site", digest, ("https://shop.example.com",))))


def post(client: FlaskClient, mail: Mail, path: str, key: str = f"server1.{SECRET}", **said: Any) -> TestResponse:
    contact = {
        "campaign": 7,
        "channel": "call",
        "placement": "hero",
        "profile": mint_profile(mail.tokens, PROFILE),
        "request": "call-1",
    }
    return client.post(path, json=contact | said, headers={"Authorization": f"Bearer {key}"})


def tell(client: FlaskClient, mail: Mail, outcome: str = "taken", slot: int = 0, **changes: Any) -> TestResponse:
    return post(client, mail, "/v1/outcome", slot=slot, outcome=outcome, **changes)


def test_it_keeps_what_was_said_with_its_decision_and_once(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(discount={"cap_total": 10} | TIRES))
    decided = post(client, mail, "/v1/decide").get_json()
    first, again = tell(client, mail, "refused").get_json(), tell(client, mail, "refused").get_json()
    assert first == {
        "decision": decided["decision"], "slot": 0, "offer": DISCOUNT, "outcome": "refused", "repeated": False,
    }  # fmt: skip
    assert again == first | {"repeated": True}
    (made,) = mail.clicks()
    assert (made.decision, made.offer, made.outcome, made.fetch_class) == (
        decided["decision"], DISCOUNT, "refused", "person",
    )  # fmt: skip
    assert made.evidence == {"channel": "call"}
    assert len(mail.used().answers[DISCOUNT].refused) == 1
    assert (mail.used().offer(DISCOUNT).count, mail.store.hget(keys.cap(DISCOUNT), "left")) == (1, b"9")


def test_it_lets_an_offer_rest_after_it_was_refused(client: FlaskClient, mail: Mail, noon: FixedClock) -> None:
    mail.publish(plan(discount=TIRES))
    post(client, mail, "/v1/decide")
    tell(client, mail, "refused")
    noon.advance(timedelta(minutes=1))
    other = post(client, mail, "/v1/decide", request="call-2").get_json()
    assert other["slots"][0]["offer"] != DISCOUNT
    candidate = next(one for one in mail.decisions()[-1].slots[0].candidates if one.offer == DISCOUNT)
    assert candidate.rule == "resting: refused"


def test_it_refuses_a_second_word_on_one_showing_and_takes_one_on_the_next(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    post(client, mail, "/v1/decide")
    tell(client, mail, "taken")
    answer = tell(client, mail, "refused")
    assert (answer.status_code, answer.get_json()["error"]["field"]) == (409, "outcome")
    noon.advance(timedelta(minutes=5))
    mail.know(state([bought(SHOES, noon.now())]))
    post(client, mail, "/v1/decide")
    assert tell(client, mail, "refused").get_json()["offer"] == THANKS
    assert [made.outcome for made in mail.clicks()] == ["taken", "refused"]


def test_it_knows_what_was_shown_by_a_plan_of_before(client: FlaskClient, mail: Mail) -> None:
    post(client, mail, "/v1/decide")
    mail.publish(plan(discount={"name": "renamed"}))
    client.application.extensions["parts"].lookup.forget()
    assert tell(client, mail).get_json()["offer"] == DISCOUNT


@pytest.mark.parametrize(
    ("status", "field", "changes"),
    [
        (404, "request", {"request": "call-2"}),
        (404, "request", {"channel": "chat"}),
        (404, "campaign", {"campaign": 99}),
        (400, "slot", {"slot": 3}),
        (400, "slot", {"slot": 255}),
        (400, "outcome", {"outcome": "perhaps"}),
        (400, "profile", {"profile": "4711"}),
        (401, "", {"key": "server1.wrong"}),
        (403, "", {"key": f"site1.{SECRET}"}),
    ],
)
def test_it_names_what_is_wrong_and_keeps_nothing(
    client: FlaskClient, mail: Mail, status: int, field: str, changes: dict[str, Any]
) -> None:
    post(client, mail, "/v1/decide")
    answer = tell(client, mail, **changes)
    assert (answer.status_code, answer.get_json()["error"]["field"], mail.clicks()) == (status, field, [])


def test_it_leaves_alone_what_was_decided_after_what_is_answered(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    first = post(client, mail, "/v1/decide").get_json()["decision"]
    noon.advance(timedelta(minutes=5))
    mail.know(state([bought(SHOES, noon.now())]))
    second = post(client, mail, "/v1/decide").get_json()["decision"]
    answer = tell(client, mail, decision=first)
    assert (answer.status_code, answer.get_json()["error"]["field"], mail.clicks()) == (409, "decision", [])
    assert tell(client, mail, decision=second).get_json()["offer"] == THANKS


def test_it_asks_for_the_word_again_while_what_it_needs_cannot_be_read(
    client: FlaskClient, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(client, mail, "/v1/decide")
    mail.publish(plan(discount={"name": "renamed"}))
    lookup = client.application.extensions["parts"].lookup
    lookup.forget()
    lookup.running(7, 0)  # The plan of now is held; that of the contact is not.
    for part, away in (("plan", lambda _: None), ("read", lambda *_: Look(None, None))):
        with monkeypatch.context() as patched:
            patched.setattr(lookup, part, away)
            answer = tell(client, mail)
            assert (answer.status_code, answer.headers["Retry-After"], mail.clicks()) == (503, "1", []), part
    assert tell(client, mail).get_json()["repeated"] is False


def test_it_keeps_nothing_of_whoever_withdrew_since(client: FlaskClient, mail: Mail) -> None:
    post(client, mail, "/v1/decide")
    mail.know(state((), tracking=False))
    assert (tell(client, mail).status_code, mail.clicks()) == (404, [])


def test_it_keeps_nothing_in_an_anonymous_campaign(client: FlaskClient, mail: Mail) -> None:
    mail.publish(replace(plan(), tracking="anonymous"))
    post(client, mail, "/v1/decide")
    assert (tell(client, mail).status_code, mail.clicks()) == (404, [])
