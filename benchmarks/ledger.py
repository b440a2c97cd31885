"""A ledger of millions: a large audience into it, its pages and counts when it is full, and the memory of a sender.

A small run: `python -m benchmarks.ledger --people 100000 --rows 1000000`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from base import db
from base.clock import SystemClock, monotonic, pause
from base.environment import environment
from base.vault import Vault
from benchmarks import world
from benchmarks.report import Report
from benchmarks.send import receiver
from campaigns import accounting, audience, tally, waiting
from campaigns.models import Campaign, Occurrence
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web
from workers.jobs import enqueue_send

PEOPLE, ROWS, SENT = 1_000_000, 10_000_000, 5_000
SECONDS, PAGE_MS, SENDER_MB = 60.0, 300.0, 300.0
BATCH = 100
TRIES = 5
NUMBERS = "generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n"
CLONED = (
    "INSERT INTO profile (id, root_id, created_at)"
    f" SELECT n, n, p.created_at FROM profile p, {NUMBERS} WHERE p.id = :one",
    "INSERT INTO identifier (type, value, value_hash, profile_id, owns, source_id, trust, first_seen, last_seen)"
    " SELECT i.type, i.value, sha256(n::text::bytea), n, true, i.source_id, i.trust, i.first_seen,"
    f" i.last_seen FROM identifier i, {NUMBERS} WHERE i.profile_id = :one AND i.type = 'email'",
    "INSERT INTO profile_state (profile_id, version, edition, document, encoded, updated_at)"
    " SELECT n, s.version, s.edition, s.document, s.encoded, s.updated_at"
    f" FROM profile_state s, {NUMBERS} WHERE s.profile_id = :one",
)
# Nine of ten accepted, the others as they come: refused, put off, left out.
FILLED = """
    INSERT INTO delivery (campaign_id, occurrence, profile_id, channel, address_hash, state, reason, holdout, plan_hash,
        created_at, sent_at, settled_at, not_before)
    SELECT d.campaign_id, :run, d.profile_id, d.channel, d.address_hash, s.state, s.reason, d.holdout, d.plan_hash,
        :now, CASE WHEN s.state = 'accepted' THEN CAST(:now AS timestamptz) END,
        CASE WHEN s.state <> 'deferred' THEN CAST(:now AS timestamptz) END,
        CASE WHEN s.state = 'deferred' THEN CAST(:now AS timestamptz) + interval '1 hour' END
    FROM delivery d CROSS JOIN LATERAL (
        SELECT CASE d.id % 30 WHEN 0 THEN 'failed' WHEN 1 THEN 'deferred' WHEN 2 THEN 'skipped' ELSE 'accepted' END
            AS state,
            CASE d.id % 30 WHEN 0 THEN 'refused' WHEN 1 THEN 'put off by the server' WHEN 2 THEN 'unsubscribed' END
            AS reason
    ) s WHERE d.campaign_id = :campaign AND d.occurrence = 1
