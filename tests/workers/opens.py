"""Mails that were sent by the product, opened through the render app in this process, and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from base import keys
from base.queues import QueueName
from base.sealing import Sealer
from base.tokens import TokenKeys
from campaigns.campaigns import SlotChoice
from render import record
from render.facts import Shown, Used, decode_shown, decode_used
from render.parts import Parts
from render.record import Record
from tests.campaigns.shop import Shop
from tests.promises.reader import BROWSER, Mail, read_mail
from tests.streams import a_stream, entries
from tests.workers.relay import Relay
from workers import jobs
from workers.following import Following
from workers.recorder import Recorder, RecorderParts
from workers.schedule import Scheduler


class Opens:
    """A shop with a campaign of a discount on shoes and a thank-you, its readers, and its recorder."""

    def __init__(self, shop: Shop, relay: Relay, scheduler: Scheduler, client: FlaskClient) -> None:
        self.shop = shop
        self.relay = relay
        self.scheduler = scheduler
        self.client = client
        self.parts = RecorderParts(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock)
        self.following = Following(self.parts)
        self.recorder = Recorder(self.parts, self.following)
        self.recorder.prepare()
        self.sealer = Sealer(shop.settings.record_key)
        self.campaign = self.discount = self.thanks = self.default = 0

    def send(self, *names: str, discount: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Mail]:
        """Send the campaign to these people, with these changes of its discount and of itself; the mails by name.

        A minute passes, so that what happens next comes after all that was told.
        """
        shop = self.shop
        shop.intake.categories.learn(["Shoes"], create=True)
        shop.people(*names)
        self.default = shop.offer("neutral")
        self.discount = shop.offer("replacement", purpose_category="shoes", priority=2, **(discount or {}))
        self.thanks = shop.offer("thank-you", after_category="shoes", priority=1)
        hero = SlotChoice(slot=0, default=self.default, offers=[self.discount, self.thanks])
        return self.send_campaign(slots=[hero, SlotChoice(slot=1, default=self.default)], **changes)

    def send_campaign(self, **content: Any) -> dict[str, Mail]:
        """Send a campaign with this content to everybody; the mails by name. A minute passes."""
        shop = self.shop
        self.campaign = shop.campaign(**content)
        shop.schedule(self.campaign)
        self.scheduler.tick()
        jobs.work(QueueName.SEND, shop.queues, burst=True)
        self.scheduler.tick()
        return self.read_mails()

    def read_mails(self) -> dict[str, Mail]:
        """The mails that were sent, by name. A minute passes."""
        self.shop.clock.advance(timedelta(minutes=1))
        self.forget()
        tokens = TokenKeys.from_settings(self.shop.settings)
        mails = [read_mail(content, tokens) for _, content in self.relay.mails]
        return {mail.recipient.partition("@")[0]: mail for mail in mails}

    def look(self, mail: Mail, slot: int = 0, agent: str = BROWSER, *, dark: bool = False) -> bytes:
        """Fetch a picture of a mail."""
        answer = self.get((mail.dark if dark else mail.pictures)[slot], agent)
        assert answer.status_code == 200
        body: bytes = answer.data
        return body

    def get(self, path: str, agent: str = BROWSER) -> TestResponse:
        """GET as a mail program does."""
        return self.client.get(path, headers={"User-Agent": agent})

    def forget(self) -> None:
        """Have opens read what they may hold for a second anew."""
        parts: Parts = self.client.application.extensions["parts"]
        parts.lookup.forget()

    def record(self) -> int:
        """Store everything that waits; how many entries that were."""
        taken = 0
        while step := self.recorder.step(block_ms=1):
            taken += step
        return taken

    def put(self, *records: Record) -> None:
        """Put one entry with these records on the stream, as a render process does."""
        self.shop.store.xadd(a_stream(self.shop.store), {record.STREAM_FIELD: record.seal(records, self.sealer)})

    def waiting(self) -> list[Record]:
        """The records that wait on the stream."""
        sealed = [fields[record.STREAM_FIELD.encode()] for _, fields in entries(self.shop.store)]
        return [made for data in sealed for made in record.unseal(data, self.sealer)]

    def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        with self.shop.sessions.begin() as session:
            return list(session.execute(text(query), values))

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.rows(f'SELECT count(*) AS n FROM "{table}"')[0].n)

    def shown(self, mail: Mail) -> Shown:
        """What the hot store says was shown of a mail."""
        data = self.shop.store.get(keys.shown(mail.token.profile, mail.token.delivery.name))
        return decode_shown(data) if isinstance(data, bytes) else Shown()

    def used(self, mail: Mail) -> Used:
        """What counts against the person."""
        data = self.shop.store.get(keys.used(mail.token.profile))
        return decode_used(data) if isinstance(data, bytes) else Used()
