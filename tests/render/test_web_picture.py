"""Pictures of web pages' slots: in the open the page was told of, recorded, and never broken."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from io import BytesIO
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace
from PIL import Image
from werkzeug.test import TestResponse

from base import keys
from base.clock import FixedClock
from base.tokens import Purpose, day_of, second_number
from render.access import KeyFacts, encode_key
from render.agree import balance
from render.identity import mint_identity
from render.parts import Parts
from tests.render.mail import PROFILE, Mail, browser
from tests.render.shoe_shop import DISCOUNT, NOON, SHOES, bought, plan, state

SHOP = "https://shop.example.com"


@pytest.fixture(autouse=True)
def key_issued(mail: Mail) -> None:
    digest = hashlib.sha256(b"public").digest()
    mail.store.set(keys.api_key("site1"), encode_key(KeyFacts("site", digest, (SHOP,))))


def told(client: FlaskClient, person: str = "") -> dict[str, Any]:
    body = {"key": "site1.public", "campaign": 7, "placement": "hero", "person": person}
    answer = client.post("/v1/decide", data=msgspec.json.encode(body), headers={"Origin": SHOP})
    assert answer.status_code == 200, answer.text
    picture: dict[str, Any] = answer.get_json()["picture"]
    return picture


def visitor(mail: Mail) -> str:
    return mint_identity(mail.tokens, PROFILE, NOON + timedelta(hours=20))


def shown(answer: TestResponse, kind: str = "WEBP") -> bytes:
    assert answer.status_code == 200
    with Image.open(BytesIO(answer.data)) as image:
        assert image.format == kind
        image.load()
    body: bytes = answer.data
    return body


def test_it_draws_what_the_page_was_told_and_records_each_fetch(client: FlaskClient, mail: Mail) -> None:
    picture = told(client, visitor(mail))
    assert (picture["width"], picture["height"], picture["alt"]) == (600, 200, "discount.")
    light, dark = (client.get(picture[scheme], headers=browser()) for scheme in ("light", "dark"))
    assert shown(light) != shown(dark)
    (decision,) = mail.decisions()
    fetches = {made.kind: made for made in mail.fetches() if made.kind != "decide"}
    assert {made.decision for made in fetches.values()} == {decision.id}
    for kind, answer in (("picture", light), ("dark", dark)):
        made = fetches[kind]
        assert (made.sha256, made.content_type) == (hashlib.sha256(answer.data).hexdigest(), "image/webp")
        assert (made.slot, made.fetch_class, made.profile) == (0, "person", PROFILE)


def test_it_agrees_with_the_words_whatever_arrives_in_between(client: FlaskClient, mail: Mail) -> None:
    before = told(client, visitor(mail))
    first = shown(client.get(before["light"]))
    mail.know(state([bought(SHOES, NOON)]))
    assert shown(client.get(before["dark"])), "the same look"
    assert len({made.id for made in mail.decisions()}) == 1
    after = told(client, visitor(mail))
    assert after["alt"] != before["alt"]
    assert shown(client.get(after["light"])) != first


def test_it_shows_strangers_the_default_and_leaves_no_trace(client: FlaskClient, mail: Mail) -> None:
    picture = told(client)
    assert picture["alt"] == "default."
    assert shown(client.get(picture["light"]))
    assert mail.records() == []


def test_it_names_the_person_for_two_days_and_a_stranger_afterwards(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    strange = shown(client.get(told(client)["light"]))
    picture = told(client, visitor(mail))
    noon.advance(timedelta(days=1))
    assert shown(client.get(picture["light"])) != strange
    before = len(mail.records())
    noon.advance(timedelta(days=1))
    assert shown(client.get(picture["light"])) == strange
    assert len(mail.records()) == before


def test_it_is_a_picture_whatever_is_asked_or_gone(client: FlaskClient, mail: Mail, parts: Parts) -> None:
    address = told(client, visitor(mail))["light"]
    token = address.removeprefix("/s/").removesuffix(".webp")
    forged = ["x", token[:-1] + ("A" if token[-1] != "A" else "B"), mail.token(Purpose.PICTURE)]
    for text in forged:
        assert shown(client.get(f"/s/{text}.webp"), "PNG")
    assert client.get(f"/o/{token}.webp").data == client.get("/s/x").data, "a page's token is no mail's"
    before = len(mail.records())
    head = client.head(address)
    assert (head.status_code, head.mimetype, head.data, len(mail.records())) == (200, "image/webp", b"", before)
    mail.store.delete(keys.live(7))
    parts.lookup.forget()
    with Image.open(BytesIO(client.get(address).data)) as image:
        assert (image.format, image.size) == ("WEBP", (1200, 400))


def test_it_keeps_a_picture_away_from_whoever_fetches_it_without_end(client: FlaskClient, mail: Mail) -> None:
    address = told(client, visitor(mail))["light"]
    answers = {client.get(address).data for _ in range(260)}
    assert len(answers) == 2, "the person's, then a stranger's"
    assert told(client, visitor(mail))["alt"] == "discount."


def test_it_begins_no_contact_for_a_slot_that_was_taken_away(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(slots=2, discount={"cap_total": 5}))
    other = mail.plan.slots[1]
    token = mail.token(Purpose.SLOT, 1, occurrence=0, fmt=other.web_fmt, sent_s=day_of(second_number(NOON)))
    mail.publish(plan(slots=1, discount={"cap_total": 5}))
    assert shown(client.get(f"/s/{token}.webp"))
    assert (mail.records(), balance(mail.store, DISCOUNT)) == ([], 5)


@pytest.mark.parametrize("fmt", ["webp", "gif"])
def test_it_has_the_format_that_was_fixed_at_publishing(client: FlaskClient, mail: Mail, fmt: str) -> None:
    whole = plan()
    mail.publish(replace(whole, slots=tuple(replace(slot, web_fmt=fmt) for slot in whole.slots)))
    picture = told(client, visitor(mail))
    assert picture["light"].endswith(f".{fmt}")
    assert shown(client.get(picture["light"]), fmt.upper())
