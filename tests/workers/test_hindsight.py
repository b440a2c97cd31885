"""Hindsight: classes told again by what only the ledger and the other clicks know."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from campaigns.reports import report
from render.record import ClickRecord
from tests.promises.reader import APPLE, BROWSER, GMAIL
from tests.workers.opens import Opens
from workers.hindsight import spans


def classes(opens: Opens, table: str = "fetch") -> list[str]:
    """The classes in the table's rows, in order."""
    opens.record()
    return [row.fetch_class for row in opens.rows(f'SELECT fetch_class FROM "{table}" ORDER BY at, id')]


def results(opens: Opens) -> Any:
    """What the results page says."""
    with opens.shop.sessions.begin() as session:
        return report(session, opens.campaign)


def rewind(opens: Opens, seconds: float) -> None:
    """Have the mails taken by their server so many seconds ago."""
    opens.rows("UPDATE delivery SET sent_at = :at RETURNING id", at=opens.shop.now - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("agent", "seconds", "told"),
    [
        (BROWSER, 1.5, "scanner"), (BROWSER, 3.5, "person"), (GMAIL, 1.5, "prefetch"), (GMAIL, 20, "proxy"),
        (APPLE, 2.9, "prefetch"), (APPLE, 30, "undecided"),
    ],
)  # fmt: skip
def test_it_tells_by_the_moment_of_the_send(opens: Opens, agent: str, seconds: float, told: str) -> None:
    mail = opens.send("ann")["ann"]
    rewind(opens, seconds)
    opens.look(mail, agent=agent)
    assert classes(opens) == [told]
    (row,) = opens.rows('SELECT evidence, public FROM "fetch"')
    assert row.evidence["seconds_since_send"] == seconds
    assert b'"seconds_since_send":60.0' in row.public  # what the open told, by when the mail was made, stays
    counted = results(opens).opens
    assert (counted.surely, counted.machine) == (int(told in ("person", "proxy")), int(told in ("scanner", "prefetch")))


def test_it_looks_again_once_a_mail_that_is_being_handed_over_has_its_moment(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.rows("UPDATE delivery SET state = 'claimed', sent_at = NULL RETURNING id")
    opens.look(mail)
    assert classes(opens) == ["person"]
    opens.rows("UPDATE delivery SET state = 'accepted', sent_at = :at RETURNING id", at=opens.shop.now)
    opens.following.idle()
    assert classes(opens) == ["scanner"]


def test_it_takes_whoever_follows_the_hidden_link_for_a_scanner_around_that_minute(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.shop.clock.advance(timedelta(hours=1))
    opens.look(mail)
    opens.get(mail.clicks[0])
    opens.shop.clock.advance(timedelta(seconds=40))
    assert opens.get(mail.trap).status_code == 302
    opens.shop.clock.advance(timedelta(minutes=5))
    opens.look(mail)
    opens.get(mail.clicks[0])
    assert classes(opens) == ["scanner", "person"]
    assert classes(opens, "click") == ["scanner", "scanner", "person"]
    counted = results(opens)
    assert (counted.clicks, counted.machine_clicks) == (1, 2)


def test_it_takes_two_links_at_once_soon_after_the_delivery_for_a_scanner(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    rewind(opens, 20)
    opens.get(mail.clicks[0])
    opens.shop.clock.advance(timedelta(seconds=1))
    opens.get(mail.clicks[1])
    opens.shop.clock.advance(timedelta(minutes=10))
    opens.get(mail.clicks[0])
    opens.shop.clock.advance(timedelta(seconds=4))
    opens.get(mail.clicks[1])
    assert classes(opens, "click") == ["scanner", "scanner", "person", "person"]


def test_it_marks_a_click_that_followed_what_only_a_machine_had_fetched(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.send(order("ann"))
    opens.shop.clock.advance(timedelta(hours=3))
    opens.look(mail)  # by a browser's name, so the open believed it and noted the thank-you as last shown
    opens.get(mail.trap)
    opens.shop.clock.advance(timedelta(hours=2))
    opens.get(mail.clicks[0])
    assert believed(opens) == [False]
    assert classes(opens) == ["person", "scanner"]
    rows = opens.rows("SELECT offer_id, fetch_class, ambiguous FROM click WHERE outcome = 'redirect'")
    assert rows == [(opens.thanks, "person", True)]
    assert results(opens).flagged["ambiguous"] == 1


def test_it_unmarks_a_click_when_the_other_decision_was_shown_to_a_machine_only(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.shop.clock.advance(timedelta(hours=1))
    opens.look(mail)
    opens.get(mail.trap)
    opens.shop.send(order("ann"))
    opens.shop.clock.advance(timedelta(minutes=5))
    opens.look(mail)
    opens.get(mail.clicks[0])
    assert believed(opens) == [True]
    assert classes(opens) == ["scanner", "person"]
    rows = opens.rows("SELECT offer_id, ambiguous FROM click WHERE outcome = 'redirect'")
    assert rows == [(opens.thanks, False)]


def believed(opens: Opens) -> list[bool]:
    """Whether the open took each waiting click on a block for an ambiguous one."""
    clicks = [made for made in opens.waiting() if isinstance(made, ClickRecord)]
    return [click.is_ambiguous for click in clicks if click.outcome == "redirect"]


def order(name: str) -> dict[str, Any]:
    """An order of shoes, now."""
    line = {"product_id": "shoes-1", "category": "shoes", "price": 20, "quantity": 1}
    properties = {"order_id": "o1", "products": [line], "total": 20, "currency": "EUR"}
    return {"type": "track", "userId": name, "event": "Order Completed", "properties": properties}


def test_it_changes_nothing_when_it_looks_twice(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    rewind(opens, 1)
    opens.look(mail)
    opens.get(mail.trap)
    records = [record for record in opens.waiting() if not hasattr(record, "slots")]
    assert classes(opens) == ["scanner"]
    before = opens.rows('SELECT id, fetch_class, evidence FROM "fetch"') + opens.rows("SELECT id, evidence FROM click")
    opens.following._look_back(spans(records))
    after = opens.rows('SELECT id, fetch_class, evidence FROM "fetch"') + opens.rows("SELECT id, evidence FROM click")
    assert before == after
