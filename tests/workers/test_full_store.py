"""A store that takes nothing more: what waits in it is recorded all the same, which is what makes room."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

from base import keys, stores
from base.clock import monotonic, pause
from base.errors import Unavailable
from base.queues import SERIALIZER, QueueName, queue
from base.stores import Store
from campaigns.erasure import erase_person
from signals.consent import set_consent
from signals.due import publish_due
from signals.state import decode
from tests.campaigns.shop import MANAGER, Shop
from tests.streams import lengths
from tests.workers.opens import Opens
from tests.workers.test_recorder import click
from tests.workers.test_sending_processes import running
from workers import jobs
from workers.composers import Composers
from workers.handover import Ready
from workers.recorder import Recorder, run
from workers.recording import Written
from workers.repair import Repairs


@contextmanager
def full(store: Store) -> Iterator[None]:
    """No server of the store takes a write that needs room."""
    masters = list(stores.servers(store).values())
    for server in masters:
        server.config_set("maxmemory", 1)
    try:
        yield
    finally:
        for server in masters:
            server.config_set("maxmemory", 0)


def until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline, "it did not happen in time"
        pause(0.05)


def ids(opens: Opens) -> list[str]:
    return [row.id for row in opens.rows("SELECT id FROM click ORDER BY id")]


def test_a_recorder_that_starts_then_stores_what_waits(opens: Opens) -> None:
    opens.send("ann")
    for number in (1, 2, 3):
        opens.put(click(number))
    with full(opens.shop.store):
        fresh = Recorder(opens.parts, opens.following)
        fresh.prepare()
        assert sum(fresh.step(block_ms=1) for _ in range(2)) == 3
    assert (ids(opens), lengths(opens.shop.store)) == ([f"{n:032x}" for n in (1, 2, 3)], {})


def test_a_record_of_a_capped_offer_is_stored_then(opens: Opens) -> None:
    opens.look(opens.send("ann", discount={"cap_total": 10})["ann"])
    with full(opens.shop.store):
        assert opens.recorder.step(block_ms=1) > 0
    assert (opens.count("decision"), opens.recorder.lag()) == (1, 0)


def test_what_is_refused_between_batches_keeps_no_record_waiting(opens: Opens) -> None:
    opens.send("ann")
    stop, prepared, refused = threading.Event(), [0], [0]

    class Refused:
        """What follows from records; between batches it is refused, thrice, each time with a record behind it."""

        def __call__(self, written: Written) -> None:
            opens.following(written)

        def idle(self) -> None:
            if refused[0] == 3:
                stop.set()
                return
            refused[0] += 1
            opens.put(click(refused[0]))
            raise OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")

    class Counted(Recorder):
        def prepare(self) -> None:
            prepared[0] += 1
            super().prepare()

    run(Counted(opens.parts, Refused()), stop, pause_seconds=0.01)
    assert (ids(opens), prepared[0]) == ([f"{n:032x}" for n in (1, 2, 3)], 1)


def test_a_worker_waits_then_and_works_on_afterwards(shop: Shop, tmp_path: Path) -> None:
    log, waiting = tmp_path / "log", queue(QueueName.WORK, shop.queues)

    def waits() -> int:
        return log.read_text().count("the worker waits")

    with ExitStack() as stack:
        with full(shop.queues):
            process = stack.enter_context(running(shop.settings, log, "worker", "work"))
            until(lambda: waits() or process.poll() is not None)
        first = waiting.enqueue(jobs.COUNT_RESULTS)
        until(lambda: first.is_finished or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        before = waits()
        os.kill(process.pid, signal.SIGSTOP)
        waiting.enqueue(jobs.COUNT_RESULTS)
        with full(shop.queues):
            os.kill(process.pid, signal.SIGCONT)
            until(lambda: waits() > before or process.poll() is not None)
        last = waiting.enqueue(jobs.COUNT_RESULTS)
        until(lambda: last.is_finished or process.poll() is not None)
        assert process.poll() is None, log.read_text()


def test_a_worker_that_was_told_to_stop_before_it_listens_takes_no_job(shop: Shop) -> None:
    waiting = queue(QueueName.WORK, shop.queues)
    waiting.enqueue(jobs.COUNT_RESULTS)
    worker = jobs._Worker([waiting], connection=shop.queues, serializer=SERIALIZER)
    worker.stop = threading.Event()
    worker.stop.set()
    worker.work(burst=True)
    assert waiting.count == 1


@pytest.mark.parametrize("moment", ["built", "handed over"])
def test_a_sender_that_is_told_to_stop_then_loses_no_mail(
    opens: Opens, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, mails, made = opens.shop, 12, [0]
    shop.people(*(f"p{number}" for number in range(mails)))
    campaign = shop.campaign()
    shop.schedule(campaign)
    opens.scheduler.tick()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(*_given: object) -> None:
        made[0] += 1
        if made[0] == 5:
            for server in stores.servers(shop.queues).values():
                server.config_set("maxmemory", 1)
            os.kill(os.getpid(), signal.SIGTERM)

    build = Composers.build

    def built(self: Composers, *given: Any) -> Ready:
        stop()
        return build(self, *given)

    if moment == "built":
        monkeypatch.setattr(Composers, "build", built)
    else:
        opens.relay.before_answer = stop
    try:
        jobs.work(QueueName.SEND, shop.queues)
    finally:
        for server in stores.servers(shop.queues).values():
            server.config_set("maxmemory", 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert made[0] >= 5
    assert {row.state for row in shop.ledger(campaign)} == {"accepted"}
    assert len(opens.relay.mails) == mails


@pytest.mark.parametrize("opened", [False, True])
def test_a_withdrawal_keeps_no_record_waiting_and_is_in_effect_then(opens: Opens, opened: bool) -> None:
    mail = opens.send("ann")["ann"]
    if opened:
        opens.look(mail)
        opens.record()
    opens.client.post(mail.unsubscribe, data={"List-Unsubscribe": "One-Click"})
    opens.put(click(1))
    state = keys.state(opens.shop.profile("ann"))
    with full(opens.shop.store):
        until(lambda: opens.recorder.step(block_ms=1) == 0)
        assert (f"{1:032x}" in ids(opens), opens.recorder.lag()) == (True, 0)
        # Its absence says as little as a lost one's.
        assert opens.shop.store.get(state) is None
    shop = opens.shop
    repairs = Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)
    assert publish_due(shop.intake, repairs.restore_person)
    held = opens.shop.store.get(state)
    assert isinstance(held, bytes)
    assert decode(held).consent["email"] is False


@pytest.mark.parametrize("how", ["by support", "by a signal", "erased"])
def test_nothing_is_shown_then_of_whoever_withdrew_or_is_erased(opens: Opens, how: str) -> None:
    mail = opens.send("ann", discount={"fields": {"headline": "Half the price"}})["ann"]
    shop, ann = opens.shop, mail.token.profile
    before = opens.look(mail)
    with full(shop.store):
        with pytest.raises(Unavailable):  # noqa: PT012 - one of three calls
            if how == "erased":
                erase_person(shop.intake, shop.blobs, ann, shop.now, MANAGER)
            elif how == "by support":
                set_consent(shop.intake, ann, "email", False, at=shop.now, now=shop.now, via="support", message_id="n")
            else:
                shop.send(shop.consent("ann", False))
        shop.clock.advance(timedelta(minutes=2))
        opens.forget()
        assert opens.look(mail) != before
        assert shop.store.get(keys.state(ann)) is None
    opens.following.idle()
    data = shop.store.get(keys.state(ann))
    assert isinstance(data, bytes)
    state = decode(data)
    assert state.erased or state.consent == {"email": False}


def test_a_key_that_cannot_be_restored_then_keeps_nothing_from_being_recorded(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    opens.look(mails["ann"])
    opens.record()
    store, ann = opens.shop.store, mails["ann"].token.profile
    opens.shop.clock.advance(timedelta(hours=3))
    store.delete(keys.state(ann), *store.scan_iter(match=f"{{{ann}}}:shown:*"))
    opens.forget()
    for mail in mails.values():
        opens.look(mail)
    with full(store):
        opens.record()
        assert sum(lengths(store).values()) == 0
