"""The schedule loop: what is due is frozen once, what was lost is brought back, what is done is finished."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import Any
from unittest.mock import Mock
from unittest.mock import call as mocked

import pytest
from psycopg.errors import AdminShutdown, DiskFull
from redis import RedisError
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from base import keys
from base.blobs import blobs_from
from base.errors import Conflict, Unavailable
from base.queues import QueueName, queue
from campaigns import accounting, audience, deliveries, publish, segments, transitions
from campaigns.campaigns import Replenish
from campaigns.models import Campaign, Occurrence, Segment
from campaigns.transitions import send_test
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from workers import jobs
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


def another(shop: Shop) -> Scheduler:
    return Scheduler(shop.settings, shop.sessions, shop.store, shop.queues, blobs_from(shop.settings), shop.clock)


def run_jobs(shop: Shop) -> None:
    jobs.work(QueueName.SEND, shop.queues, burst=True)


def runs(shop: Shop, campaign: int) -> list[tuple[int, str]]:
    with shop.sessions.begin() as session:
        rows = session.scalars(select(Occurrence).where(Occurrence.campaign_id == campaign).order_by(Occurrence.number))
        return [(row.number, row.state) for row in rows]


def test_it_waits_for_the_time_and_freezes_once_among_many(shop: Shop, relay: Relay, sender: Sender) -> None:
    shop.people(*(f"p{number}" for number in range(30)))
    campaign = shop.campaign()
    shop.schedule(campaign, timedelta(hours=1))
    loops = [another(shop) for _ in range(4)]
    assert [loop.tick().frozen for loop in loops] == [[], [], [], []]
    shop.clock.advance(timedelta(hours=1))
    done: list[tuple[int, int]] = []
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    def go(loop: Scheduler) -> None:
        barrier.wait()
        try:
            done.extend(loop.tick().frozen)
        except BaseException as error:  # noqa: BLE001 - the test says which
            errors.append(error)

    threads = [threading.Thread(target=go, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert done == [(campaign, 1)]
    run_jobs(shop)
    assert relay.received() == Counter(f"p{number}@example.com" for number in range(30))
    for loop in loops:
        loop.tick()
    assert shop.state(campaign) == "finished"
    assert runs(shop, campaign) == [(1, "finished")]


def test_it_adds_up_the_counts_of_a_run(shop: Shop, scheduler: Scheduler) -> None:
    shop.people(*(f"p{number}" for number in range(20)))
    shop.send(shop.consent("p3", False))
    campaign = shop.campaign(send_holdout=0.3)
    shop.schedule(campaign)
    scheduler.tick()
    with shop.sessions.begin() as session:
        run = session.get_one(Occurrence, (campaign, 1))
        counts = dict(run.counts or {})
        account = accounting.account(session, campaign, 1)
    assert counts["total"] == 20 == sum(account.values())
    assert counts["sendable"] == account["queued"]
    assert counts["unsubscribed"] == 1
    assert counts["held_out"] == account["skipped"] - 1 > 0


def test_it_brings_back_what_was_lost_between_ledger_and_queue(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people(*(f"p{number}" for number in range(150)))
    campaign = shop.campaign()
    shop.schedule(campaign)
    assert scheduler.tick().enqueued == 150
    assert scheduler.tick().enqueued == 0, "jobs wait: nothing is enqueued twice"
    queue(QueueName.SEND, shop.queues).empty()  # type: ignore[no-untyped-call]
    assert scheduler.tick().enqueued == 150, "the queue was lost"
    run_jobs(shop)
    run_jobs(shop)
    assert set(relay.received().values()) == {1}
    assert len(relay.mails) == 150


def test_it_goes_on_after_a_sender_was_lost(shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender) -> None:
    shop.people("ann", "bob", "cara")
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = sorted(row.id for row in shop.ledger(campaign))
    with shop.sessions.begin() as session:
        claimed = deliveries.claim(session, ids, "lost one", shop.now)
        deliveries.hand_over(session, claimed[:1], "lost one", shop.now)
    run_jobs(shop)
    assert relay.mails == []
    shop.clock.advance(timedelta(minutes=16))
    tick = scheduler.tick()
    assert (tick.swept["unknown"], tick.swept["requeued"]) == (1, 2)
    run_jobs(shop)
    assert len(relay.mails) == 2
    assert scheduler.tick().finished == [campaign], (
        "an unknown row is settled: a person looks at it, the campaign is over"
    )
    # The one that was believed lost comes back: what it says of its own row counts, and of the others' nothing.
    with shop.sessions.begin() as session:
        late = [deliveries.Settled(row.id, row.fence, "failed", "late") for row in claimed]
        assert deliveries.settle(session, late, shop.now) == 1
        assert accounting.account(session, campaign)["accepted"] == 2


def test_it_makes_a_run_a_day_while_a_replenishment_lasts(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann")
    shop.send(*(shop.order("ann", "coffee", shop.now - timedelta(days=day)) for day in (26, 19, 12, 5)))
    campaign = shop.campaign(
        kind="replenishment", replenish=Replenish(categories=["coffee"]), ends_at=shop.now + timedelta(days=4)
    )
    shop.schedule(campaign)
    sent = []
    for _ in range(5):
        scheduler.tick()
        run_jobs(shop)
        scheduler.tick()
        sent.append(len(relay.mails))
        shop.clock.advance(timedelta(days=1))
    assert sent == [0, 0, 1, 1, 1]
    assert runs(shop, campaign) == [(number, "finished") for number in (1, 2, 3, 4)]
    assert shop.state(campaign) == "finished"


def test_it_makes_up_for_no_runs_that_it_slept_through(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    shop.send(shop.order("ann", "coffee", shop.now - timedelta(days=1)))
    campaign = shop.campaign(kind="replenishment", replenish=Replenish(categories=["coffee"]))
    shop.schedule(campaign)
    shop.clock.advance(timedelta(days=9, hours=3))
    assert scheduler.tick().frozen == [(campaign, 1)]
    with shop.sessions.begin() as session:
        following = session.get_one(Occurrence, (campaign, 2))
    assert following.due_at == shop.now + timedelta(hours=21)


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


def test_it_does_not_start_what_is_paused_and_starts_it_after(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    shop.schedule(campaign)
    with shop.sessions.begin() as session:
        transitions.pause(session, campaign, shop.now, MANAGER)
    assert scheduler.tick().frozen == []
    with shop.sessions.begin() as session:
        transitions.resume(session, campaign, shop.now, MANAGER)
    assert scheduler.tick().frozen == [(campaign, 1)]


def test_it_leaves_a_row_waiting_until_its_time_even_where_a_job_names_it(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob")
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ann, bob = (row.id for row in shop.ledger(campaign))
    with shop.sessions.begin() as session:
        later = shop.now + timedelta(hours=3)
        session.execute(text("UPDATE delivery SET not_before = :later WHERE id = :id"), {"later": later, "id": bob})
    assert sender.send([ann, bob]).states == {"accepted": 1}
    shop.clock.advance(timedelta(hours=3) - timedelta(microseconds=1))
    assert scheduler.tick().enqueued == 0
    shop.clock.advance(timedelta(microseconds=1))
    assert scheduler.tick().enqueued == 1
    run_jobs(shop)
    assert len(relay.mails) == 2


def test_it_ends_test_runs_and_leaves_their_campaign_a_draft(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    (ann,) = shop.people("ann")
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        run = send_test(session, campaign, [ann], "tester@example.com", shop.now, MANAGER)
    scheduler.tick()
    run_jobs(shop)
    scheduler.tick()
    assert runs(shop, campaign) == [(run, "finished")]
    assert shop.state(campaign) == "draft"


def test_it_does_not_wait_for_whoever_changes_a_campaign_and_may_wait_for_its_run(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    shop.schedule(campaign)
    with shop.sessions.begin() as session:
        session.execute(text("SELECT 1 FROM campaign WHERE id = :id FOR NO KEY UPDATE"), {"id": campaign})
        assert scheduler.tick().frozen == []
        assert runs(shop, campaign) == [(1, "due")]
    assert scheduler.tick().frozen == [(campaign, 1)]


def test_it_tells_who_was_skipped_when_a_campaign_is_cancelled_before_it_began(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    shop.schedule(campaign)
    with shop.sessions.begin() as session:
        transitions.cancel(session, campaign, shop.now, MANAGER)
    scheduler.tick()
    assert shop.ledger(campaign) == []
    assert runs(shop, campaign) == [(1, "cancelled")]
    with pytest.raises(Conflict, match="is cancelled"):
        shop.schedule(campaign)
