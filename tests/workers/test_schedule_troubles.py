"""The schedule loop where something fails: one campaign is paused and says why, and all else goes on."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock
from unittest.mock import call as mocked

import pytest
from psycopg.errors import AdminShutdown, DiskFull
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from base import keys
from base.errors import Unavailable
from campaigns import audience, publish, segments, transitions
from campaigns.models import Campaign, Segment
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.test_schedule import run_jobs
from workers.schedule import Scheduler
from workers.sending import Sender

REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'ann@example.com is out of range' USING ERRCODE = 'numeric_value_out_of_range'; END $$
"""
REFUSE_ROWS = """
    CREATE TRIGGER refuse BEFORE INSERT ON delivery FOR EACH ROW WHEN (NEW.campaign_id = {}) EXECUTE FUNCTION refuse()
"""
REFUSE_ENDS = """
    CREATE TRIGGER refuse BEFORE UPDATE ON occurrence FOR EACH ROW
    WHEN (NEW.campaign_id = {} AND NEW.state = 'finished') EXECUTE FUNCTION refuse()
"""


def test_it_pauses_a_campaign_whose_audience_cannot_be_found_any_more(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    with shop.sessions.begin() as session:
        number = segments.create_segment(session, "S", {"always": True}, shop.now, MANAGER).id
    campaign, other = shop.campaign(audience={"segment": number}), shop.campaign()
    shop.schedule(campaign)
    shop.schedule(other)
    with shop.sessions.begin() as session:
        session.delete(session.get_one(Segment, number))
    scheduler.tick()
    assert (shop.state(campaign), shop.state(other)) == ("paused", "sending")
    assert shop.ledger(campaign) == []
    with shop.sessions.begin() as session:
        assert "names the segment" in (session.get_one(Campaign, campaign).trouble or "")


def test_it_pauses_a_campaign_whose_plan_is_lost_and_sends_the_others(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    lost, other = shop.campaign(name="Lost"), shop.campaign()
    shop.schedule(lost)
    shop.schedule(other)
    with shop.sessions.begin() as session:
        digest = str(session.get_one(Campaign, lost).plan_hash)
    shop.store.delete(keys.plan(digest))
    shop.blobs.delete(digest)
    assert scheduler.tick().enqueued == 1
    assert (shop.state(lost), shop.state(other)) == ("paused", "sending")
    with shop.sessions.begin() as session:
        assert "no plan" in (session.get_one(Campaign, lost).trouble or "")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("numeric_value_out_of_range", "NumericValueOutOfRange"), ("disk_full", "DiskFull"),
        ("statement_too_complex", "StatementTooComplex"), ("query_canceled", "QueryCanceled"),
    ],
)  # fmt: skip
def test_it_pauses_a_campaign_whose_audience_the_database_refuses(
    shop: Shop, scheduler: Scheduler, code: str, name: str
) -> None:
    shop.people("ann")
    refused, other = shop.campaign(), shop.campaign()
    shop.schedule(refused)
    shop.schedule(other)
    with shop.sessions.begin() as session:
        session.execute(text(REFUSE.replace("numeric_value_out_of_range", code)))
        session.execute(text(REFUSE_ROWS.format(refused)))
    try:
        assert scheduler.tick().enqueued == 1
    finally:
        with shop.sessions.begin() as session:
            session.execute(text("DROP FUNCTION refuse() CASCADE"))
    assert (shop.state(refused), shop.state(other)) == ("paused", "sending")
    with shop.sessions.begin() as session:
        assert f"refused it: {name}" in (session.get_one(Campaign, refused).trouble or "")


def test_it_pauses_a_campaign_whose_runs_cannot_be_ended_and_ends_the_others(
    shop: Shop, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann")
    refused, other = shop.campaign(), shop.campaign()
    shop.schedule(refused)
    shop.schedule(other)
    scheduler.tick()
    run_jobs(shop)
    with shop.sessions.begin() as session:
        session.execute(text(REFUSE.replace("numeric_value_out_of_range", "disk_full")))
        session.execute(text(REFUSE_ENDS.format(refused)))
    try:
        assert scheduler.tick().finished == [other]
    finally:
        with shop.sessions.begin() as session:
            session.execute(text("DROP FUNCTION refuse() CASCADE"))
    assert (shop.state(refused), shop.state(other)) == ("paused", "finished")
    with shop.sessions.begin() as session:
        trouble = session.get_one(Campaign, refused).trouble
        assert trouble == "its runs cannot be ended: the database refused it: DiskFull"
        transitions.resume(session, refused, shop.now, MANAGER)
    scheduler.tick()
    assert shop.state(refused) == "finished"


def test_it_pauses_a_campaign_that_fails_whatever_the_error_is(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann")
    broken, other = shop.campaign(), shop.campaign()
    shop.schedule(broken)
    shop.schedule(other)
    freeze = audience.freeze

    def fails(session: Session, campaign: int, *rest: Any) -> Any:
        if campaign == broken:
            raise OverflowError("date value out of range")
        return freeze(session, campaign, *rest)

    monkeypatch.setattr(audience, "freeze", fails)
    assert scheduler.tick().enqueued == 1
    assert (shop.state(broken), shop.state(other)) == ("paused", "sending")
    with shop.sessions.begin() as session:
        assert "cannot be fixed: it failed: OverflowError" in (session.get_one(Campaign, broken).trouble or "")


@pytest.mark.parametrize(
    "error",
    [
        RedisError(),
        OperationalError("SELECT", {}, Exception()),
        Unavailable("A server"),
        OSError(24, "Too many open files"),
    ],
)
def test_it_pauses_nothing_for_a_server_that_is_away(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    shop.schedule(campaign)
    with monkeypatch.context() as patched:
        patched.setattr(audience, "freeze", Mock(side_effect=error))
        assert scheduler.tick().frozen == []
    assert shop.state(campaign) == "scheduled"
    assert scheduler.tick().frozen == [(campaign, 1)]


def test_it_does_the_rest_of_a_round_whatever_the_error_of_one_part_is(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    shop.schedule(campaign)
    monkeypatch.setattr(publish, "turn", Mock(side_effect=OverflowError()))
    assert scheduler.tick().frozen == [(campaign, 1)]


@pytest.mark.parametrize(
    ("error", "level", "words", "why"),
    [
        (DiskFull(), "error", "a part of the round failed", "the database refused it: DiskFull"),
        (AdminShutdown(), "warning", "a server is away", "The database is not available; try again in 1 s."),
    ],
)
def test_it_says_what_kept_a_part_of_a_round_from_being_done(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, error: Exception, level: str, words: str, why: str
) -> None:
    monkeypatch.setattr(publish, "turn", Mock(side_effect=OperationalError("", {}, error)))
    monkeypatch.setattr("workers.schedule._log", log := Mock())
    scheduler.tick()
    assert log.method_calls == [getattr(mocked, level)(words, part="_turn", error=why)]


def test_it_does_the_rest_of_a_round_when_one_part_fails(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    shop.schedule(campaign)
    with shop.sessions.begin() as session:
        session.execute(text("ALTER TABLE api_key RENAME TO api_key_away"))
    try:
        done = scheduler.tick()
    finally:
        with shop.sessions.begin() as session:
            session.execute(text("ALTER TABLE api_key_away RENAME TO api_key"))
    assert (done.frozen, done.enqueued) == ([(campaign, 1)], 1)
