"""What a long history costs the pages of a manager and an admin: millions of opens, each page timed and recounted.

A small run: `python -m benchmarks.history --opens 1000000`. The rows are written by SQL as recorders would leave them,
with the triggers off, then counted anew as the product does; a last part is written with the triggers on, a batch of a
recorder at a time, beside the same without.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base import db
from base.clock import FixedClock, monotonic
from base.vault import Vault
from benchmarks import world
from benchmarks.ledger import CLONED
from benchmarks.report import Report
from campaigns import arms, exits, goals, guardreport, opentally, profit, reckoning, tally
from campaigns.models import Campaign, Occurrence
from campaigns.overview import overview
from campaigns.presenting import number
from campaigns.reports import report
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web
from tests.recount import recount
from workers import reckoner

OPENS: Final = 10_000_000
OPENS_A_MAIL: Final = 10
RUNS: Final = 2
PIECE: Final = 250_000
BATCH, LATE = 200, 20_000
"""Opens of a recorder's batch, and how many are written in batches."""
PAGE_MS: Final = 500.0
TRIES: Final = 5
DAYS: Final = 60
"""The opens are spread over so many days, up to now."""
_PEOPLE: Final = (
    *CLONED[:2],
    CLONED[2].replace(
        "s.document,",
        "jsonb_set(s.document, '{traits,gender}', to_jsonb(CASE n % 3 WHEN 0 THEN 'male' ELSE 'female' END)),",
    ),
    "INSERT INTO subject (profile_id, subject_id, wrapped_key, created_at)"
    " SELECT n, md5(n::text)::uuid, '', p.created_at FROM profile p,"
    " generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n WHERE p.id = :one",
)
_MAILED: Final = """
    INSERT INTO delivery (campaign_id, occurrence, profile_id, channel, address_hash, state, holdout, plan_hash,
        created_at, sent_at, settled_at)
    SELECT :campaign, :run, n, 'email', sha256(n::text::bytea), 'accepted',
        CASE WHEN n % 10 = 0 THEN 'content' ELSE 'none' END, :plan, :sent, :sent, :sent
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n
"""
_OPENED: Final = """
    FROM (
        SELECT n, lpad(to_hex(n), 32, '0') AS id, (n / 2) % :people + 1 AS profile, n % 2 + 1 AS run,
               CAST(:began AS timestamptz) + :span * (n::float8 / :all) AS at, CAST(hashint8(n) & 65535 AS int) AS h
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n
    ) o
"""
_DECISIONS: Final = f"""
    INSERT INTO decision (id, at, profile_id, subject_id, campaign_id, occurrence, lane, open_number, plan_hash, seed,
        state_version, rung, lost, slots, shadow, public, public_sha256, ms)
    SELECT id, at, profile, md5(profile::text)::uuid, :campaign, run, 'live', 1, :plan, '1', 1,
        CASE WHEN h % 50 = 0 THEN 'default' ELSE 'model' END, false,
        jsonb_build_object('0', (CAST(:offers AS int[]))[1 + h % 3], '1', (CAST(:offers AS int[]))[4]),
        CASE WHEN profile % 10 <> 0 THEN
            jsonb_build_object('0', (CAST(:offers AS int[]))[1 + (h / 7) % 3], '1', (CAST(:offers AS int[]))[4]) END,
        '{{"refused":[]}}', '', 1.5 {_OPENED}
"""
_FETCHES: Final = f"""
    INSERT INTO "fetch" (id, at, profile_id, subject_id, campaign_id, occurrence, decision_id, decision_at, slot, kind,
        lane, fetch_class, size, content_type, personal, rung, public, public_sha256, ms)
    SELECT id, at, profile, md5(profile::text)::uuid, :campaign, run, id, at, (h / 3) % 2, 'picture', 'live',
        CASE WHEN h % 20 < 10 THEN 'person' WHEN h % 20 < 14 THEN 'proxy' WHEN h % 20 < 17 THEN 'undecided'
             WHEN h % 20 < 19 THEN 'prefetch' ELSE 'scanner' END,
        20000, 'image/jpeg', false, CASE WHEN h % 97 = 0 THEN 'default' ELSE 'cached' END, '', '',
        1 + (h % 4096) / 137.0 {_OPENED}
"""
_CLICKS: Final = f"""
    INSERT INTO click (id, at, profile_id, subject_id, campaign_id, occurrence, slot, fetch_class, decision_id,
        decision_at, offer_id, outcome, ambiguous, public, public_sha256)
    SELECT id, at, profile, md5(profile::text)::uuid, :campaign, run, 0,
        CASE WHEN h % 100 = 0 THEN 'scanner' ELSE 'person' END, id, at, (CAST(:offers AS int[]))[1 + h % 3],
        'redirect', h % 40 = 0, '', '' {_OPENED} WHERE n % 20 = 0
"""
_ORDERS: Final = f"""
    INSERT INTO event (message_id, source_id, profile_id, type, name, event_time, received_at, order_id,
        order_total_cents, content_hash, folds, body, figures)
    SELECT 'bench-' || n, :source, profile, 'track', 'Order Completed', at, at, 'o-' || n, 1000 + h % 9000, '', true,
        '',
        '{{"properties":{{"currency":"EUR"}}}}' {_OPENED} WHERE n % 100 = 0
"""
_CREDITED: Final = """
    INSERT INTO outcome (rule, event_id, order_id, at, credited_at, profile_id, campaign_id, occurrence, decision_id,
        decision_at, offer_id, slot, cents, currency)
    SELECT 'clicked-7d', e.id, e.order_id, e.event_time, e.event_time, e.profile_id, :campaign, 1, 'd', e.event_time,
        (CAST(:offers AS int[]))[1 + e.id % 3], 0, e.order_total_cents, 'EUR' FROM event e WHERE e.order_id LIKE 'o-%'
"""
_HOUR: Final = """
    SELECT count(*) FILTER (WHERE at >= :since) AS opens,
           count(*) FILTER (WHERE at >= :since AND rung = 'default') AS less
    FROM decision WHERE lane = 'live'
"""


