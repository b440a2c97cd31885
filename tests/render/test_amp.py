"""The data of AMP mails: who may ask for it, what it says, and that it is of the picture's decision."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace
from werkzeug.test import TestResponse

from base.tokens import WHOLE_MAIL, Purpose
from signals.state import tombstone
from tests.render.mail import PROFILE, Mail, browser, size_of
from tests.render.shoe_shop import DISCOUNT, plan

SENDER = "offers@example.com"
PROVIDER = "https://mail.example.org"


@pytest.fixture(autouse=True)
def has_amp(mail: Mail) -> None:
    mail.publish(replace(plan(slots=2), amp_senders=(SENDER,)))


def ask(client: FlaskClient, mail: Mail, slot: int = 0, query: str = "", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(f"/amp/{mail.token(Purpose.AMP, slot)}{query}", headers=browser(named))


def v1(client: FlaskClient, mail: Mail, sender: str = SENDER, origin: str = PROVIDER) -> TestResponse:
    return ask(
        client, mail, 0, "?" + urlencode({"__amp_source_origin": sender}), **({"Origin": origin} if origin else {})
    )


@pytest.mark.feature("EC-24")
def test_it_answers_the_mails_own_sender_by_either_version_of_the_rules(client: FlaskClient, mail: Mail) -> None:
    second = ask(client, mail, AMP_Email_Sender="Offers@Example.com")
    first = v1(client, mail)
    for answer in (first, second):
        assert (answer.status_code, answer.mimetype) == (200, "application/json")
        assert "no-store" in answer.headers["Cache-Control"]
        assert "Set-Cookie" not in answer.headers
    assert second.headers["AMP-Email-Allow-Sender"] == "Offers@Example.com"
    assert first.headers["Access-Control-Allow-Origin"] == PROVIDER
    assert first.headers["AMP-Access-Control-Allow-Source-Origin"] == SENDER
    assert first.headers["Access-Control-Expose-Headers"] == "AMP-Access-Control-Allow-Source-Origin"
    assert first.get_json() == second.get_json()


@pytest.mark.feature("EC-24", "EC-20")
def test_it_says_picture_link_and_words_of_the_decision_that_the_picture_shows(client: FlaskClient, mail: Mail) -> None:
    (item,) = ask(client, mail, AMP_Email_Sender=SENDER).get_json()["items"]
    base = mail.settings.render_url
    assert item["img"] == base + mail.url()
    assert item["url"] == base + mail.click()
    assert (item["name"], item["alt"]) == ("hero", "discount.")
    picture = client.get(item["img"].removeprefix(base), headers=browser())
    assert size_of(picture.data) == (1200, 400)
    (decision,) = mail.decisions()
    assert [(fetch.kind, fetch.decision) for fetch in mail.fetches()] == [
        ("amp", decision.id), ("picture", item["decision"]),
    ]  # fmt: skip
    assert msgspec.json.decode(mail.fetches()[0].body or b"") == [item]
    click = client.get(item["url"].removeprefix(base), headers=browser())
    assert (click.status_code, click.headers["Location"]) == (302, mail.plan.offer_by_id[DISCOUNT].landing)
    assert mail.clicks()[0].decision == decision.id


def test_it_says_all_slots_where_the_token_is_of_the_whole_mail(client: FlaskClient, mail: Mail) -> None:
    path = f"/amp/{mail.token(Purpose.AMP, 0).strip()}"
    whole = f"/amp/{mail.token(Purpose.AMP, slot=WHOLE_MAIL)}"
    assert [item["name"] for item in client.get(path, headers=browser()).get_json()["items"]] == ["hero"]
    assert [item["name"] for item in client.get(whole, headers=browser()).get_json()["items"]] == ["hero", "strip 1"]


@pytest.mark.parametrize("sender", ["eve@example.com", "*", f"{SENDER}.evil.example", f"x{SENDER}", SENDER + "\u0130"])
def test_it_refuses_the_mails_of_other_senders_before_anything_is_decided(
    client: FlaskClient, mail: Mail, sender: str
) -> None:
    for answer in (ask(client, mail, AMP_Email_Sender=sender.encode().decode("latin-1")), v1(client, mail, sender)):
        assert answer.status_code == 403
        assert not {name for name in answer.headers.keys() if "Allow" in name}  # noqa: SIM118 - headers are a list
    assert mail.records() == []


def test_it_refuses_half_of_the_old_version(client: FlaskClient, mail: Mail) -> None:
    twice = ask(client, mail, 0, f"?__amp_source_origin={SENDER}&__amp_source_origin=eve@example.com", Origin=PROVIDER)
    assert (twice.status_code, v1(client, mail, origin="").status_code) == (403, 403)
    assert mail.records() == []


def test_it_answers_with_the_sender_alone_whatever_stands_around_it(client: FlaskClient, mail: Mail) -> None:
    answer = v1(client, mail, sender=f" {SENDER}\r\n")
    assert (answer.status_code, len(answer.get_json()["items"])) == (200, 1)
    assert answer.headers["AMP-Access-Control-Allow-Source-Origin"] == SENDER


def test_it_refuses_everybody_where_the_campaign_sends_no_amp(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(slots=2))
    assert ask(client, mail, AMP_Email_Sender=SENDER).status_code == 403


def test_it_says_the_places_words_to_whoever_may_not_be_written_down(client: FlaskClient, mail: Mail) -> None:
    mail.know(tombstone(), PROFILE)
    (item,) = ask(client, mail, AMP_Email_Sender=SENDER).get_json()["items"]
    assert item["alt"] == "Your offer"
    assert mail.records() == []
