"""A year in the life of a campaign, in seconds: every part takes the time it is given.

A weekly replenishment campaign to a customer who restocks when reminded, one who buys by habit, and one who has left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import text

from base.blobs import blobs_from
from base.clock import SteppedClock, monotonic
from base.db import Sessions
from base.queues import QueueName
from base.settings import Settings
from base.stores import Store
from base.tokens import TokenKeys
from campaigns.campaigns import Replenish, SlotChoice
from render.app import create_app
from tests.campaigns.shop import Shop
from tests.promises.ground import MONDAY
from tests.promises.reader import BROWSER, Mail, read_mail
from tests.workers.relay import Relay
from workers import jobs
from workers.following import Following
from workers.recorder import Recorder, RecorderParts
from workers.schedule import Scheduler
from workers.sending import Sender

WEEKS = 52
SECONDS = 90
"""What the year may take; some ten on an idle machine."""


class Year:
    """The shop with every part in this process, all on one stepped clock."""

    def __init__(self, shop: Shop, relay: Relay, client: FlaskClient, recorder: Recorder) -> None:
        self.shop = shop
        self.relay = relay
        self.client = client
        self.recorder = recorder
        self.scheduler = Scheduler(shop.settings, shop.sessions, shop.store, shop.queues, shop.blobs, shop.clock)
        self.read = 0

    def run(self) -> list[Mail]:
        """Whatever is due is sent; the mails that came of it."""
        self.scheduler.tick()
        jobs.work(QueueName.SEND, self.shop.queues, burst=True)
        self.scheduler.tick()
        contents = [content for _, content in self.relay.mails[self.read :]]
        self.read += len(contents)
        return [read_mail(content, TokenKeys.from_settings(self.shop.settings)) for content in contents]

    def look(self, mail: Mail) -> int:
        """Open a mail; the offer that was shown in its first slot."""
        answer = self.client.get(mail.pictures[0], headers={"User-Agent": BROWSER})
        with Image.open(BytesIO(answer.data)) as image:
            image.load()
            assert (answer.status_code, image.size) == (200, mail.sizes[0])
        while self.recorder.step(block_ms=1):
            continue
        newest = "SELECT slots FROM decision WHERE profile_id = :profile ORDER BY at DESC, open_number DESC LIMIT 1"
        with self.shop.sessions.begin() as session:
            slots = session.scalar(text(newest), {"profile": mail.token.profile})
        return int(slots["0"])


@pytest.fixture
def year(settings: Settings, sessions: Sessions, valkey: Store, tmp_path: Path) -> Iterator[Year]:
    clock = SteppedClock(tmp_path / "clock", MONDAY)
    relay = Relay()
    relay.start()
    own = replace(settings, smtp_url=relay.url, clock_file=tmp_path / "clock", deadline_ms=5000)
    shop = Shop(own, sessions, valkey, clock)
    sender = Sender(own, sessions, valkey, shop.blobs, clock)
    forget = jobs.set_up(sender)
    app = create_app(own)
    parts = RecorderParts(own, sessions, valkey, blobs_from(own), clock)
    recorder = Recorder(parts, Following(parts))
    recorder.prepare()
    yield Year(shop, relay, app.test_client(), recorder)
    app.extensions["parts"].close()
    forget()
    sender.close()
    relay.stop()
    clock.close()


@pytest.mark.feature("OP-20")
def test_it_lives_through_a_year_of_weekly_runs_in_seconds(year: Year) -> None:
    started, shop = monotonic(), year.shop
    shop.people("reminded", "habitual", "gone")
    for name, every in (("reminded", 28), ("habitual", 14), ("gone", 28)):
        shop.send(*(shop.order(name, "coffee", shop.now - timedelta(days=every * n)) for n in range(5, 0, -1)))
    default = shop.offer("neutral")
    discount = shop.offer("replacement", purpose_category="coffee", priority=2)
    thanks = shop.offer("thank-you", after_category="coffee", priority=1)
    campaign = shop.campaign(
        kind="replenishment",
        replenish=Replenish(categories=["coffee"], ratio=1.0, until=3.0, every_days=7),
        ends_at=shop.now + timedelta(weeks=WEEKS),
        slots=[SlotChoice(slot=0, default=default, offers=[discount, thanks]), SlotChoice(slot=1, default=default)],
    )
    shop.schedule(campaign)
    mailed: dict[str, list[Mail]] = {"reminded": [], "habitual": [], "gone": []}
    for week in range(WEEKS + 1):
        mails = {mail.recipient.partition("@")[0]: mail for mail in year.run()}
        for name, mail in mails.items():
            mailed[name].append(mail)
        shop.clock.advance(timedelta(days=1))
        for name, mail in mails.items():
            assert year.look(mail) == discount
            if name == "reminded":
                shop.send(shop.order(name, "coffee", shop.now))
                shop.clock.advance(timedelta(minutes=1))
                assert year.look(mail) == thanks
        if week % 2 and week < WEEKS:
            shop.send(shop.order("habitual", "coffee", shop.now))
        shop.clock.set(MONDAY + timedelta(weeks=week + 1))
    assert monotonic() - started < SECONDS
    check(year, campaign, mailed)


def check(year: Year, campaign: int, mailed: dict[str, list[Mail]]) -> None:
    """What a year left behind."""
    shop = year.shop
    assert shop.state(campaign) == "finished"
    assert len(mailed["gone"]) == 1, "who does not come back is reminded once"
    # A purchase every four weeks, found due by a weekly run: every fifth week.
    assert 10 <= len(mailed["reminded"]) <= 13
    assert len(mailed["habitual"]) == 1, "who buys before it is due is left alone"
    with shop.sessions.begin() as session:
        runs = session.execute(text("SELECT number, state, due_at FROM occurrence ORDER BY number")).all()
        month = "to_char(at AT TIME ZONE 'UTC', 'YYYY_MM')"
        parts = session.execute(text(f"SELECT DISTINCT tableoid::regclass::text, {month} FROM decision")).all()
        pairs = session.execute(text("SELECT occurrence, profile_id FROM delivery")).all()
    assert [(run.number, run.state) for run in runs] == [(number, "finished") for number in range(1, WEEKS + 1)]
    assert [run.due_at for run in runs] == [MONDAY + timedelta(weeks=number) for number in range(WEEKS)]
    assert len(set(pairs)) == len(pairs)
    assert {table for table, _ in parts} == {f"decision_{month}" for _, month in parts}
    assert len(parts) >= 9
    # The first mail is a year old, and still answers.
    year.look(mailed["gone"][0])
