"""The kept counts of what happened at opens are those of the rows after every move, and can be made anew from them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import opentally
from campaigns.reports import Report, report
from tests.campaigns.shop import Shop
from tests.recount import recount
from workers.commands.rebuild import count_anew

SEEDS, MOVES, DECISIONS = 25, 40, 4
AT = datetime(2026, 3, 1, tzinfo=UTC)
CLASSES = ("person", "proxy", "undecided", "prefetch", "scanner", "test", "staff")
RUNGS = ("drawn", "cached", "default", "static")
FETCH = """
    INSERT INTO "fetch" (id, at, profile_id, subject_id, campaign_id, occurrence, decision_id, decision_at, slot, kind,
        lane, fetch_class, size, content_type, personal, rung, public, public_sha256, ms)
    VALUES (:id, :at, 1, :subject, :campaign, :occurrence, :decision, :decision_at, :slot, 'picture', 'live', :class, 1,
        'image/png', false, :rung, '', '', :ms)
    ON CONFLICT (id, at) DO UPDATE SET rung = excluded.rung, ms = excluded.ms
        WHERE excluded.rung IN ('default', 'static') AND "fetch".rung NOT IN ('default', 'static')
"""
DECISION = """
    INSERT INTO decision (id, at, subject_id, campaign_id, occurrence, lane, open_number, plan_hash, seed, rung, lost,
        slots, shadow, public, public_sha256)
    VALUES (:id, :at, :subject, :campaign, :occurrence, :lane, 1, '', '', :rung, false, CAST(:slots AS jsonb),
        CAST(:shadow AS jsonb), '', '')
    ON CONFLICT DO NOTHING
"""
CLICK = """
    INSERT INTO click (id, at, subject_id, campaign_id, occurrence, slot, fetch_class, offer_id, ambiguous, unseen,
        unresolved, outcome, public, public_sha256)
    VALUES (:id, :at, :subject, :campaign, :occurrence, 0, :class, :offer, :ambiguous, :unseen, :unresolved, :outcome,
        '', '')
    ON CONFLICT DO NOTHING
"""
NAMELESS = """
    INSERT INTO anonymous_fetch (id, at, campaign_id, occurrence, slot, kind, fetch_class, offer_id, rung)
    VALUES (:id, :at, :campaign, :occurrence, 0, :kind, :class, :offer, 'drawn') ON CONFLICT DO NOTHING
"""
OUTCOME = """
    INSERT INTO outcome (rule, event_id, at, credited_at, campaign_id, occurrence, decision_id, decision_at, offer_id,
        cents, currency)
    VALUES ('clicked-7d', :event, :at, :at, :campaign, :occurrence, 'd', :at, :offer, :cents, :currency)
    ON CONFLICT DO NOTHING
