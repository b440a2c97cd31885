"""The pages, without a browser: every one answers, shows faults beside their field, and never breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from sqlalchemy import text

from tests.campaigns.web import Web

HOSTILE = (
    "", " ", "x" * 3_000, "\x00", "-1", "0", "999999999", "99999999999999999999", "1e309", "nan", "²", "--5", "1.005",
    "0001-01-01T00:00", "9999-12-31T23:59", "2026-02-30T12:00", "<script>alert(1)</script>", "{{ 7 * 7 }}", "{% for %}",
    "Europe/Nowhere", "../../etc/passwd", "on", "💥", "ftp://x", "https://", "https://[::1", "a@b@c",
)  # fmt: skip


def test_it_is_not_ready_before_the_database_was_migrated(web: Web) -> None:
    client = web.app.test_client()
    with web.shop.sessions.begin() as session:
        newest = str(session.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
        session.execute(text("ALTER TABLE alembic_version RENAME TO kept"))
    refused = client.get("/readyz")
    assert refused.status_code == 503
    assert "has no tables yet: run `latebind migrate`" in refused.text
    with web.shop.sessions.begin() as session:
        session.execute(text("ALTER TABLE kept RENAME TO alembic_version"))
        session.execute(text("UPDATE alembic_version SET version_num = '0044'"))
    assert "schema 0044, which is older" in client.get("/readyz").text
    with web.shop.sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :newest"), {"newest": newest})
    assert client.get("/readyz").status_code == 200


class Form(HTMLParser):
    """The fields of a page's forms with the values they come with."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = self._written = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        name = told.get("name") or ""
        self._written = ""
        if tag == "input" and name:
            if told.get("type") not in ("checkbox", "radio") or "checked" in told:
                self.fields[name] = told.get("value") or ""
        elif tag == "textarea" and name:
            self.fields[name], self._written = "", name
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in told or self._select not in self.fields):
            self.fields[self._select] = told.get("value") or ""
            self._written = "" if "value" in told else self._select
        elif tag == "button" and name:
            self.fields.setdefault(name, told.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        self._written = ""

    def handle_data(self, data: str) -> None:
        if self._written:
            self.fields[self._written] += data


def forms(number: int) -> Iterator[tuple[str, str]]:
    """Pages with a form, and where it is posted to."""
    for tab in ("audience", "message", "offers", "schedule"):
        yield f"/campaigns/{number}/{tab}", f"/campaigns/{number}/{tab}"
    yield "/campaigns/new", "/campaigns/new"
    yield "/offers/new", "/offers/new"
    yield "/offers/new", "/offers/preview"
    yield "/offers/3", "/offers/3"
    yield "/relations/", "/relations/"
    yield "/pictures/", "/pictures/"
    yield "/pictures/", "/pictures/retry"
    yield "/system/", "/system/people"
    yield "/customers/", "/customers/"
    yield f"/campaigns/{number}/preview", f"/campaigns/{number}/preview"


@pytest.mark.slow
def test_it_never_breaks_on_what_is_typed_into_a_form(web: Web) -> None:
    web.shop.people("ada")
    browser = web.browser("admin")
    turn = 0
    for page, target in forms(web.shop.campaign()):
        fields = Form(browser.get(page).text).fields | {"csrf_token": browser.token}
        names = [name for name in fields if name not in ("csrf_token", "do") and not re.search(r"-[1-9]$", name)]
        assert names, page
        for value in HOSTILE:
            # Each value meets each form twice: in one field, in turn, and in all.
            one = names[turn % len(names)]
            turn += 1
            for typed in ({one: value}, dict.fromkeys(names, value)):
                answer = browser.post(target, **(fields | typed))
                assert answer.status_code < 500, (target, typed)
        assert browser.get(page).status_code == 200, page


def test_it_never_breaks_on_what_stands_in_an_address(web: Web) -> None:
    web.shop.people("ada")
    browser = web.browser("admin")
    number = web.shop.campaign()
    paths = ["/campaigns/?q={}", "/offers/?q={}", "/customers/1?kind={}", "/sign-in?next={}",
             f"/campaigns/{number}/ledger?state={{}}", f"/campaigns/{number}/ledger?reason={{}}",
             f"/campaigns/{number}/ledger?after={{}}", f"/campaigns/{number}/preview?customer={{}}",
             f"/campaigns/{number}/preview?at={{}}", f"/campaigns/{number}/preview?bought={{}}",
             f"/campaigns/{number}/preview/mail?at={{}}", "/customers/1/opens/{}", "/customers/1/opens/a/{}",
             "/campaigns/{}", "/customers/{}", "/offers/{}", "/offers/{}/picture.jpg", "/pictures/?before={}",
             "/pictures/?failed={}", "/pictures/{}", "/creatives/?family={}", "/creatives/gallery?start={}",
             "/creatives/gallery?sample={}", "/creatives/{}"]  # fmt: skip
    for path in paths:
        for value in HOSTILE:
            assert browser.get(path.format(quote(value, safe=""))).status_code < 500, (path, value)


def test_it_gives_an_offer_the_design_of_its_kind_and_tells_faults_in_words(web: Web) -> None:
    browser = web.browser("manager")
    typed = {"name": "Thanks", "kind": "thank-you", "creative_id": "", "landing": "https://shop.example.com/"}
    made = browser.post("/offers/new", **typed)
    assert made.status_code == 302
    page = browser.get(made.headers["Location"]).text
    assert re.search(r"<option[^>]* selected>Thank you<", page)
    for field, value, words in (
        ("name", "x" * 121, "must have at most 120 characters"),
        ("cap_total", "0", "must be at least 1"),
        ("headline", "{{ offer.body }}", "reads offer.body; an offer’s text may read"),
    ):
        refused = browser.post("/offers/new", **(typed | {"name": "Other", field: value}))
        assert refused.status_code == 400
        # Beside the field itself.
        beside = refused.text.partition(f'id="f-{field}"')[2].partition('class="mb-3"')[0]
        assert words in beside.replace("&#39;", "’"), field


def test_it_says_before_the_send_that_no_offer_is_chosen(web: Web) -> None:
    browser, number = web.browser("manager"), web.shop.campaign(published=False)
    words = "No offer is chosen for any place: everybody sees the neutral default. <a"
    assert words not in browser.get(f"/campaigns/{number}/schedule").text
    kept = browser.post(
        f"/campaigns/{number}/offers",
        **{"default_landing": "https://shop.example.com/", "default-0": "1", "default-1": "1"},
    )
    assert kept.status_code == 302
    assert words in browser.get(f"/campaigns/{number}/schedule").text


def test_it_publishes_what_is_scheduled_and_sends_nothing_for_a_time_that_is_over(web: Web) -> None:
    browser, number = web.browser("manager"), web.shop.campaign(published=False)
    path, due = f"/campaigns/{number}/schedule", web.shop.now + timedelta(days=1)
    for when, words in (
        ("", "At: needs a date and a time"),
        (f"{due - timedelta(days=2):%Y-%m-%dT%H:%M}", "At: is over; to send at once, press Publish and send now"),
    ):
        refused = browser.post(path, do="schedule", due_at=when, timezone="UTC")
        assert refused.status_code == 400
        assert words in refused.text
        assert web.shop.state(number) == "draft"
    assert browser.post(path, do="schedule", due_at=f"{due:%Y-%m-%dT%H:%M}", timezone="UTC").status_code == 302
    assert web.shop.state(number) == "scheduled"


def test_it_names_the_field_when_somebody_cannot_be_added(web: Web) -> None:
    browser = web.browser("admin")
    person = {"name": "New", "email": "new@example.com", "password": "short", "roles": "support"}
    assert browser.post("/system/people", **person).status_code == 302
    assert "Password: must have 10 to 200 characters" in browser.get("/system/").text


def test_it_puts_a_customers_title_first_then_what_stands_under_it_then_the_button(web: Web) -> None:
    (ann,) = web.shop.people("ann")
    page = web.desk("support").get(f"/customers/{ann}").text
    places = [page.index(words) for words in ("page-title", "Who this is, and merging", "Next best offer")]
    assert places == sorted(places)
