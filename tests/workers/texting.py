"""Text and push messages under test: a shop whose campaigns go by a gateway that misbehaves on command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from base.blobs import blobs_from
from campaigns import (
    gateways,
    sweeping,
)
from campaigns.gateways import GatewayIn
from campaigns.models import Delivery
from campaigns.texts import TextIn, TextVersion
from signals.suppression import Suppression
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.peergateway import PeerGateway
from workers.schedule import Scheduler
from workers.sending import Sender

ROOT = Path(__file__).resolve().parent.parent.parent
NUMBERS = {name: f"+49301000{place:02d}" for place, name in enumerate(("ann", "bob", "cleo", "dora", "eve", "finn"))}
BODY = "Hello {{ profile.first_name }}: {{ link.hero }} Stop: {{ link.unsubscribe }}"
GERMAN = "Hallo {{ profile.first_name }}: {{ link.hero }} Ende: {{ link.unsubscribe }}"
TEXT = TextIn(
    versions={
        "en": TextVersion(body=BODY, fallbacks={"first_name": "there"}),
        "de": TextVersion(body=GERMAN, fallbacks={"first_name": "du"}),
    }
)
PUSH = TextIn(
    versions={
        "en": TextVersion(title="For {{ profile.first_name }}", body="Your offer", fallbacks={"first_name": "you"})
    },
    link="hero",
    image="strip",
)


@dataclass
class Texting:
    """A shop whose campaigns go by a gateway; its senders may call this machine, as in the demo."""

    shop: Shop
    scheduler: Scheduler
    peer: PeerGateway

    def __post_init__(self) -> None:
        self.settings = replace(self.shop.settings, fetch_loopback=True)
        self.gateway, self.secret = self.made("Texts", "sms")

    def made(self, name: str, kind: Any, **limits: int) -> tuple[int, str]:
        wanted = GatewayIn(name=name, kind=kind, url=self.peer.url, **limits)
        with self.shop.sessions.begin() as session:
            row, secret = gateways.create(session, wanted, self.settings, self.shop.now, MANAGER)
            return row.id, secret

    def people(self, *names: str, purpose: str = "sms") -> None:
        """People with a number each, who agreed to that channel."""
        for name in names:
            self.shop.people(name, phone=NUMBERS[name])
            self.shop.send(self.shop.consent(name, True, purpose))

    def campaign(self, text: TextIn = TEXT, gateway: int | None = None, **content: Any) -> int:
        """A campaign that is frozen and waits in the ledger."""
        made = self.shop.campaign(gateway_id=gateway or self.gateway, text=text, **content)
        self.shop.schedule(made)
        self.scheduler.tick()
        return made

    def sender(self, **changes: Any) -> Sender:
        settings = replace(self.settings, **changes)
        return Sender(settings, self.shop.sessions, self.shop.store, blobs_from(settings), self.shop.clock)

    def send(self, campaign: int, **changes: Any) -> dict[str, Delivery]:
        """Send what waits; the rows by name."""
        sender = self.sender(**changes)
        sender.send([row.id for row in self.shop.ledger(campaign)])
        sender.close()
        return self.rows(campaign)

    def rows(self, campaign: int) -> dict[str, Delivery]:
        names = {number: name for name, number in self.shop.known().items()}
        return {names[row.profile_id]: row for row in self.shop.ledger(campaign)}

    def later(self, after: timedelta, campaign: int) -> dict[str, Delivery]:
        """Time passes, and what waited is sent."""
        self.shop.clock.advance(after)
        with self.shop.sessions.begin() as session:
            sweeping.sweep(session, self.shop.now)
        return self.send(campaign)

    def barred(self) -> list[bytes]:
        """The hashes on the suppression list."""
        with self.shop.sessions.begin() as session:
            return [one.address_hash for one in session.query(Suppression)]

    def states(self, campaign: int) -> dict[str, tuple[str, str | None, int]]:
        return {name: (row.state, row.reason, row.attempts) for name, row in self.rows(campaign).items()}
