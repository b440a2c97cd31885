"""Sending: claim, build, hand over to a sink and settle, against a bare smtplib loop that sends prebuilt bytes.

Both use one connection to the same sink, which runs in a process of its own and answers at once.
"""

from __future__ import annotations

import multiprocessing
import smtplib
from dataclasses import replace
from typing import Any

from aiosmtpd.controller import Controller
from sqlalchemy import select

from base import db
from base.blobs import blobs_from
from base.clock import SystemClock, monotonic, pause
from base.ids import Delivery as Key
from base.processes import free_port
from base.tokens import TokenKeys, second_number
from benchmarks import world
from benchmarks.report import Report
from campaigns import audience, links, plans
from campaigns.compose import Composer
from campaigns.models import Campaign, Delivery
from tests.campaigns.shop import Shop
from workers.sending import Sender

MAILS = 3_000
BATCH = 100


class Discard:
    """Takes every mail and keeps none."""

    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return "250 2.0.0 taken"


def sink(port: int, ready: Any, stop: Any) -> None:
    """The receiving side, until told to stop."""
    controller = Controller(Discard(), hostname="127.0.0.1", port=port)
    controller.start()
    ready.set()
    stop.wait(600)
    controller.stop()


def main() -> None:
    """Run it and print the report."""
    report = Report("send")
    context = multiprocessing.get_context("spawn")
    port, ready, stop = free_port(), context.Event(), context.Event()
    receiver = context.Process(target=sink, args=(port, ready, stop), daemon=True)
    receiver.start()
    ready.wait(60)
    try:
        with world.world(database=True) as place:
            _measure(report, place, port)
    finally:
        stop.set()
        receiver.join(10)
    report.show()


def _measure(report: Report, place: world.World, port: int) -> None:
    settings = replace(place.settings, smtp_url=f"smtp://127.0.0.1:{port}")
    engine = db.connect(settings.database_url, statement_ms=0)
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
    began = monotonic()
    accepted = sum(
        sender.send(ids[start : start + BATCH]).states.get("accepted", 0) for start in range(BATCH, len(ids), BATCH)
    )
    took = monotonic() - began
    sender.close()
    ours = accepted / took
    body = _prebuilt(shop, campaign)
    theirs = max(_bare(port, body, accepted) for _ in range(2))
    ratio = ours / theirs
    what = f"mails/s to a sink, {len(body) / 1000:.0f} kB each"
    report.add(what, f"{ours:,.0f}", f"bare smtplib {theirs:,.0f}", ratio, "≥ 0.40", ratio >= 0.4)
    report.add("mails accepted, of those queued", f"{accepted} of {len(ids) - BATCH}")
    engine.dispose()


def _prebuilt(shop: Shop, campaign: int) -> bytes:
    """One mail of the campaign, as the sender would build it."""
    with shop.sessions.begin() as session:
        row = plans.versions(session, campaign)[0]
        compiled = plans.load_mail(shop.blobs, row)
    key = Key(1, campaign, 1)
    urls = links.mint(
        TokenKeys.from_settings(shop.settings), shop.settings.render_url, key, compiled.slots, second_number(shop.now)
    )
    composer = Composer(compiled, shop.settings.hash_key)
    return composer.build(key, "person@example.com", {}, urls, shop.now).content


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
