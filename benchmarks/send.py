"""Sending: claim, build, sign, hand over to a sink and settle, against a bare smtplib loop that sends prebuilt bytes.

Both use one connection to the same sink, which runs in a process of its own, answers at once and offers PIPELINING as
Postfix does. What a core could send is told from the processor time that the sender took, whoever else was busy; that
of the database and of the sink is not in it.
"""

from __future__ import annotations

import multiprocessing
import os
import smtplib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiosmtpd.controller import Controller
from sqlalchemy import select

from base import db
from base.blobs import blobs_from
from base.clock import SystemClock, monotonic, pause
from base.ids import Delivery as Key
from base.processes import free_port
from base.tokens import TokenKeys, second_number
from base.vault import Vault
from benchmarks import world
from benchmarks.report import Report
from campaigns import audience, dkimkeys, links, plans
from campaigns.compose import Composer
from campaigns.dkimkeys import Keyring
from campaigns.lookups import Lookups
from campaigns.models import Campaign, Delivery
from campaigns.signing import Algorithm, SigningKey
from tests.campaigns.shop import MANAGER, Shop
from workers.sending import Sender

MAILS = 3_000
BATCH = 100
SIGNED: tuple[tuple[Algorithm, ...], ...] = ((), ("rsa",), ("rsa", "ed25519"))
"""The keys that sign, from one measurement to the next."""


class Discard:
    """Takes every mail and keeps none."""

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, session: Any, _envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:1], "250-PIPELINING", *responses[1:]]

    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return "250 2.0.0 taken"


def sink(port: int, ready: Any, stop: Any) -> None:
    """The receiving side, until told to stop."""
    controller = Controller(Discard(), hostname="127.0.0.1", port=port)
    controller.start()
    ready.set()
    stop.wait(600)
    controller.stop()


@contextmanager
def receiver() -> Iterator[int]:
    """A server in a process of its own that takes every mail; its port."""
    context = multiprocessing.get_context("spawn")
    port, ready, stop = free_port(), context.Event(), context.Event()
    server = context.Process(target=sink, args=(port, ready, stop), daemon=True)
    server.start()
    ready.wait(60)
    try:
        yield port
    finally:
        stop.set()
        server.join(10)


def main() -> None:
    """Run it and print the report."""
    report = Report("send")
    with receiver() as port, world.world(database=True) as place:
        _measure(report, place, port)
    report.show()


def _measure(report: Report, place: world.World, port: int) -> None:
    settings = replace(place.settings, smtp_url=f"smtp://127.0.0.1:{port}")
    engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0)
    sessions = db.sessions(engine)
    clock: Any = SystemClock()
    shop = Shop(settings, sessions, place.store, clock)
    names = [f"person{number}" for number in range(MAILS)]
    for start in range(0, MAILS, 250):
        shop.people(*names[start : start + 250])
    campaign = shop.campaign()
    with sessions.begin() as session:
        audience.freeze(session, campaign, 1, shop.now, settings.hash_key)
        session.get_one(Campaign, campaign).state = "sending"
        ids = list(session.scalars(select(Delivery.id).where(Delivery.state == "queued").order_by(Delivery.id)))
    sender = Sender(settings, sessions, place.store, blobs_from(settings), clock)
    sender.send(ids[:BATCH])  # The first batch compiles the plan's templates and connects.
    keys: list[SigningKey] = []
    each = (len(ids) - BATCH) // len(SIGNED)
    for number, algorithms in enumerate(SIGNED):
        for algorithm in algorithms[len(keys) :]:
            keys.append(_activated(shop, algorithm))
        body = _prebuilt(shop, campaign, keys)
        start = BATCH + number * each
        run = _send(sender, ids[start : start + each])
        theirs = max(_bare(port, body, run.accepted) for _ in range(2))
        with_what = f"signed by {' and '.join(algorithms)}" if algorithms else "unsigned"
        ratio = run.accepted / run.seconds / theirs
        what = f"mails/s to a sink, {len(body) / 1000:.0f} kB each, {with_what}"
        report.add(
            what, f"{run.accepted / run.seconds:,.0f}", f"bare smtplib {theirs:,.0f}", ratio, "≥ 0.40", ratio >= 0.4
        )
        aim = 300 if algorithms else 600
        a_core = run.accepted / run.cpu_seconds
        report.add(f"mails/s a core of the sender, {with_what}", f"{a_core:,.0f}", aim=f"≥ {aim}", met=a_core >= aim)
        report.add("mails accepted, of those queued", f"{run.accepted} of {each}")
    sender.close()
    report.add("one-minute load of the machine at the end", f"{os.getloadavg()[0]:.1f}")
    engine.dispose()


@dataclass(frozen=True)
class Run:
    """Mails that were accepted, in which time, and how much of a processor the sender took for them."""

    accepted: int
    seconds: float
    cpu_seconds: float


def _send(sender: Sender, ids: Sequence[int]) -> Run:
    began, cpu = monotonic(), time.process_time()
    accepted = sum(
        sender.send(ids[start : start + BATCH]).states.get("accepted", 0) for start in range(0, len(ids), BATCH)
    )
    return Run(accepted, monotonic() - began, time.process_time() - cpu)


def _activated(shop: Shop, algorithm: Algorithm) -> SigningKey:
    """A key that signs from now on."""
    with shop.sessions.begin() as session:
        made = dkimkeys.make(session, "example.com", algorithm, shop.settings.subject_key, shop.now, MANAGER)
        dkimkeys.activate(session, made.id, Lookups(), shop.now, MANAGER, unchecked=True)
        ring = Keyring(shop.settings.subject_key)
        ring.refresh(session)
    return next(key for key in ring.of("example.com") if key.algorithm == algorithm)


def _prebuilt(shop: Shop, campaign: int, keys: Sequence[SigningKey]) -> bytes:
    """One mail of the campaign, as the sender would build it."""
    with shop.sessions.begin() as session:
        row = plans.versions(session, campaign)[0]
        compiled = plans.load_mail(shop.blobs, row)
    key = Key(1, campaign, 1)
    urls = links.mint(
        TokenKeys.from_settings(shop.settings), shop.settings.render_url, key, compiled.slots, second_number(shop.now)
    )
    composer = Composer(compiled, shop.settings.hash_key)
    return composer.build(key, "person@example.com", {}, urls, shop.now, keys).content


def _bare(port: int, body: bytes, count: int) -> float:
    """Mails a second of a loop that does nothing but hand over the same bytes."""
    pause(0.2)
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as connection:
        began = monotonic()
        for _ in range(count):
            connection.sendmail("shop@example.com", ["person@example.com"], body)
        return count / (monotonic() - began)


if __name__ == "__main__":
    main()
