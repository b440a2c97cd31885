"""A campaign whose opens are counted without names: what is stored, reported and let go of, and what stays away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from base import keys
from base.errors import InvalidInput
from campaigns import reports
from campaigns.campaigns import campaign
from campaigns.reports import Report
from campaigns.retention import Policy
from render.record import AnonymousRecord
from tests.campaigns.web import Web
from tests.promises.reader import GMAIL, SCANNER, Mail
from tests.workers.opens import Opens
from workers.retention import Retention

DAY = timedelta(days=1)
NAMED = ("decision", "fetch", "click", "served_bytes", "outcome")


@pytest.fixture
def web(opens: Opens) -> Iterator[Web]:
    made = Web(opens.shop)
    yield made
    made.close()


def look_and_click(opens: Opens, mail: Mail) -> None:
    """A person, a provider and a scanner look at the hero, and the person and the scanner click in it."""
    for agent in (None, GMAIL, SCANNER):
        opens.look(mail, 0, *([agent] if agent else []))
    opens.get(mail.clicks[0])
    opens.get(mail.clicks[0], SCANNER)


def report(opens: Opens) -> Report:
    with opens.shop.sessions.begin() as session:
        return replace(reports.report(session, opens.campaign), p50_ms=None, p99_ms=None)


def test_it_stores_a_record_once_and_what_then_went_out_instead(opens: Opens) -> None:
    opens.send("ann", tracking="anonymous")
    made = AnonymousRecord(
        id="a" * 32, at_ms=1_770_000_000_000 - 1_770_000_000_000 % 3_600_000, campaign=opens.campaign, occurrence=1,
        slot=0, kind="picture", fetch_class="person", offer=opens.discount, rung="drawn",
    )  # fmt: skip
    opens.put(made)
    opens.put(made)
    opens.record()
    opens.put(made)
    opens.record()
    held = "SELECT offer_id, rung FROM anonymous_fetch"
    assert [tuple(row) for row in opens.rows(held)] == [(opens.discount, "drawn")]
    opens.put(msgspec.structs.replace(made, offer=None, rung="static"))
    opens.put(made)
    opens.record()
    assert [tuple(row) for row in opens.rows(held)] == [(None, "static")]


def test_it_counts_fetches_and_clicks_and_no_people(opens: Opens, web: Web) -> None:
    mails = opens.send("ann", "bob", tracking="anonymous")
    for mail in mails.values():
        look_and_click(opens, mail)
    opens.shop.send(opens.shop.order("ann", "Shoes", opens.shop.now))
    opens.record()
    for _ in range(3):
        opens.following._credited_at = -1e9
        opens.following.idle()
    assert [opens.count(table) for table in NAMED] == [0] * len(NAMED), "no training, credit or hindsight can see it"
    found = report(opens)
    assert (found.opens.possibly, found.clicks, found.orders) == (0, 0, 0)
    assert found.anonymous.fetches == {"person": 2, "proxy": 2, "scanner": 2}
    assert found.anonymous.clicks == {"person": 2, "scanner": 2}
    assert [(line.offer, line.fetches, line.clicks) for line in found.anonymous.offers] == [(opens.discount, 4, 2)]
    told = web.program("manager").told("GET", f"/campaigns/{opens.campaign}/report")
    assert (told["opened_possibly"], told["anonymous"]["clicks"]) == (0, {"person": 2, "scanner": 2})
    assert [line["fetches"] for line in told["anonymous"]["offers"]] == [4]
    page = web.desk("manager").get(f"/campaigns/{opens.campaign}/results").text
    assert "never of people" in page
    assert "Seen, surely" not in page
    profile = mails["ann"].token.profile
    timeline = web.desk("support").get(f"/customers/{profile}").text
    assert "counted without names, so none is listed here" in timeline


def test_it_lets_go_by_class_and_age_and_the_counts_stay(opens: Opens) -> None:
    mail = opens.send("ann", tracking="anonymous")["ann"]
    look_and_click(opens, mail)
    opens.record()
    before = report(opens)
    loop = Retention(opens.shop.sessions, opens.shop.blobs, Policy(400 * DAY, 90 * DAY, 30 * DAY))
    left = []
    for days in (89, 2, 308, 2):
        opens.shop.clock.advance(timedelta(days=days))
        while loop.step(opens.shop.now):
            pass
        left.append(opens.count("anonymous_fetch"))
        assert report(opens).anonymous == before.anonymous
    assert left == [5, 3, 3, 0]


def test_it_keeps_no_answer_of_a_campaign_whose_plan_was_lost(opens: Opens) -> None:
    mail = opens.send("ann", tracking="anonymous")["ann"]
    live = opens.shop.store.get(keys.live(opens.campaign))
    opens.shop.store.delete(keys.live(opens.campaign))
    opens.forget()
    opens.look(mail)
    assert live is not None
    assert opens.record() > 0
    assert [opens.count(table) for table in NAMED] == [0] * len(NAMED)


def test_it_follows_nobody_whose_mail_left_without_names(opens: Opens) -> None:
    def publish_as(level: str) -> None:
        with opens.shop.sessions.begin() as session:
            campaign(session, opens.campaign).tracking = level
        opens.shop.publish(opens.campaign)

    opens.send("ann", tracking="anonymous")
    publish_as("none")
    with pytest.raises(InvalidInput, match="left that name nobody"):
        publish_as("identified")
    publish_as("anonymous")
