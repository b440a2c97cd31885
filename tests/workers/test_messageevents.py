"""Raw events of mails: the export is what the tables hold, row for row, by the page, the file and the command."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from base import db
from base.errors import InvalidInput
from base.queues import QueueName
from campaigns import messageevents
from campaigns.transitions import send_test
from tests.campaigns.shop import MANAGER
from tests.workers.opens import Opens
from tests.workers.test_outcomes import credited
from workers import jobs
from workers.commands import events

TABLES = {"delivery": "delivery", "fetch": "fetch", "click": "click", "consent": "mail_consent", "order": "outcome"}
SCANNER = "Mozilla/5.0 (compatible; BarracudaCentral/1.0)"


def lived(opens: Opens) -> int:
    """A campaign in which everything happened that can happen to a mail; its number."""
    shop = opens.shop
    shop.people("eve", consent=False)
    mails = opens.send("ann", "ben", needs_consent=["email"])
    opens.look(mails["ann"])
    opens.look(mails["ann"], 1)
    opens.look(mails["ben"], agent=SCANNER)
    opens.get(mails["ann"].clicks[0])
    opens.client.post(mails["ben"].unsubscribe, data={"List-Unsubscribe": "One-Click"})
    shop.clock.advance(timedelta(minutes=5))
    shop.send(shop.order("ann", "shoes", shop.now))
    assert len(credited(opens)) == 1
    with shop.sessions.begin() as session:
        send_test(session, opens.campaign, [shop.profile("ann")], "tester@example.com", shop.now, MANAGER)
    opens.scheduler.tick()
    jobs.work(QueueName.SEND, shop.queues, burst=True)
    return opens.campaign


@pytest.mark.feature("CM-71")
def test_it_exports_what_the_tables_hold_row_for_row(
    opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = lived(opens)
    shop = opens.shop
    with shop.sessions.begin() as session:
        whole, after = messageevents.page(session, campaign)
    assert after is None
    for kind, table in TABLES.items():
        held = opens.rows(f'SELECT id::text AS id, * FROM "{table}" WHERE campaign_id = :c', c=campaign)
        told = {one.id: one for one in whole if one.kind == kind}
        assert held, kind
        assert set(told) == {row[0] for row in held}, kind
        for row in held:
            one = told[row[0]]
            assert (one.occurrence, one.profile) == (row.occurrence, row.profile_id), kind
    ledger = {row.id: (row.state, row.reason) for row in opens.rows("SELECT * FROM delivery")}
    assert {int(one.id): (one.state, one.reason) for one in whole if one.kind == "delivery"} == ledger
    assert {state for state, _ in ledger.values()} == {"accepted", "skipped"}
    classes = {row.id: row.fetch_class for row in opens.rows('SELECT id, fetch_class FROM "fetch"')}
    assert {one.id: one.fetch_class for one in whole if one.kind == "fetch"} == classes
    assert [one.test for one in whole if one.kind == "delivery"].count(True) == 1
    assert [(one.purpose, one.granted, one.via) for one in whole if one.kind == "consent"] == [
        ("email", False, "one-click")
    ]

    # By pages of any size, as a file in both forms, and by the command: the same rows.
    for limit in (1, 3):
        paged: list[Any] = []
        key: str | None = ""
        while key is not None:
            with shop.sessions.begin() as session:
                some, key = messageevents.page(session, campaign, after=key, limit=limit)
            paged += some
        assert paged == whole
    text = "".join(messageevents.lines(shop.sessions.begin, campaign, "jsonl"))
    assert [msgspec.json.decode(line, type=messageevents.MessageEvent) for line in text.splitlines()] == whole
    assert "@" not in text
    read = csv.DictReader(io.StringIO("".join(messageevents.lines(shop.sessions.begin, campaign, "csv"))))
    assert [(row["kind"], row["id"]) for row in read] == [(one.kind, one.id) for one in whole]
    monkeypatch.setattr(db, "connect", lambda *_args, **_named: shop.sessions.kw["bind"])
    monkeypatch.setenv("LATEBIND_DATABASE_URL", shop.settings.database_url)
    file = tmp_path / "events.jsonl"
    done = CliRunner().invoke(events.command, ["--campaign", str(campaign), "--to", str(file)])
    assert done.exit_code == 0, done.output
    assert file.read_text() == text


def test_it_names_kinds_and_keys_that_there_are_not(opens: Opens) -> None:
    with opens.shop.sessions.begin() as session:
        for kinds in ([], ["mail"]):
            with pytest.raises(InvalidInput, match="kinds"):
                messageevents.page(session, 1, kinds=kinds)
        keys = ("mail:1", "delivery:x", "delivery:1:2", "fetch:1:2", f"fetch:1:{10**18}:a", "delivery:" + "9" * 30)
        for after in keys:
            with pytest.raises(InvalidInput, match="after"):
                messageevents.page(session, 1, after=after)
        assert messageevents.page(session, 1, kinds=["fetch"], after="fetch:1:5:a") == ([], None)
