"""The commands of the Procfile that send: they work together, share the work, and stop when told to."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rq import Worker

from base.clock import SteppedClock, monotonic, pause
from base.environment import environment
from base.settings import Settings
from tests.campaigns.shop import Shop
from tests.nursery import Born, nursery
from tests.promises.world import COMMANDS
from tests.serving import outer_environment
from tests.workers.relay import Relay

PATIENCE = 90


@contextmanager
def running(settings: Settings, log: Path, *words: str) -> Iterator[Born]:
    """`latebind …` in a process of its own; it must end well within seconds of SIGTERM."""
    process = nursery(*COMMANDS).born(("latebind", *words), outer_environment() | environment(settings), log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, log.read_text()


@pytest.mark.slow
def test_it_sends_a_campaign_with_two_loops_and_two_senders(shop: Shop, relay: Relay, tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(300)]
    shop.people(*names)
    campaign = shop.campaign()
    shop.schedule(campaign)
    clock = SteppedClock(tmp_path / "clock", shop.now)
    settings = replace(shop.settings, clock_file=tmp_path / "clock")
    log = tmp_path / "log"
    with ExitStack() as stack:
        for words in (("schedule",), ("schedule",), ("worker", "send"), ("worker", "send")):
            stack.enter_context(running(settings, log, *words))
        deadline = monotonic() + PATIENCE
        while shop.state(campaign) != "finished" and monotonic() < deadline:
            pause(0.2)
    clock.close()
    assert shop.state(campaign) == "finished", log.read_text()
    assert relay.received() == Counter(f"{name}@example.com" for name in names)
    assert "@" not in log.read_text(), "no address is in a log"


@pytest.mark.slow
def test_a_worker_waits_for_a_store_that_is_full_and_can_be_told_to_stop_meanwhile(shop: Shop, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shop.queues.config_set("maxmemory", 1)
    try:
        with running(shop.settings, log, "worker", "work"):
            _until(lambda: log.read_text().count("the worker waits") == 1)
        with running(shop.settings, log, "worker", "work"):
            _until(lambda: log.read_text().count("the worker waits") == 3)
            shop.queues.config_set("maxmemory", 0)
            _until(lambda: Worker.count(shop.queues) == 1)
    finally:
        shop.queues.config_set("maxmemory", 0)
    assert "Traceback" not in log.read_text()


def _until(true: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not true():
        assert monotonic() < deadline
        pause(0.1)
