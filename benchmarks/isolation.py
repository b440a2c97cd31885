"""What opens and signals feel of a send at full speed and of reports being built: alone and beside them, in turns.

Everything runs on this machine: render, the intake, Valkey, PostgreSQL, a sender with its sink, and a process that
builds a campaign's results and counts its audience without a pause. Between the turns beside them those two are held by
SIGSTOP. Opens come at a rate, beside both; signals, a shop's mix in batches, as fast as the intake takes them, beside
the sender.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

from base import db
from base.clock import SystemClock, monotonic
from base.environment import environment
from base.processes import give_way
from base.settings import Settings
from base.vault import Vault
from benchmarks import intake, world
from benchmarks.ledger import BATCH, grown
from benchmarks.load import Result
from benchmarks.open import Running, turn
from benchmarks.report import Report
from benchmarks.send import receiver
from campaigns import accounting, audience, reports
from campaigns.models import Campaign, Occurrence
from tests.campaigns.shop import Shop
from tests.serving import Served
from workers.jobs import enqueue_send

PEOPLE, MAILS = 2_000, 60_000
FIRST = 10_000_000
"""Profiles of the readers, far from those who are mailed."""
TURNS, TURN_REQUESTS, RATE = 4, 600, 60.0
BUDGET_MS = 25.0
BATCHES = 120
"""Of signals, in each turn."""
LEAST_SHARE = 0.9


def main() -> None:
    """Run it and print the report."""
    report = Report("isolation")
    with receiver() as port, world.world(database=True) as place:
        # Several apps share the host, so none is pinned to a core (docs/deploy.md).
        place.settings = replace(place.settings, smtp_url=f"smtp://127.0.0.1:{port}", pin_cpus=False)
        _measure(report, place)
    report.show()


def _measure(report: Report, place: world.World) -> None:
    engine = db.connect(place.settings.database_url, vault=Vault.of(place.settings), statement_ms=0)
    clock: Any = SystemClock()
    shop = Shop(place.settings, db.sessions(engine), place.store, clock)
    campaign = _campaign(shop)
    world.publish(place, 20, 100)
    paths = world.opens(place, PEOPLE, world.now(), FIRST)
    intake.known(place)
    opens: list[tuple[Result, Result]] = []
    taken: list[tuple[float, float]] = []
    with Running(place) as url, _intake(place) as intake_url, world.emptied(place), _busy(shop, campaign) as busy:
        turn(url, paths, TURN_REQUESTS, RATE / 2)
        stream = intake.Stream(1)
        intake.rate(intake_url, _batches(intake_url, stream))
        for _ in range(TURNS):
            alone = turn(url, paths, TURN_REQUESTS, RATE)
            with busy.let_go():
                opens.append((alone, turn(url, paths, TURN_REQUESTS, RATE)))
            calm = intake.rate(intake_url, _batches(intake_url, stream))
            requests = _batches(intake_url, stream)
            with busy.let_go(reports=False):
                taken.append((calm, intake.rate(intake_url, requests)))
        if busy.accepted() >= MAILS:
            raise SystemExit("the send ended before the opens did")
    for share in (0.5, 0.99):
        alone_ms, beside_ms = (
            median(result.percentile(share) for result in results) for results in zip(*opens, strict=True)
        )
        met = beside_ms <= BUDGET_MS if share == 0.99 else None
        aim = f"≤ {BUDGET_MS:.0f} ms" if share == 0.99 else ""
        what = f"open at {RATE:.0f}/s beside a send and reports: p{share * 100:.0f}"
        report.add(what, f"{beside_ms:.1f} ms", f"alone {alone_ms:.1f} ms", beside_ms / alone_ms, aim, met)
    calm, crowded = (median(rates) for rates in zip(*taken, strict=True))
    report.add(
        "signals/s in batches beside a send", f"{crowded:,.0f}", f"alone {calm:,.0f}", crowded / calm,
        f"≥ {LEAST_SHARE:.2f}", crowded / calm >= LEAST_SHARE,
    )  # fmt: skip
    report.add("mails a second meanwhile", f"{busy.mails / busy.seconds:,.0f}")
    engine.dispose()


@contextmanager
def _intake(place: world.World) -> Iterator[str]:
    served = Served.start("signals", place.settings, place.folder / "signals.log")
    try:
        yield served.url
    finally:
        served.stop()


def _batches(url: str, stream: intake.Stream) -> list[bytes]:
    return [intake.batch(url, stream.mixed) for _ in range(BATCHES)]


def _campaign(shop: Shop) -> int:
    """A campaign whose mails wait on the queue."""
    grown(shop, MAILS)
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        session.add(Occurrence(campaign_id=campaign, number=1, state="sending", due_at=shop.now))
        session.get_one(Campaign, campaign).state = "sending"
        audience.freeze(session, campaign, 1, shop.now, shop.settings.hash_key)
        ids = [row.id for row in accounting.listing(session, campaign, limit=1)]
    for start in range(ids[0], ids[0] + MAILS, BATCH):
        enqueue_send(shop.store, list(range(start, start + BATCH)))
    return campaign


class _Busy:
    """A sender and a builder of reports, held until they are let go on."""

    def __init__(self, shop: Shop, campaign: int, pids: list[int]) -> None:
        self._shop, self._campaign, self._pids = shop, campaign, pids
        self.mails = 0
        self.seconds = 0.0

    def accepted(self) -> int:
        """Mails that the sink took so far."""
        return _accepted(self._shop, self._campaign)

    @contextmanager
    def let_go(self, *, reports: bool = True) -> Iterator[None]:
        """Have both work for as long as this lasts, or the sender alone."""
        pids = self._pids if reports else self._pids[:1]
        before, began = self.accepted(), monotonic()
        _signal(pids, signal.SIGCONT)
        yield
        _signal(pids, signal.SIGSTOP)
        self.mails, self.seconds = self.mails + self.accepted() - before, self.seconds + monotonic() - began


@contextmanager
def _busy(shop: Shop, campaign: int) -> Iterator[_Busy]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    command = [sys.executable, "-m", "workers.cli", "worker", "send"]
    sender = subprocess.Popen(command, env=outer | environment(shop.settings), stdout=subprocess.DEVNULL)
    builder = multiprocessing.get_context("spawn").Process(target=_build, args=(shop.settings, campaign), daemon=True)
    builder.start()
    pids = [sender.pid, builder.pid or 0]
    try:
        deadline = monotonic() + 120
        while not _accepted(shop, campaign):
            if monotonic() > deadline or sender.poll() is not None:
                raise SystemExit("the sender sends nothing")
        _signal(pids, signal.SIGSTOP)
        yield _Busy(shop, campaign, pids)
    finally:
        _signal(pids, signal.SIGCONT)
        builder.kill()
        sender.kill()
        builder.join(10)
        sender.wait(30)


def _build(settings: Settings, campaign: int) -> None:
    """Build the results of a campaign and count its audience again and again, as the pages' own process would."""
    give_way(settings.niceness)
    make = db.sessions(db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0))
    while True:
        with make.begin() as session:
            reports.report(session, campaign)
            audience.count(session, campaign, SystemClock().now(), settings.hash_key)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def _accepted(shop: Shop, campaign: int) -> int:
    with shop.sessions.begin() as session:
        return accounting.account(session, campaign)["accepted"]


if __name__ == "__main__":
    main()
