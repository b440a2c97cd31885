"""The same decision as HTML, as a whole mail, as JSON."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from base.tokens import Purpose
from signals.state import ProfileState, tombstone
from tests.render.mail import Mail, browser, size_of
from tests.render.shoe_shop import plan

PAGE = (
    '<!doctype html><html><body><p>Hello {{ (profile.first_name|default("friend")) }}</p>'
    '<a href="{{ link.hero }}"><img src="{{ url.picture_0 }}" alt="Your offer"></a>'
    '<img src="{{ url.picture_1 }}" alt="More"><a href="{{ link.view }}">View</a>'
    '<a href="{{ link.unsubscribe }}">Leave</a></body></html>'
)


@pytest.fixture(autouse=True)
def has_page(mail: Mail) -> None:
    mail.publish(replace(plan(slots=2), view_html=PAGE))


def known(**traits: str) -> ProfileState:
    return ProfileState(version=3, traits=dict(traits))


@pytest.mark.feature("EC-20")
def test_it_shows_the_decision_of_the_picture_as_html_and_as_a_whole_mail(client: FlaskClient, mail: Mail) -> None:
    mail.know(known(first_name="Ada"))
    client.get(mail.url(), headers=browser())
    block = client.get(f"/h/{mail.token(Purpose.HTML)}", headers=browser())
    page = client.get(mail.view(first_name="Ada"), headers=browser())
    items = client.get(f"/amp/{mail.token(Purpose.AMP)}", headers=browser()).get_json()["items"]
    (decision,) = mail.decisions()
    assert {fetch.decision for fetch in mail.fetches()} == {decision.id}
    assert [fetch.kind for fetch in mail.fetches()] == ["picture", "html", "view", "amp"]
    assert f'data-decision="{decision.id}"' in block.text
    assert "discount" in block.text
    assert items[0]["decision"] == decision.id
    assert "Hello Ada" in page.text
    for path in re.findall(r'src="([^"]+)"', page.text):
        assert size_of(client.get(path, headers=browser()).data) == (1200, 400)
    assert {fetch.decision for fetch in mail.fetches()} == {decision.id}
    assert mail.url() in page.text
    assert mail.click() in page.text


def test_it_prints_no_field_that_the_mail_did_not_print(client: FlaskClient, mail: Mail) -> None:
    for printed, now, shown in (
        ({"first_name": "Ada"}, {"first_name": "Ada", "last_name": "Lovelace"}, "Hello Ada"),
        ({}, {"first_name": "Ada"}, "Hello friend"),
        ({"first_name": "Ada"}, {"first_name": "Augusta"}, "Hello friend"),
        ({"first_name": "Ada"}, {}, "Hello friend"),
    ):
        mail.know(known(**now))
        page = client.get(mail.view(**printed), headers=browser())
        assert shown in page.text
        # The page names its own address, by which it prints the same again.
        assert mail.view(**printed) in client.get(mail.view(**printed), headers=browser()).text


def test_it_is_fit_for_mail_programs_as_a_block(client: FlaskClient, mail: Mail) -> None:
    block = client.get(f"/h/{mail.token(Purpose.HTML)}", headers=browser()).text
    assert '<table role="presentation" width="600"' in block
    assert re.search(r'<img src="/o/[^"]+\.jpg" width="600" height="200" alt="discount\."', block)
    assert 'media="(prefers-color-scheme: dark)"' in block
    assert block.count(f'href="{mail.click()}"') == 2
    assert "script" not in block
    for allowed in re.findall(r"<(\w+)", block.partition("<body")[2]):
        assert allowed in {"table", "tr", "td", "a", "picture", "source", "img"}


def test_it_begins_the_open_when_the_page_is_looked_at_first(client: FlaskClient, mail: Mail) -> None:
    client.get(f"/view/{mail.token(Purpose.VIEW)}", headers=browser())
    client.get(mail.url(1), headers=browser())
    (decision,) = mail.decisions()
    assert [fetch.decision for fetch in mail.fetches()] == [decision.id] * 2


def test_it_escapes_what_it_prints_and_runs_nothing(client: FlaskClient, mail: Mail) -> None:
    name = "<script>alert(1)</script>{{ 7 * 7 }}"
    mail.know(known(first_name=name))
    page = client.get(mail.view(first_name=name), headers=browser())
    assert "Hello &lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("source", ["{{ profile.get('x') }}", "{% for x in range(9) %}x{% endfor %}", "{{"])
def test_it_shows_the_plain_blocks_where_the_template_cannot_be_filled(
    client: FlaskClient, mail: Mail, source: str
) -> None:
    mail.publish(replace(plan(slots=2), view_html=source))
    page = client.get(f"/view/{mail.token(Purpose.VIEW)}", headers=browser())
    assert page.status_code == 200
    assert mail.url() in page.text


@pytest.mark.parametrize("source", ["{{ ''.__class__ }}", "{{ profile.__class__.__mro__ }}", "{{ link.nothing }}"])
def test_it_reads_fields_and_nothing_else(client: FlaskClient, mail: Mail, source: str) -> None:
    mail.publish(replace(plan(slots=2), view_html=f"<p>[{source}]</p>"))
    assert client.get(f"/view/{mail.token(Purpose.VIEW)}", headers=browser()).text == "<p>[]</p>"


def test_it_shows_nothing_of_a_person_who_was_erased(client: FlaskClient, mail: Mail) -> None:
    mail.know(tombstone())
    page = client.get(f"/view/{mail.token(Purpose.VIEW)}", headers=browser())
    block = client.get(f"/h/{mail.token(Purpose.HTML)}", headers=browser())
    assert "Hello friend" in page.text
    assert "discount" not in block.text
    assert mail.records() == []


def test_it_answers_forged_tokens_with_a_plain_404(client: FlaskClient, mail: Mail) -> None:
    for path in ("view", "h", "amp"):
        assert client.get(f"/{path}/{mail.token(Purpose.PICTURE)}").status_code == 404
    assert mail.records() == []
