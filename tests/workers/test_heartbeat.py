"""A sender that works keeps its rows; what one leaves that died, failed or is stuck waits a minute and a half."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from rq.registry import StartedJobRegistry

from base.clock import monotonic, pause
from base.db import transaction
from base.queues import SERIALIZER, QueueName, queue
from campaigns import deliveries, sweeping, waiting
from campaigns.deliveries import AGAIN_AFTER, HOLD, LEASE, SILENT
from tests.campaigns.shop import Shop
from tests.workers.relay import Relay
from tests.workers.test_sending import account, due, run_jobs
from workers.heartbeat import Heartbeat
from workers.schedule import TAKEN_WITHIN, Scheduler
from workers.sending import Sender

BEAT = 0.02
SECOND = timedelta(seconds=1)


def claimed(shop: Shop, ids: Sequence[int], name: str) -> list[deliveries.Claimed]:
    """What a sender of that name claims, and then it dies."""
    with transaction(shop.sessions) as session:
        return deliveries.claim(session, ids, name, shop.now)


def swept(shop: Shop) -> dict[str, int]:
    with transaction(shop.sessions) as session:
        return sweeping.sweep(session, shop.now)


def renewed(shop: Shop, campaign: int) -> bool:
    """Whether all claims of the campaign soon last as long as a new one; waits for some beats."""
    for _ in range(100):
        pause(BEAT)
        if all(row.lease_until == shop.now + LEASE for row in shop.ledger(campaign)):
            return True
    return False


def test_rows_of_a_sender_that_works_stay_its_own_and_those_of_a_dead_one_come_back(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann", "bob")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    claimed(shop, ids, "works")
    with Heartbeat(shop.sessions, shop.clock, "works", BEAT).over(ids):
        for _ in range(3):
            shop.clock.advance(LEASE - SECOND)
            assert renewed(shop, campaign)
            assert swept(shop)["requeued"] == 0
    shop.clock.advance(LEASE + SECOND)
    assert swept(shop)["requeued"] == 2


def test_only_the_claims_of_ones_own_name_are_renewed(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    claimed(shop, ids, "dead")
    shop.clock.advance(SECOND)
    with transaction(shop.sessions) as session:
        deliveries.renew(session, ids, "another", shop.now)
    (row,) = shop.ledger(campaign)
    assert row.lease_until == shop.now - SECOND + LEASE


def test_a_sender_that_is_stuck_is_not_believed_for_ever(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    claimed(shop, ids, "stuck")
    heartbeat = Heartbeat(shop.sessions, shop.clock, "stuck", BEAT)
    with heartbeat.over(ids):
        heartbeat.worked(monotonic() - HOLD.total_seconds() - 1)
        pause(5 * BEAT)
        shop.clock.advance(LEASE + SECOND)
        pause(10 * BEAT)
        assert swept(shop)["requeued"] == 1


def test_no_mail_is_begun_once_the_claim_may_run_out(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)

    def unheard(_recipient: str) -> str:
        sender._heartbeat.worked(monotonic() - LEASE.total_seconds())
        return ""

    relay.at_rcpt = unheard
    assert sender.send(ids).states == {"accepted": 1, "deferred": 1}
    relay.at_rcpt = lambda _recipient: ""
    assert sorted(relay.received().values()) == [1]


def test_a_killed_senders_rows_are_sent_once_by_another_and_told_meanwhile(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob", "cid")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)
    rows = claimed(shop, ids, "dead")
    with transaction(shop.sessions) as session:
        assert deliveries.hand_over(session, rows[:1], "dead", shop.now) == {rows[0].id}
        assert waiting.stopped(session, campaign, shop.now) is None, "it may be at work"
    until = shop.now + LEASE
    shop.clock.advance(SILENT + SECOND)
    with transaction(shop.sessions) as session:
        assert waiting.stopped(session, campaign, shop.now) == waiting.Stopped(3, 1, until)
    shop.clock.set(until + SECOND)
    scheduler.tick()
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 2, "unknown": 1}
    assert sorted(relay.received().values()) == [1, 1]
    with transaction(shop.sessions) as session:
        assert waiting.stopped(session, campaign, shop.now) is None


def test_what_a_failed_job_left_is_tried_again_in_a_minute(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann", "bob")
    campaign = shop.campaign()
    ids = due(shop, scheduler, campaign)

    def failing(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(sender, "_build", failing)
        with pytest.raises(MemoryError):
            sender.send(ids)
    assert {(row.state, row.not_before) for row in shop.ledger(campaign)} == {("queued", shop.now + AGAIN_AFTER)}
    run_jobs(shop)
    assert relay.received() == {}, "the job that was waiting came too early"
    shop.clock.advance(AGAIN_AFTER)
    scheduler.tick()
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 2}


def test_rows_that_a_sender_took_off_the_queue_and_never_claimed_get_another_job(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann")
    due(shop, scheduler, shop.campaign())
    sends = queue(QueueName.SEND, shop.queues)
    shop.queues.delete(sends.key)
    # What RQ believes of a killed worker's job for an hour.
    registry = StartedJobRegistry(queue=sends, serializer=SERIALIZER)
    shop.queues.zadd(registry.key, {"lost:1": time.time() + 3600})
    shop.clock.advance(TAKEN_WITHIN - SECOND)
    assert scheduler.tick().enqueued == 0
    shop.clock.advance(2 * SECOND)
    assert scheduler.tick().enqueued == 1