class History:
    """A shop with one campaign of a long history."""

    def __init__(self, shop: Shop, opens: int) -> None:
        self.shop = shop
        self.opens = opens
        self.people = max(1_000, opens // OPENS_A_MAIL // RUNS)
        shop.people("first", gender="other")
        self.offers = [shop.offer() for _ in range(3)]
        self.campaign = shop.campaign(guard="offers")
        with shop.sessions.begin() as session:
            row = session.get_one(Campaign, self.campaign)
            row.state, self.plan = "finished", row.plan_hash
            self.offers.append(row.slots[0]["default"])
            for run in range(1, RUNS + 1):
                sent = self.sent(run)
                session.add(
                    Occurrence(campaign_id=self.campaign, number=run, state="finished", due_at=sent, frozen_at=sent)
                )
            goals.name_goal(session, self.campaign, "orders", 14, self.sent(1), MANAGER)
            profit.name_terms(session, self.campaign, 0.35, 14, 500, 600, self.sent(1), MANAGER)

    def sent(self, run: int) -> Any:
        return self.shop.now - timedelta(days=DAYS - 20 * (run - 1))

    def fill(self) -> None:
        """Everything up to the late opens, in pieces, with the triggers off."""
        (one,) = self.shop.known().values()
        for first, last in _pieces(one + 1, self.people):
            self._write(_PEOPLE, {"first": first, "last": last, "one": one})
        for run in range(1, RUNS + 1):
            for first, last in _pieces(1, self.people):
                given = {"campaign": self.campaign, "run": run, "plan": self.plan, "sent": self.sent(run)}
                self._write((_MAILED,), given | {"first": first, "last": last})
        for first, last in _pieces(1, self.opens - LATE):
            self._write((_DECISIONS, _FETCHES, _CLICKS, _ORDERS), self.given(first, last))
        self._write((_CREDITED,), {"campaign": self.campaign, "offers": self.offers})
        with self.shop.sessions.begin() as session:
            session.execute(text("ANALYZE"))

    def given(self, first: int, last: int) -> dict[str, Any]:
        """What the statements of opens are given."""
        return {
            "campaign": self.campaign, "plan": self.plan, "offers": self.offers, "people": self.people,
            "began": self.shop.now - timedelta(days=DAYS), "span": timedelta(days=DAYS), "all": self.opens,
            "first": first, "last": last, "source": self.shop.source.id,
        }  # fmt: skip

    def _write(self, statements: tuple[str, ...], given: dict[str, Any]) -> None:
        with self.shop.sessions.begin() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                session.execute(text(statement), given)


def main(opens: int = OPENS) -> None:
    """Run it and print the report."""
    made = Report("history")
    with world.world(database=True) as place:
        engine = db.connect(place.settings.database_url, vault=Vault.of(place.settings), statement_ms=0)
        shop = Shop(place.settings, db.sessions(engine), place.store, FixedClock(world.now()))
        began = monotonic()
        history = History(shop, opens)
        history.fill()
        made.add(f"{opens:,} opens of {history.people:,} people written by SQL", f"{monotonic() - began:.0f} s")
        _count(made, history)
        _late(made, history)
        _reckon(made, history)
        _pages(made, history)
        _recounted(made, history)
        with shop.sessions.begin() as session:
            size = session.scalar(text("SELECT pg_database_size(current_database())")) or 0
            kept = session.scalar(text("SELECT pg_total_relation_size('sight_count')")) or 0
        made.add("the database, and who was seen by whom in it", f"{size / 2**30:.1f} GB", f"{kept / 2**30:.2f} GB")
        made.add("one-minute load of the machine", f"{os.getloadavg()[0]:.1f}")
        # The last comparison takes as long as all counting before.
        made.show()
        _recounted_changes(made, history)
        engine.dispose()
    made.show()


def _pieces(first: int, last: int) -> list[tuple[int, int]]:
    return [(start, min(last, start + PIECE - 1)) for start in range(first, last + 1, PIECE)]


def _count(made: Report, history: History) -> None:
    began = monotonic()
    with history.shop.sessions.begin() as session:
        tally.rebuild(session, history.campaign)
        opentally.rebuild(session, history.campaign)
    with history.shop.sessions.begin() as session:
        opentally.fold(session)
    made.add("all records counted anew, as the product does it", f"{monotonic() - began:.0f} s")


def _late(made: Report, history: History) -> None:
    """The last opens a batch at a time, half of them with the triggers, in turns."""
    took = {True: 0.0, False: 0.0}
    first = history.opens - LATE + 1
    for turn, start in enumerate(range(first, history.opens + 1, BATCH)):
        counted = turn % 2 == 1
        began = monotonic()
        with history.shop.sessions.begin() as session:
            if not counted:
                session.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in (_DECISIONS, _FETCHES, _CLICKS):
                session.execute(text(statement), history.given(start, start + BATCH - 1))
        took[counted] += monotonic() - began
        if not counted:
            # Not counted is not kept: what is compared below was written as the product writes it.
            with history.shop.sessions.begin() as session:
                session.execute(text("SET LOCAL session_replication_role = replica"))
                ids = {"first": f"{start:032x}", "last": f"{start + BATCH - 1:032x}"}
                for table in ('"fetch"', "click", "decision"):
                    session.execute(text(f"DELETE FROM {table} WHERE id BETWEEN :first AND :last"), ids)
    opens = LATE / 2
    made.add(
        f"an open written with its counts, {BATCH} at a time", f"{1e6 * took[True] / opens:.0f} µs",
        f"without {1e6 * took[False] / opens:.0f} µs", took[True] / took[False],
    )  # fmt: skip


def _reckon(made: Report, history: History) -> None:
    shop = history.shop
    began = monotonic()
    with shop.sessions.begin() as session:
        reckoner.count(session, shop.blobs, history.campaign, shop.now)
    made.add("success, arms, profit, exits and fairness counted in the background", f"{monotonic() - began:.0f} s")


def _pages(made: Report, history: History) -> None:
    web = Web(history.shop)
    campaign = f"/campaigns/{history.campaign}"
    manager, admin, support = (web.desk(role) for role in ("manager", "admin", "support"))
    program = web.program("manager")
    asked: dict[str, Callable[[], Any]] = {
        path: lambda path=path: manager.get(path)  # type: ignore[misc]
        for path in (
            "/", "/campaigns/", *(f"{campaign}/{tab}" for tab in (
                "audience", "offers", "schedule", "progress", "results", "fairness", "ledger", "ledger?state=failed"
            )),
        )
    }  # fmt: skip
    asked |= {path: lambda path=path: admin.get(path) for path in ("/system/", "/system/kept", "/system/chain")}  # type: ignore[misc]
    asked |= {path: lambda path=path: support.get(path) for path in ("/customers/", "/customers/77")}  # type: ignore[misc]
    asked |= {
        f"API {path}": lambda path=path: program.call("GET", f"{campaign}/{path}")  # type: ignore[misc]
        for path in ("report", "success", "arms", "profit", "fairness")
    }
    asked["/metrics"] = lambda: web.stranger().get("/metrics")
    for what, ask in asked.items():
        took = []
        for _ in range(TRIES):
            began = monotonic()
            answer = ask()
            took.append(1000 * (monotonic() - began))
            if answer.status_code != 200:
                raise SystemExit(f"{what} answered {answer.status_code}")
        name = what.replace(str(history.campaign), "<id>")
        ms = median(took)
        made.add(name, f"{ms:.0f} ms, at most {max(took):.0f}", "", None, f"≤ {PAGE_MS:.0f} ms", ms <= PAGE_MS)
    page = manager.get(f"{campaign}/results").text
    with history.shop.sessions.begin() as session:
        found = recount(session, history.campaign)
    told = (found.mailed, found.opens.surely, found.opens.possibly, found.swap.differing, found.clicks, found.fallback)
    missing = [value for value in told if number(value) not in page]
    if missing:
        raise SystemExit(f"the page does not say {missing}")
    web.close()


def _recounted(made: Report, history: History) -> None:
    """Every number of the results and of the home page against a plain recount of the rows."""
    shop, campaign = history.shop, history.campaign
    with shop.sessions.begin() as session:
        began = monotonic()
        ours = report(session, campaign)
        kept_s, began = monotonic() - began, monotonic()
        theirs = recount(session, campaign)
        plain_s = monotonic() - began
        ratio = kept_s / plain_s
        made.add("the report's numbers, beside a plain recount", f"{1000 * kept_s:.0f} ms", f"{plain_s:.1f} s", ratio)
        _same(made, "all of them", ours == theirs)
        seen = overview(session, shop.now)
        plain = session.execute(text(_HOUR), {"since": shop.now - timedelta(hours=1)}).one()
        same = (seen.opens_hour, seen.fallback_hour) == (plain.opens, plain.less)
        _same(made, "the home page's opens and defaults of the hour", same)


def _recounted_changes(made: Report, history: History) -> None:
    """What was counted in the background against what a page counts when it counts itself."""
    with history.shop.sessions.begin() as session:
        kept = _changed(session, history)
        limit, reckoning.LIVE = reckoning.LIVE, 10**12  # type: ignore[misc]
        try:
            same = _changed(session, history) == kept
        finally:
            reckoning.LIVE = limit  # type: ignore[misc]
        _same(made, "success, arms, profit, exits and guard, counted by the page itself", same)


def _same(made: Report, what: str, same: bool) -> None:
    made.add(what, "the same" if same else "differ", aim="the same", met=same)


def _changed(session: Session, history: History) -> Any:
    row, now = session.get_one(Campaign, history.campaign), history.shop.now
    earned = profit.profit(session, row.id, now)
    return (
        [(one.groups, one.arms, one.up_front) for one in goals.outcomes(session, row.id, now)],
        arms.checks(session, row),
        earned.groups if earned else (),
        exits.exits(session, history.shop.blobs, row, now),
        guardreport.guard_report(session, row.id).lines,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--opens", type=int, default=OPENS)
    main(parser.parse_args().opens)
