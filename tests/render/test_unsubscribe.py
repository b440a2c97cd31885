"""Leaving: looking changes nothing, POST does."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from base import keys
from base.ids import TEST_BIT
from base.tokens import Purpose
from render.parts import Parts
from render.record import THIS_CHANNEL
from signals.contents import PURPOSES
from tests.render.mail import SCANNER, Mail, browser
from tests.render.shoe_shop import plan


@pytest.fixture
def path(mail: Mail) -> str:
    return f"/u/{mail.token(Purpose.UNSUBSCRIBE)}"


def test_it_changes_nothing_when_a_scanner_follows_every_link(client: FlaskClient, mail: Mail, path: str) -> None:
    for link in (path, mail.click(), mail.url(), f"/view/{mail.token(Purpose.VIEW)}", f"/h/{mail.token(Purpose.HTML)}"):
        for agent in (SCANNER, "Mozilla/5.0 (Windows NT 10.0) Safe Links"):
            assert client.head(link, headers=browser(agent=agent)).status_code == 200
            assert client.get(link, headers=browser(agent=agent)).status_code in (200, 302)
    assert mail.consents() == []


def test_it_shows_a_page_with_a_button_and_nothing_about_the_person(client: FlaskClient, mail: Mail, path: str) -> None:
    answer = client.get(path, headers=browser())
    assert answer.status_code == 200
    assert '<form method="post">' in answer.text
    assert "Stride" in answer.text
    assert "4711" not in answer.text
    assert "@" not in answer.text.partition("</style>")[2]
    assert "noindex" in answer.headers["X-Robots-Tag"]
    assert mail.records() == []


@pytest.mark.parametrize("form", ["urlencoded", "multipart"])
def test_it_takes_the_one_click_of_a_mail_provider(client: FlaskClient, mail: Mail, path: str, form: str) -> None:
    answer = client.post(
        path,
        data={"List-Unsubscribe": "One-Click"},
        content_type="multipart/form-data" if form == "multipart" else "application/x-www-form-urlencoded",
    )
    assert (answer.status_code, "Location" in answer.headers, "Set-Cookie" in answer.headers) == (200, False, False)
    (consent,) = mail.consents()
    assert (consent.profile, consent.purpose, consent.granted, consent.via) == (4711, "email", False, "one-click")


def test_it_takes_the_pages_buttons(client: FlaskClient, mail: Mail, path: str) -> None:
    for purpose in ("email", "tracking", "nonsense"):
        assert client.post(path, data={"purpose": purpose}).status_code == 200
    assert [(made.purpose, made.via) for made in mail.consents()] == [
        ("email", "page"),
        ("tracking", "page"),
        ("email", "page"),
    ]


@pytest.mark.feature("DE-29")
def test_it_takes_what_was_ticked_on_the_preference_page_and_nothing_by_looking(
    client: FlaskClient, mail: Mail, path: str
) -> None:
    shown = client.get(path, headers=browser())
    assert [shown.text.count(f'name="purpose" value="{purpose}">') for purpose in PURPOSES] == [2, 1, 1, 1, 0, 0]
    assert "checked" not in shown.text, "the page does not tell what the person allows"
    assert "Set-Cookie" not in shown.headers
    nothing = client.post(path, data={"choices": "1"})
    assert "Nothing was ticked" in nothing.text
    assert mail.records() == []
    answer = client.post(path, data={"choices": "1", "purpose": ["advertising", "profiling", "nonsense"] * 9})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)
    assert [(made.purpose, made.granted, made.via) for made in mail.consents()] == [
        ("profiling", False, "page"), ("advertising", False, "page"),
    ]  # fmt: skip
    one_click = client.post(path, data={"List-Unsubscribe": "One-Click", "choices": "1", "purpose": "profiling"})
    assert one_click.status_code == 200
    assert (mail.consents()[-1].purpose, mail.consents()[-1].via) == ("email", "one-click")


def test_it_withdraws_nothing_by_a_test_mail_and_answers_as_ever(client: FlaskClient, mail: Mail, path: str) -> None:
    test = f"/u/{mail.token(Purpose.UNSUBSCRIBE, occurrence=TEST_BIT | 1)}"
    for form in ({"List-Unsubscribe": "One-Click"}, {"purpose": "email"}, {"purpose": "tracking"}):
        answer = client.post(test, data=form)
        assert (answer.status_code, answer.data) == (200, client.post(path, data=form).data)
    assert {made.occurrence for made in mail.consents()} == {mail.delivery.occurrence}


def test_it_says_the_plans_own_words_escaped(client: FlaskClient, mail: Mail, path: str) -> None:
    mail.publish(replace(plan(), brand="Shoes & <b>more</b>", unsubscribe={"question": "Leave {brand}?"}))
    assert "Leave Shoes &amp; &lt;b&gt;more&lt;/b&gt;?" in client.get(path).text


def test_it_answers_forged_tokens_and_nobody_with_a_plain_404(client: FlaskClient, mail: Mail) -> None:
    for text in ("x" * 54, mail.token(Purpose.CLICK), mail.token(Purpose.UNSUBSCRIBE)[:-1]):
        assert client.get(f"/u/{text}").status_code == 404
        assert client.post(f"/u/{text}", data={"List-Unsubscribe": "One-Click"}).status_code == 404
    assert client.post(f"/u/{mail.token(Purpose.UNSUBSCRIBE, profile=0)}").status_code == 404
    assert mail.records() == []


def test_it_refuses_a_body_too_large_to_be_a_form(client: FlaskClient, mail: Mail, path: str) -> None:
    assert client.post(path, data={"purpose": "x" * 100_000}).status_code == 413
    assert mail.consents() == []


def test_it_takes_nothing_for_a_mail_while_no_plan_says_by_what_the_message_came(
    client: FlaskClient, mail: Mail, path: str
) -> None:
    mail.store.delete(keys.live(mail.plan.campaign))
    mail.published()
    shown = client.get(path, headers=browser())
    assert ("messages like this one" in shown.text, 'value="email"' in shown.text) == (True, False)
    for form in ({"List-Unsubscribe": "One-Click"}, {"purpose": "this channel"}):
        assert "no more messages like this one" in client.post(path, data=form).text
    assert [made.purpose for made in mail.consents()] == [THIS_CHANNEL, THIS_CHANNEL]


ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.mark.parametrize("form", [ONE_CLICK, {"purpose": "tracking"}])
def test_it_keeps_a_withdrawal_whatever_is_stored_of_offers(
    client: FlaskClient, mail: Mail, path: str, form: dict[str, str]
) -> None:
    mail.publish(plan(discount={"cap_total": 5}))
    mail.store.hset(keys.cap(1), "left", "abc")
    mail.published()
    assert client.get(path, headers=browser()).status_code == 200
    assert "Done" in client.post(path, data=form).text
    assert [made.purpose for made in mail.consents()] == [form.get("purpose", "email")]


def test_it_keeps_a_withdrawal_though_nothing_can_be_said_of_the_campaign(
    client: FlaskClient, mail: Mail, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: Parts = client.application.extensions["parts"]

    def broken(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(parts.lookup, "running", broken)
    assert client.get(path, headers=browser()).status_code == 200
    assert "no more messages like this one" in client.post(path, data=ONE_CLICK).text
    assert "no longer tracked" in client.post(path, data={"purpose": "tracking"}).text
    assert [made.purpose for made in mail.consents()] == [THIS_CHANNEL, "tracking"]


def test_it_keeps_a_withdrawal_though_the_plans_words_for_it_fail(client: FlaskClient, mail: Mail, path: str) -> None:
    mail.publish(replace(plan(), channel="pigeon"))
    answer = client.post(path, data=ONE_CLICK)
    assert (answer.status_code, "no more messages like this one" in answer.text) == (200, True)
    assert "nothing was changed" in client.post(path, data={"choices": "1"}).text
    assert [made.purpose for made in mail.consents()] == ["pigeon"]
