"""A shop to which mails come back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from campaigns import timeline
from tests.campaigns.shop import Shop
from tests.workers.relay import Relay
from tests.workers.returns import head_of
from tests.workers.test_sending import due
from workers.bounces import ReturnDesk
from workers.schedule import Scheduler
from workers.sending import Sender

DOMAIN = "bounce.example.com"


@dataclass
class Post:
    """A shop whose mails have envelope senders of their own, and the desk that takes in what comes back."""

    shop: Shop
    relay: Relay
    scheduler: Scheduler

    def __post_init__(self) -> None:
        self.settings = replace(self.shop.settings, bounce_domain=DOMAIN, soft_bounces=2)
        self.senders: dict[str, str] = {}
        self.desk = ReturnDesk(self.settings, self.shop.sessions, self.shop.clock)
        self._last = ""

    def send(self, *names: str) -> int:
        """Mail everybody there is, these among them; the campaign."""
        if names:
            self.shop.people(*names)
        campaign = self.shop.campaign()
        self.mail(due(self.shop, self.scheduler, campaign))
        return campaign

    def mail(self, ids: list[int]) -> None:
        def at_mail(sender: str) -> str:
            self._last = sender
            return ""

        def at_rcpt(recipient: str) -> str:
            self.senders[recipient.partition("@")[0]] = self._last
            return ""

        self.relay.at_mail, self.relay.at_rcpt = at_mail, at_rcpt
        sender = Sender(self.settings, self.shop.sessions, self.shop.store, self.shop.blobs, self.shop.clock)
        sender.send(ids)
        sender.close()

    def head(self, name: str) -> str:
        """The head of the last mail to somebody."""
        return next(head_of(mail) for to, mail in reversed(self.relay.mails) if to.startswith(f"{name}@"))

    def reason(self, campaign: int, name: str) -> str | None:
        profile = self.shop.profile(name)
        return next(row.reason for row in self.shop.ledger(campaign) if row.profile_id == profile)

    def rows(self, table: Any) -> list[Any]:
        with self.shop.sessions.begin() as session:
            return list(session.query(table).order_by(table.at))

    def told(self, name: str) -> list[str]:
        with self.shop.sessions.begin() as session:
            page = timeline.timeline(session, [self.shop.profile(name)], kind="mail")
        return [entry.detail for entry in page.entries]
