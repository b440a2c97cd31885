"""The schedule loop: what is due is frozen once, what was lost is brought back, what is done is finished."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from base.blobs import blobs_from
from base.errors import Conflict
from base.queues import QueueName, queue
from campaigns import accounting, deliveries, transitions
from campaigns.campaigns import Replenish
from campaigns.models import Occurrence
from campaigns.transitions import send_test
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from workers import jobs
from workers.schedule import Scheduler
from workers.sending import Sender


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