"""


class Rows:
    """Random rows of a campaign and random moves of them, each a statement of its own.

    Its decisions are there from the start: a fetch is dated only by one that is stored.
    """

    def __init__(self, session: Session, campaign: int, chance: random.Random) -> None:
        self._session = session
        self._campaign = campaign
        self._chance = chance
        self.moves: tuple[Callable[[], None], ...] = (
            self.fetch, self.fetch, self.fetch, self.fetch, self.click, self.click, self.nameless, self.order,
            self.tell_again, self.date, self.shade, self.mark, self.correct, self.unname, self.expire, self.fold,
        )  # fmt: skip
        for number in range(DECISIONS):
            self.decide(number)

    def run(self, query: str, **values: Any) -> None:
        self._session.execute(text(query), {"campaign": self._campaign} | values)

    def any_of(self, *values: Any) -> Any:
        return self._chance.choice(values)

    def somebody(self) -> dict[str, Any]:
        number = self._chance.randrange(4)
        return {
            "id": f"{self._chance.randrange(12):032x}", "at": AT + timedelta(days=40 * self._chance.randrange(2)),
            "subject": UUID(int=number) if number else None, "occurrence": self.any_of(1, 1, 2, TEST_BIT + 1),
        }  # fmt: skip

    def fetch(self) -> None:
        decision = self._chance.randrange(DECISIONS)
        self.run(
            FETCH, **self.somebody(), decision=f"{decision:032x}", decision_at=self.any_of(None, AT),
            slot=self.any_of(0, 1, 255), rung=self.any_of(*RUNGS), ms=self.any_of(None, 0.04, 0.05, 1.25, 3.0, 71.449),
            **{"class": self.any_of(*CLASSES)},
        )  # fmt: skip

    def decide(self, number: int) -> None:
        offers = [self._chance.randrange(1, 4) for _ in range(2)]
        self.run(
            DECISION, **self.somebody() | {"id": f"{number:032x}", "at": AT}, lane=self.any_of("live", "machine"),
            rung=self.any_of("rules", "default"), slots=f'{{"0": {offers[0]}, "1": {offers[1]}}}',
            shadow=self.any_of(None, '{"0": 1, "1": 1}'),
        )  # fmt: skip

    def click(self) -> None:
        flags = {name: self.any_of(True, False) for name in ("ambiguous", "unseen", "unresolved")}
        outcome = self.any_of("redirect", "redirect", "taken")
        kind = {"class": self.any_of(*CLASSES)}
        self.run(CLICK, **self.somebody(), **flags, **kind, offer=self.any_of(None, 1, 2), outcome=outcome)

    def nameless(self) -> None:
        kind = {"class": self.any_of(*CLASSES), "kind": self.any_of("picture", "click")}
        self.run(NAMELESS, **self.somebody(), **kind, offer=self.any_of(None, 1, 2))

    def order(self) -> None:
        event, currency = self._chance.randrange(6), self.any_of(None, "eur", "EUR", "USD", "", "a/b")
        self.run(OUTCOME, **self.somebody(), event=event, offer=self.any_of(None, 1, 2), cents=700, currency=currency)

    def tell_again(self) -> None:
        kind = {"class": self.any_of(*CLASSES), "slot": self.any_of(0, 1)}
        table = self.any_of('"fetch"', "click")
        self.run(f"UPDATE {table} SET fetch_class = :class WHERE slot = :slot AND campaign_id = :campaign", **kind)

    def date(self) -> None:
        late = 'UPDATE "fetch" f SET decision_at = d.at FROM decision d WHERE d.id = f.decision_id'
        self.run(f"{late} AND f.decision_at IS NULL AND f.campaign_id = :campaign")

    def shade(self) -> None:
        self.run("UPDATE decision SET shadow = slots WHERE shadow IS NULL AND campaign_id = :campaign")

    def mark(self) -> None:
        self.run("UPDATE click SET ambiguous = NOT ambiguous WHERE campaign_id = :campaign")

    def correct(self) -> None:
        self.run("UPDATE outcome SET cents = cents - 200 WHERE event_id < 3 AND campaign_id = :campaign")

    def unname(self) -> None:
        self.run('UPDATE "fetch" SET profile_id = NULL WHERE campaign_id = :campaign')

    def expire(self) -> None:
        table = self.any_of('"fetch"', "click", "anonymous_fetch", "outcome")
        name = "event_id::text" if table == "outcome" else "id"
        self.run(f"DELETE FROM {table} WHERE right({name}, 1) = :last AND campaign_id = :campaign", last=self.digit())

    def digit(self) -> str:
        return f"{self._chance.randrange(12):x}"

    def fold(self) -> None:
        opentally.fold(self._session)


def known(found: Report) -> dict[str, Any]:
    """A report to compare: where nothing was counted is no difference."""
    told = asdict(found)
    told["opens"]["fetches"] = dict(found.opens.fetches)
    told["anonymous"] |= {name: dict(getattr(found.anonymous, name)) for name in ("fetches", "clicks")}
    return told


def test_it_counts_what_the_rows_say_whatever_happens_to_them(shop: Shop) -> None:
    campaign = shop.campaign()
    for seed in range(SEEDS):
        with shop.sessions() as session:
            rows = Rows(session, campaign, random.Random(seed))
            for _ in range(MOVES):
                rows.any_of(*rows.moves)()
            assert known(report(session, campaign)) == known(recount(session, campaign)), seed
            kept = opentally.counts(session, campaign)
            opentally.rebuild(session, campaign)
            assert opentally.counts(session, campaign) == kept, seed
            session.rollback()


def test_it_is_counted_anew_by_the_command_which_says_what_was_wrong(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign, _ = shop.campaign(), shop.campaign()
    with shop.sessions.begin() as session:
        rows = Rows(session, campaign, random.Random(1))
        for _ in range(10):
            rows.fetch()
        before = report(session, campaign)
    count_anew(shop.sessions)
    assert "2 campaigns counted anew, 0 different" in capsys.readouterr().out
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE open_count SET number = number + 1 WHERE what = 'fetch'"))
        assert report(session, campaign) != before
    count_anew(shop.sessions)
    told = capsys.readouterr()
    assert "2 campaigns counted anew, 1 different" in told.out
    assert f"different: {campaign}" in told.err
    with shop.sessions.begin() as session:
        assert report(session, campaign) == before


def test_it_folds_a_piece_at_a_time_and_leaves_alone_what_nothing_new_was_counted_of(shop: Shop) -> None:
    campaign, other = shop.campaign(), shop.campaign()
    stored = text("SELECT id, campaign_id, what, name, number FROM open_count WHERE folded ORDER BY id")
    new = text("SELECT count(*) FROM open_count WHERE NOT folded")
    with shop.sessions.begin() as session:
        for number in (campaign, other):
            rows = Rows(session, number, random.Random(number))
            for _ in range(20):
                rows.fetch()
        kept = opentally.counts(session, campaign)
        waiting, pieces = session.scalar(new), 0
        while folded := opentally.fold(session, most=7):
            assert folded <= 7
            assert opentally.counts(session, campaign) == kept
            waiting, pieces = waiting - folded, pieces + 1
            assert session.scalar(new) == waiting
        assert (waiting, pieces > 3) == (0, True)
        before = set(session.execute(stored).all())
        assert len(before) == len(kept) + len(opentally.counts(session, other))
        click = {"ambiguous": False, "unseen": True, "unresolved": False, "outcome": "redirect", "offer": 2}
        rows.run(CLICK, **rows.somebody() | {"id": "f" * 32, "occurrence": 1}, **click, **{"class": "person"})
        assert opentally.fold(session) == 3
        again = set(session.execute(stored).all())
        counted = {("click", "people"), ("click", "unseen"), ("clicked", "2")}
        assert {(row.what, row.name) for row in again - before} == counted
        assert {row.campaign_id for row in again ^ before} == {other}, "no other row was written again"


def test_it_loses_no_count_while_recorders_write_fold_and_rebuild(shop: Shop) -> None:
    campaign = shop.campaign()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            # One of two that lock the same people crosswise is told to try again, as a recorder does.
            tried, state = 0, chance.getstate()
            while tried < 10:
                chance.setstate(state)
                with suppress(OperationalError), shop.sessions.begin() as session:
                    rows = Rows(session, campaign, chance)
                    for _ in range(6):
                        rows.any_of(rows.fetch, rows.fetch, rows.tell_again, rows.date, rows.expire, rows.click)()
                    break
                tried += 1

    def keep() -> None:
        rounds = 0
        while not over.is_set():
            with suppress(OperationalError), shop.sessions.begin() as session:
                opentally.rebuild(session, campaign) if rounds % 4 == 0 else opentally.fold(session)
            rounds += 1

    with shop.sessions.begin() as session:
        Rows(session, campaign, random.Random(0))
    over = threading.Event()
    keeper, writers = threading.Thread(target=keep), [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in (keeper, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    keeper.join()
    with shop.sessions.begin() as session:
        found = report(session, campaign)
        assert found.opens.fetches
        assert known(found) == known(recount(session, campaign))
        opentally.fold(session)
        names = len(opentally.counts(session, campaign))
        assert session.scalar(text("SELECT count(*) FROM open_count")) == names, "a row a count is left"
        nobody = "SELECT count(*) FROM sight_count WHERE (surely, possibly, machine) = (0, 0, 0)"
        opentally.rebuild(session, campaign)
        assert session.scalar(text(nobody)) == 0
