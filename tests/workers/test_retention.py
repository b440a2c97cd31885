"""Retention: records go by class and age, what they counted stays, and no bytes go that somebody relies on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from base import keys
from base.db import transaction
from campaigns import reports, served
from campaigns.reports import Report
from campaigns.retention import Policy, months
from tests.campaigns.web import Web, told
from tests.promises.reader import APPLE, GMAIL, SCANNER
from tests.streams import a_stream, entries
from tests.workers.opens import Opens
from workers.checkup import examine
from workers.repair import Repairs
from workers.retention import Retention
from workers.schedule import Scheduler

DAY = timedelta(days=1)
POLICY = Policy(400 * DAY, 90 * DAY, 30 * DAY)
TABLES = ("decision", "fetch", "click")


class Keeper:
    """Opens, and the loop that lets go of them."""

    def __init__(self, opens: Opens) -> None:
        self.opens = opens
        self.loop = Retention(opens.shop.sessions, opens.shop.blobs, POLICY)

    def let_go(self) -> None:
        """Store what waits and let go of everything that is due; blobs count as old."""
        self.opens.record()
        self.opens.following.idle()
        past = time.time() - 10 * 86_400
        for path in Path(self.opens.shop.settings.blob_url).glob("*/*"):
            os.utime(path, (past, past))
        for _ in range(1000):
            if not self.loop.step(self.opens.shop.now):
                return
        raise AssertionError("it never comes to an end")

    def report(self) -> Report:
        """The report but for the times of answers, which are those of the rows that are left."""
        with self.opens.shop.sessions.begin() as session:
            found = reports.report(session, self.opens.campaign)
        return replace(found, p50_ms=None, p99_ms=None)

    def counts(self) -> tuple[int, ...]:
        return tuple(self.opens.count(table) for table in TABLES)

    def classes(self) -> set[str]:
        return {row.fetch_class for row in self.opens.rows('SELECT DISTINCT fetch_class FROM "fetch"')}

    def later(self, by: timedelta) -> None:
        self.opens.shop.clock.advance(by)
        self.opens.forget()


@pytest.fixture
def keeper(opens: Opens) -> Keeper:
    return Keeper(opens)


@pytest.fixture
def web(opens: Opens) -> Iterator[Web]:
    made = Web(opens.shop)
    yield made
    made.close()


def a_quarter_of_a_year(keeper: Keeper) -> None:
    """People and machines of all kinds look at a mail and click in it, again and again over three months."""
    opens = keeper.opens
    mails = opens.send("ann", "bob", "cyd", discount={"cap_total": 10})
    shop = opens.shop
    for month in range(3):
        for name, agent in (("ann", None), ("bob", GMAIL), ("cyd", APPLE), ("bob", SCANNER), ("cyd", SCANNER)):
            if (month, name) not in ((1, "ann"), (2, "bob")):
                for slot in (0, 1):
                    opens.look(mails[name], slot, *([agent] if agent else []))
                opens.get(mails[name].clicks[0], *([agent] if agent else []))
            keeper.later(timedelta(hours=2))
        if month == 1:
            opens.get(mails["ann"].clicks[0])
            shop.send(shop.order("ann", "Shoes", shop.now))
        opens.record()
        opens.following.idle()
        keeper.later(30 * DAY)


@pytest.mark.feature("OP-09")
def test_it_lets_go_by_class_and_age_and_every_count_stays(keeper: Keeper) -> None:
    a_quarter_of_a_year(keeper)
    before, stored = keeper.report(), keeper.counts()
    assert (before.opens.surely, before.opens.possibly, before.opens.machine) == (2, 3, 2)
    assert before.swap.differing > 0
    assert before.clicks > 0
    assert before.machine_clicks > 0
    assert {line.offer for line in before.offers} >= {keeper.opens.discount, keeper.opens.thanks}
    last = keeper.opens.shop.now - 30 * DAY
    ages: dict[str, timedelta] = {}
    while any(keeper.counts()):
        keeper.let_go()
        assert keeper.report() == before
        age = keeper.opens.shop.now - last
        ages |= dict.fromkeys(keeper.classes(), age)
        ages |= {table: age for table, number in zip(TABLES, keeper.counts(), strict=True) if number}
        assert age < 500 * DAY
        keeper.later((58 if age < 370 * DAY else 29) * DAY)
    # The newest of each kind was last there when it was younger than its age, and gone at the look after that.
    assert set(ages) == {"person", "proxy", "undecided", "scanner", *TABLES}
    assert 60 * DAY < ages["scanner"] < 91 * DAY
    assert 370 * DAY < ages["person"] < 401 * DAY
    assert ages["decision"] > ages["fetch"]
    assert stored > (0, 0, 0)


@pytest.mark.feature("OP-09")
def test_it_drops_months_that_are_over_and_takes_back_what_came_late(keeper: Keeper) -> None:
    opens = keeper.opens
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.look(mail, 1)
    waiting = entries(opens.shop.store)
    keeper.let_go()
    late = [fields for _, fields in waiting[1:]]
    with opens.shop.sessions.begin() as session:
        assert months(session, "fetch")[0] == "fetch_2026_03"
    keeper.later(520 * DAY)
    keeper.let_go()
    with opens.shop.sessions.begin() as session:
        assert all("2026" not in name for table in TABLES for name in months(session, table))
    counted = keeper.report().opens
    for fields in late:
        opens.shop.store.xadd(a_stream(opens.shop.store), fields)
    opens.record()
    assert opens.count("fetch") > 0
    keeper.let_go()
    assert keeper.counts() == (0, 0, 0)
    with opens.shop.sessions.begin() as session:
        assert all("2026" not in name for table in TABLES for name in months(session, table))
    # Who came back after everything of the first time had gone is counted once more, and says so in the documents.
    assert keeper.report().opens.surely == counted.surely + 1


def test_it_sweeps_bytes_and_facts_that_nobody_was_shown_for_long(keeper: Keeper) -> None:
    opens = keeper.opens
    mails = opens.send("ann", "bob")
    opens.look(mails["ann"])
    opens.look(mails["bob"], 1, SCANNER)
    keeper.let_go()
    blobs = opens.shop.blobs
    kept = {row.sha256: row for row in opens.rows("SELECT sha256, blob, seen_at FROM served_bytes")}
    shared = {row.shared_hash for row in opens.rows("SELECT shared_hash FROM sent_facts")}
    machine_only = [row.blob for row in kept.values() if row.seen_at is None]
    assert len(kept) == 2
    assert len(machine_only) == len(shared) == 1
    keeper.later(91 * DAY)
    keeper.let_go()
    assert not blobs.exists(machine_only[0])
    # A picture that goes on being looked at stays, whoever saw it first.
    keeper.later(300 * DAY)
    opens.look(mails["bob"])
    keeper.let_go()
    (row,) = opens.rows("SELECT sha256, blob FROM served_bytes")
    assert blobs.exists(row.blob)
    assert opens.count("sent_facts") == 2
    keeper.later(401 * DAY)
    keeper.let_go()
    assert opens.count("served_bytes") == opens.count("sent_facts") == 0
    assert not blobs.exists(shared.pop())
    assert not blobs.exists(row.blob)
    plans = [plan.hash for plan in opens.rows("SELECT hash FROM plan")]
    assert plans
    assert all(blobs.exists(plan) for plan in plans)


def test_it_leaves_bytes_that_something_else_names_or_that_are_young(keeper: Keeper) -> None:
    opens = keeper.opens
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.look(mail, 1)
    keeper.let_go()
    named, young = (row.blob for row in opens.rows("SELECT blob FROM served_bytes ORDER BY blob"))
    with opens.shop.sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE campaign SET kill_picture = %s", (named,))
    keeper.later(500 * DAY)
    opens.shop.blobs.put(opens.shop.blobs.get(young))
    assert keeper.loop.step(opens.shop.now)
    while keeper.loop.step(opens.shop.now):
        pass
    assert opens.shop.blobs.exists(named)
    assert opens.shop.blobs.exists(young)
    assert [row.blob for row in opens.rows("SELECT blob FROM served_bytes")] == [young]


def test_it_waits_for_nobody_and_loses_nothing_that_is_recorded_meanwhile(keeper: Keeper) -> None:
    opens = keeper.opens
    mail = opens.send("ann")["ann"]
    body = opens.look(mail)
    keeper.let_go()
    keeper.later(500 * DAY)
    shop, now = opens.shop, opens.shop.now
    (row,) = opens.rows("SELECT sha256, owner, blob, content_type FROM served_bytes")
    assert row.owner == served.EVERYBODY
    done = threading.Event()

    def record_again() -> None:
        with transaction(shop.sessions) as session:
            served.keep(session, shop.blobs, body, row.sha256, row.content_type, None, now)
        done.set()

    writer = threading.Thread(target=record_again)
    with shop.sessions.begin() as session:
        # As the loop does: the row is locked and its bytes are gone, but it has not committed.
        assert keeper.loop._sweep(session, now)
        writer.start()
        assert not done.wait(0.3), "the recorder took a row for good that is being deleted"
    writer.join(10)
    assert done.is_set()
    (again,) = opens.rows("SELECT blob FROM served_bytes")
    assert shop.blobs.exists(again.blob)


def test_it_runs_in_the_schedule_loop_and_keeps_total_caps_taken(keeper: Keeper) -> None:
    opens, shop = keeper.opens, keeper.opens.shop
    mails = opens.send("ann", "bob", discount={"cap_total": 3})
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    keeper.later(500 * DAY)
    scheduler = Scheduler(shop.settings, shop.sessions, shop.store, shop.queues, shop.blobs, shop.clock)
    for _ in range(3):
        scheduler.tick()
    assert keeper.counts() == (0, 0, 0)
    shop.store.delete(keys.cap(opens.discount))
    Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key).restore_cap(opens.discount)
    assert shop.store.hget(keys.cap(opens.discount), "left") == b"1"


@pytest.mark.feature("OP-09")
def test_it_says_on_the_pages_that_something_has_expired(keeper: Keeper, web: Web) -> None:
    opens = keeper.opens
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.send(opens.shop.order("ann", "Shoes", opens.shop.now + timedelta(minutes=5)))
    keeper.later(timedelta(hours=1))
    opens.record()
    for _ in range(3):
        opens.following._credited_at = -1e9
        opens.following.idle()
    assert opens.count("outcome") == 1
    (row,) = opens.rows('SELECT d.id, f.sha256, d.profile_id FROM decision d JOIN "fetch" f ON f.decision_id = d.id')
    place = f"/customers/{row.profile_id}/opens/{row.id}"
    picture = f"{place}/{row.sha256.hex()}"
    desk, program = web.desk("support"), web.program("support")
    assert desk.get(place).status_code == desk.get(picture).status_code == 200
    # The bytes alone are gone, and cannot be drawn again: the page stands, with a picture that says so.
    for kept in opens.rows("SELECT blob FROM served_bytes"):
        opens.shop.blobs.delete(kept.blob)
    with opens.shop.sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE decision SET personal = NULL")
    assert desk.get(place).status_code == 200
    gone = desk.client.get(picture, headers={"Accept": "image/avif,image/webp,image/svg+xml,*/*;q=0.8"})
    assert (gone.status_code, gone.mimetype) == (410, "image/svg+xml")
    assert "No copy is kept any more" in gone.text
    followed = desk.client.get(picture, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (followed.status_code, "has expired" in followed.text) == (410, True)
    keeper.later(440 * DAY)
    keeper.let_go()
    desk = web.browser("support")  # Nobody stays signed in for so long.
    expired = desk.get(place)
    assert (expired.status_code, "This has expired" in expired.text) == (410, True)
    assert told(program.call("GET", place), 410)["title"] == "This has expired"
    page = desk.get(f"/customers/{row.profile_id}").text
    assert "what it showed then has expired" in page
    assert "is kept for 400 days" in page
    assert desk.get(f"/customers/{row.profile_id}/opens/{'0' * 32}").status_code == 404


@pytest.mark.feature("OP-09")
def test_it_says_what_is_kept(keeper: Keeper, web: Web) -> None:
    opens = keeper.opens
    opens.look(opens.send("ann")["ann"])
    opens.record()
    kept = web.program("admin").told("GET", "/system/kept")
    assert [rule["days"] for rule in kept["rules"]] == [400, 90, 30]
    rows = {table["what"]: table["rows"] for table in kept["tables"]}
    assert rows == {"decision": 1, "fetch": 1, "click": 0, "anonymous_fetch": 0, "served_bytes": 1}
    assert kept["bytes_per_open"] is None, "one open says nothing of many"
    page = web.desk("admin").get("/system/kept")
    assert page.status_code == 200
    assert "400 days" in page.text
    (found,) = (one for one in examine(opens.shop.settings) if one.part == "retention")
    assert found.well
    assert found.words.startswith("people's opens 400 days, machines' 90, tests' 30; 1 opens")