"""


def main(people: int = PEOPLE, rows: int = ROWS) -> None:
    """Run it and print the report."""
    report = Report("ledger")
    with receiver() as port, world.world(database=True) as place:
        settings = replace(place.settings, smtp_url=f"smtp://127.0.0.1:{port}")
        engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0)
        clock: Any = SystemClock()
        shop = Shop(settings, db.sessions(engine), place.store, clock)
        campaign = _freeze(report, shop, people)
        _send(report, shop, campaign)
        _pages(report, shop, campaign, people, rows)
        engine.dispose()
    report.show()


def grown(shop: Shop, people: int) -> None:
    """So many people, each with an address."""
    (one,) = shop.people("first")
    for first in range(one + 1, people + 1, 100_000):
        last = min(people, first + 99_999)
        with shop.sessions.begin() as session:
            for statement in CLONED:
                session.execute(text(statement), {"first": first, "last": last, "one": one})
    with shop.sessions.begin() as session:
        session.execute(text("SELECT setval('profile_id_seq', :people)"), {"people": people})
        session.execute(text("ANALYZE"))


def _freeze(report: Report, shop: Shop, people: int) -> int:
    """An audience into the ledger, as the schedule loop does it; the campaign."""
    grown(shop, people)
    campaign = shop.campaign()
    began = monotonic()
    with shop.sessions.begin() as session:
        session.add(Occurrence(campaign_id=campaign, number=1, state="sending", due_at=shop.now))
        session.get_one(Campaign, campaign).state = "sending"
        counted = audience.freeze(session, campaign, 1, shop.now, shop.settings.hash_key)
    took = monotonic() - began
    if counted.sendable != people:
        raise SystemExit(f"{counted} of {people}")
    aim = SECONDS * people / PEOPLE
    report.add(f"audience of {people:,} into the ledger", f"{took:.1f} s", "", None, f"≤ {aim:.0f} s", took <= aim)
    return campaign


def _send(report: Report, shop: Shop, campaign: int) -> None:
    """A sender as the Procfile starts it, on a part of the run."""
    with shop.sessions.begin() as session:
        query = text("SELECT id FROM delivery WHERE state = 'queued' ORDER BY id LIMIT :n")
        ids = list(session.scalars(query, {"n": SENT}))
    for start in range(0, len(ids), BATCH):
        enqueue_send(shop.store, ids[start : start + BATCH])
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    command = [sys.executable, "-m", "workers.cli", "worker", "send"]
    process = subprocess.Popen(command, env=outer | environment(shop.settings), stdout=subprocess.DEVNULL)
    try:
        sent, deadline = 0, monotonic() + 600
        while sent < len(ids):
            pause(0.2)
            with shop.sessions.begin() as session:
                sent = accounting.account(session, campaign)["accepted"]
            if monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"only {sent} of {len(ids)} mails left")
        mb = _most_memory(process.pid)
    finally:
        process.terminate()
        process.wait(30)
    what = f"a sender's memory over {sent:,} mails"
    report.add(what, f"{mb:.0f} MB at most", "", None, f"≤ {SENDER_MB:.0f} MB", mb <= SENDER_MB)


def _most_memory(pid: int) -> float:
    """The most memory that a process has had, in MB, with what it shares."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _pages(report: Report, shop: Shop, campaign: int, people: int, rows: int) -> None:
    """What the pages of a campaign ask when its ledger is full."""
    runs = max(1, rows // people - 1)
    for run in range(2, runs + 2):
        with shop.sessions.begin() as session:
            session.execute(text(FILLED), {"run": run, "now": shop.now, "campaign": campaign})
    with shop.sessions.begin() as session:
        session.execute(text("ANALYZE delivery"))
        total = sum(accounting.account(session, campaign).values())
        middle = session.scalar(text("SELECT max(id) / 2 FROM delivery")) or 0
    asked: dict[str, Callable[[Session], Any]] = {
        "counts by state": lambda session: accounting.account(session, campaign),
        "reasons": lambda session: accounting.reasons(session, campaign),
        "what waits": lambda session: waiting.put_off(session, campaign),
        "who was not sent it, first page": lambda session: accounting.listing(
            session, campaign, state="not_sent"
        ),
        "the same, in the middle": lambda session: accounting.listing(
            session, campaign, state="not_sent", after=middle
        ),
    }  # fmt: skip
    for what, ask in asked.items():
        _within(report, f"{what}, {total:,} rows", [_timed(shop, ask) for _ in range(TRIES)])
    web = Web(shop)
    browser = web.desk("manager")
    for path in ("ledger?state=not_sent", "ledger?state=failed", "schedule", "progress"):
        took = []
        for _ in range(TRIES):
            began = monotonic()
            assert browser.get(f"/campaigns/{campaign}/{path}").status_code == 200
            took.append(monotonic() - began)
        _within(report, f"page {path}, {total:,} rows", took)
    web.close()
    began = monotonic()
    with shop.sessions.begin() as session:
        before = tally.counts(session, campaign)
        tally.rebuild(session, campaign)
        assert tally.counts(session, campaign) == before, "the kept counts are those of the rows"
    report.add(f"counting all {total:,} rows anew, to the same counts", f"{monotonic() - began:.1f} s")


def _timed(shop: Shop, ask: Callable[[Session], Any]) -> float:
    with shop.sessions.begin() as session:
        began = monotonic()
        ask(session)
        return monotonic() - began


def _within(report: Report, what: str, took: list[float]) -> None:
    ms = 1000 * median(took)
    report.add(what, f"{ms:.0f} ms", "", None, f"≤ {PAGE_MS:.0f} ms", ms <= PAGE_MS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    main(asked.people, asked.rows)
