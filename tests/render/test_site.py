"""Slots of web pages: site keys and their origins, who a visitor is, and how much may be asked."""

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
from base.tokens import Purpose, TokenKeys
from render.access import KeyFacts, encode_key
from render.agree import balance
from render.contact import mint_profile
from render.identity import mint_identity
from render.rates import MAX_NAMES, Rates
from render.snippet import VERSIONS, snippet
from tests.render.mail import PROFILE, Mail
from tests.render.shoe_shop import DISCOUNT, NOON, SHOES, bought, plan, state

SHOP = "https://shop.example.com"
KEY = "site1.public"
INTEGRITY = {
    "v1": "sha384-SBkL61uIAUI9WseKQGipRR1sdQrDs32nDzouh6kRYAcbhv8cdnUqdVXQEX0pSmbA",
    "v2": "sha384-buZLsIp8cB4fUQKPs6Hv4c3Tu8merdni8moBVOKo0xggqn1lZ1TXblx7rIPWtwQa",
}


@pytest.fixture(autouse=True)
def keys_issued(mail: Mail) -> None:
    digest = hashlib.sha256(b"public").digest()
    mail.store.set(keys.api_key("site1"), encode_key(KeyFacts("site", digest, (SHOP,))))
    mail.store.set(keys.api_key("server1"), encode_key(KeyFacts("server", digest)))


def ask(client: FlaskClient, origin: str = SHOP, **changes: Any) -> TestResponse:
    body = {"key": KEY, "campaign": 7, "placement": "hero"} | changes
    return client.post("/v1/decide", data=msgspec.json.encode(body), headers={"Origin": origin})


def person(mail: Mail, life: timedelta = timedelta(hours=1)) -> str:
    return mint_identity(mail.tokens, PROFILE, NOON + life)


def texts(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [part["text"] for part in answer.get_json()["parts"]]


def test_it_decides_for_the_person_whom_the_server_named_and_records_it(client: FlaskClient, mail: Mail) -> None:
    answer = ask(client, person=person(mail))
    assert texts(answer) == ["discount"]
    assert answer.get_json()["landing"] == "https://shop.example.com/shoes"
    (decision,), (fetch,) = mail.decisions(), mail.fetches()
    assert (decision.id, decision.contact) == (answer.get_json()["decision"], "site/hero/page")
    assert msgspec.json.decode(fetch.body or b"") == answer.get_json()
    mail.know(state([bought(SHOES, NOON)]))
    assert texts(ask(client, person=person(mail))) != ["discount"]


def test_it_takes_whoever_is_not_named_for_nobody_and_writes_nothing_down(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    named = person(mail)
    forged = [
        "", "x" * 54, named[:-1] + ("A" if named[-1] != "A" else "B"), mint_profile(mail.tokens, PROFILE),
        mail.token(Purpose.CLICK), mint_identity(TokenKeys({1: b"e" * 64}, 1), PROFILE, NOON + timedelta(hours=1)),
    ]  # fmt: skip
    for text in forged:
        assert texts(ask(client, person=text)) == ["default"]
    noon.advance(timedelta(hours=1))
    assert texts(ask(client, person=named)) == ["default"], "it has run out"
    assert mail.records() == []


def test_it_answers_pages_of_the_allowed_origins_alone(client: FlaskClient, mail: Mail) -> None:
    answer = ask(client)
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers
    for origin in ("https://evil.example", "null", f"{SHOP}.evil.example", "http://shop.example.com", f"{SHOP}:8443"):
        refused = ask(client, origin, person=person(mail))
        assert (refused.status_code, "Access-Control-Allow-Origin" in refused.headers) == (403, False)
    assert mail.records() == []


@pytest.mark.parametrize("key", ["", "site1", "site1.wrong", "server1.public", "other.public"])
def test_it_refuses_what_is_no_site_key(client: FlaskClient, mail: Mail, key: str) -> None:
    assert (ask(client, key=key).status_code, mail.records()) == (401, [])


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("campaign", {"campaign": "7"}),
        ("placement", {"placement": "a b"}),
        ("person", {"person": "p" * 201}),
        ("", {"x": 1}),
    ],
)
def test_it_names_the_field_at_fault(client: FlaskClient, field: str, changes: dict[str, Any]) -> None:
    answer = ask(client, **changes)
    assert (answer.status_code, answer.get_json()["error"]["field"]) == (400, field)


def test_it_says_what_is_not_there(client: FlaskClient) -> None:
    assert ask(client, campaign=99).status_code == 404
    assert texts(ask(client, placement="nowhere")) == []
    assert client.post("/v1/decide", data=b"x" * 16_385, headers={"Origin": SHOP}).status_code in (400, 413)


def test_it_begins_no_contact_for_names_that_a_visitor_makes_up(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(discount={"cap_total": 10}))
    for number in range(3):
        assert texts(ask(client, placement=f"made-up-{number}", person=person(mail))) == []
    assert (mail.records(), balance(mail.store, DISCOUNT)) == ([], 10)
    assert not list(mail.store.scan_iter("*:shown:*"))


def test_it_lets_one_person_ask_only_so_often_and_others_still(client: FlaskClient, mail: Mail) -> None:
    # A page does not ask a hundred times within a second, however slow the machine.
    statuses = [ask(client, person=person(mail)).status_code for _ in range(120)]
    assert set(statuses) == {200, 429}
    assert ask(client).status_code == 200


def test_it_refills_steadily_and_remembers_a_bounded_number_of_names() -> None:
    rates = Rates()
    assert [rates.take("a", 0, 2) for _ in range(3)] == [True, True, False]
    assert rates.take("a", 1e9, 2)
    for number in range(MAX_NAMES + 1):
        rates.take(str(number), 0, 1)
    assert rates.take("0", 0, 1), "forgotten"
    assert not rates.take(str(MAX_NAMES), 0, 1)


def test_it_serves_every_version_of_the_script_for_ever_and_unchanged(client: FlaskClient) -> None:
    made = snippet()
    answer = client.get(made.path)
    assert (answer.status_code, answer.data, answer.mimetype) == (200, made.body, "text/javascript")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    # Pages name it by this hash: to change the script, add a version.
    assert {version: snippet(version).integrity for version in VERSIONS} == INTEGRITY
    assert client.get("/slot/v0.js").status_code == 404
    for word in (b"cookie", b"localStorage", b"innerHTML", b"eval"):
        assert word not in made.body
