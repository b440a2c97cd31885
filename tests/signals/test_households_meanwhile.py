"""Households while others write the same people: a merge that overlaps, rows that are held, a crowded household."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.clock import monotonic, pause
from base.db import Binaries
from signals import claiming, cohabiting, grouping, joining
from signals.grouping import HOUSEHOLD_MOST
from signals.homes import Said
from signals.intake import regroup
from tests.signals.living import LATER, SIDE, lives, people
from tests.signals.sending import NOW, Desk, identified


def test_it_leaves_no_home_behind_of_who_is_merged_while_their_home_is_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.send(identified("ann"))
    desk.send(identified("amy"))
    ann, amy = desk.root("user_id", "ann"), desk.root("user_id", "amy")
    with desk.sessions.begin() as session:
        word = claiming.Statement(amy, Said("home", "main street 12"), NOW, "m", desk.server.id)
        claiming.keep(session, [word], desk.intake.hash_key)
        claiming.queue(session, [amy])
    merging = Session(desk.sessions.kw["bind"])
    joining._join(desk.intake, ann, amy, NOW, "x", merging)
    members = grouping._members

    def after_the_merge(session: Session, *given: Any) -> dict[bytes, list[Any]]:
        merging.commit()
        return members(session, *given)

    monkeypatch.setattr(grouping, "_members", after_the_merge)
    regroup(desk.intake, {amy}, NOW)
    monkeypatch.setattr(grouping, "_members", members)
    merging.close()
    assert desk.root("user_id", "amy") == ann
    regroup(desk.intake, {ann}, NOW)
    assert desk.rows("SELECT profile_id FROM dwelling") == [(ann,)]
    assert people(desk, "ann") == [0], "nobody is two by being known twice"
    assert desk.rows("SELECT count(*) FROM household_due") == [(0,)]


@pytest.mark.parametrize("by", ["a move", "a hand"])
def test_it_keeps_nobody_waiting_for_a_household_that_somebody_else_writes(desk: Desk, by: str) -> None:
    desk.send(identified("ann"), lives("bob"), lives("eve"), lives("dee", SIDE))
    bob = desk.root("user_id", "bob")
    with Session(desk.sessions.kw["bind"]) as importing, ThreadPoolExecutor(1) as pool:
        for held in ("SELECT id FROM profile WHERE id = :p FOR UPDATE",
                     "UPDATE household_claim SET source_id = source_id WHERE profile_id = :p"):  # fmt: skip
            importing.execute(text(held), {"p": bob})
        slow: Future[Any]
        if by == "a move":
            slow = pool.submit(desk.send, lives("ann"))
        else:
            slow = pool.submit(cohabiting.leave, desk.intake, bob, "moved out", NOW, by="x")
        deadline = monotonic() + 60
        while not desk.rows(_WAITS):
            assert monotonic() < deadline, "it does not wait for bob"
            pause(0.01)
        desk.send(lives("cy", SIDE, LATER))
        assert not slow.done()
        assert people(desk, "cy", "dee") == [2, 2], "in effect for the next open, whatever is imported"
        importing.rollback()
        slow.result()
    assert people(desk, "ann", "bob", "eve") == ([3, 3, 3] if by == "a move" else [0, 0, 0])
    assert desk.rows("SELECT count(*) FROM household_due") == [(0,)]


def test_it_reads_no_more_of_a_crowded_household_than_makes_it_too_large(desk: Desk) -> None:
    desk.run("""
        INSERT INTO dwelling (profile_id, household, elsewhere, facts)
        SELECT n, CASE WHEN n % 2 = 0 THEN CAST('crowd' AS bytea) END,
               CASE WHEN n % 2 = 0 THEN ARRAY[]::bytea[] ELSE ARRAY[CAST('crowd' AS bytea)] END,
               CASE WHEN n > 7990 THEN CAST('told' AS bytea) END
        FROM generate_series(1, 8000) AS n
    """)
    desk.run("ANALYZE dwelling")
    keys = Binaries([b"crowd"])
    with desk.sessions.begin() as session:
        found = grouping._members(session, [b"crowd"], 0)[b"crowd"]
        explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {grouping._MEMBERS.text}")
        (plan,) = session.scalar(explained, {"keys": keys, "most": HOUSEHOLD_MOST + 1})
    rows = {node["Node Type"]: node["Actual Rows"] for node in nodes(plan["Plan"]) if node.get("Relation Name")}
    assert rows, "the table is read"
    assert max(rows.values()) <= HOUSEHOLD_MOST + 1, rows
    at_home = [row.profile_id for row in found if not row.away]
    assert {7992, 7994, 7996, 7998, 8000} < set(at_home), "who is told of it comes first"
    assert [len(found), len(at_home)] == [2 * (HOUSEHOLD_MOST + 1), HOUSEHOLD_MOST + 1]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


_WAITS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
