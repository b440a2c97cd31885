"""A small shop to test with: people with addresses, an offer and its default, a message, a campaign."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select, text

from base import stores
from base.blobs import FolderBlobs, blobs_from
from base.clock import FixedClock, SteppedClock
from base.db import Sessions
from base.ids import Delivery as Key
from base.settings import Settings
from base.stores import Store, is_clustered
from campaigns import campaigns, creatives, messages, offers, publish, transitions
from campaigns.admin_log import Actor
from campaigns.campaigns import CampaignIn, SlotChoice
from campaigns.mail import MessageIn, SlotIn
from campaigns.models import Creative, Delivery
from campaigns.offers import OfferIn
from render.starting import STARTING
from signals.intake import Intake, take
from signals.profiles import Identifier, Profile
from signals.sources import create_source, sender

MANAGER = Actor("user")
MJML = """<mjml><mj-head><mj-title>{{ message.subject }}</mj-title><mj-preview>{{ message.preheader }}</mj-preview>
<mj-attributes><mj-all font-family="Arial, sans-serif" /></mj-attributes></mj-head><mj-body><mj-section><mj-column>
<mj-text>Hello {{ profile.first_name }},</mj-text>
<mj-text padding="0">{{ slot.hero }}</mj-text><mj-text padding="0">{{ slot.strip }}</mj-text>
<mj-button href="{{ link.hero }}">To the shop</mj-button>
<mj-text>{{ brand.name }}, {{ brand.postal_address }}. <a href="{{ link.unsubscribe }}">Unsubscribe</a>,
<a href="{{ link.view }}">view in the browser</a></mj-text></mj-column></mj-section></mj-body></mjml>"""
TEXT = """Hello {{ profile.first_name }},

your offers this week: {{ link.hero }}

View: {{ link.view }}
Unsubscribe: {{ link.unsubscribe }}
{{ brand.postal_address }}
"""
SLOTS = [
    SlotIn(index=0, name="hero", width=600, height=300, alt="Your offer of the week"),
    SlotIn(index=1, name="strip", width=600, height=200, alt="Something that goes with it"),
]
MESSAGE = MessageIn(
    name="Weekly",
    subject="{{ profile.first_name }}, your week",
    from_name="Example Shop",
    from_address="shop@example.com",
    mjml=MJML,
    text=TEXT,
    postal_address="1 Example Street, Example Town",
    slots=SLOTS,
    preheader="Inside",
    fallbacks={"first_name": "friend"},
)
_numbers = itertools.count(1)


def named(content: Any, **changes: Any) -> Any:
    """The content with these changes, under a name of its own."""
    return msgspec.structs.replace(content, **({"name": f"{content.name} {next(_numbers)}"} | changes))


@dataclass
class Shop:
    """One installation. `now` is the clock's moment; people are known by their user id."""

    settings: Settings
    sessions: Sessions
    store: Store
    clock: FixedClock | SteppedClock

    def __post_init__(self) -> None:
        self.blobs: FolderBlobs = blobs_from(self.settings)
        self.intake = Intake(self.sessions, self.store, self.settings.hash_key)
        self.queues: Store = stores.connect(self.settings.queue_url) if is_clustered(self.store) else self.store
        with self.sessions.begin() as session:
            self.source = sender(create_source(session, "shop", "server", self.now, write_key="shop")[0])

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def send(self, *calls: dict[str, Any]) -> None:
        """Take Segment calls in, each with a message id and the present time unless given."""
        bodies = [
            msgspec.json.encode({"messageId": f"s-{next(_numbers):08d}", "timestamp": self.now.isoformat()} | call)
            for call in calls
        ]
        outcomes = take(self.intake, self.source, bodies, self.now)
        refused = [outcome for outcome in outcomes if outcome.status != "accepted"]
        assert not refused, refused

    def people(self, *names: str, consent: bool = True, **traits: Any) -> list[int]:
        """People with an address at example.com and, unless not wanted, consent to mail; their profile ids."""
        calls: list[dict[str, Any]] = []
        for name in names:
            told = {"email": f"{name}@example.com", "firstName": name.capitalize()} | traits
            calls.append({"type": "identify", "userId": name, "traits": told})
            if consent:
                calls.append(self.consent(name, True))
        self.send(*calls)
        profiles = self.known()
        return [profiles[name] for name in names]

    def consent(self, name: str, granted: bool, purpose: str = "email") -> dict[str, Any]:
        """The call that states a consent."""
        properties = {"purpose": purpose, "granted": granted}
        return {"type": "track", "userId": name, "event": "Consent Changed", "properties": properties}

    def order(self, name: str, category: str, at: datetime, order_id: str | None = None) -> dict[str, Any]:
        """The call that states a purchase of one thing."""
        line = {"product_id": f"{category}-1", "category": category, "price": 20, "quantity": 1}
        properties = {"order_id": order_id or f"o-{next(_numbers)}", "products": [line], "total": 20}
        return {"type": "track", "userId": name, "event": "Order Completed", "properties": properties,
                "timestamp": at.isoformat()}  # fmt: skip

    def profile(self, name: str) -> int:
        """The root profile of a user id."""
        return self.known()[name]

    def known(self) -> dict[str, int]:
        """The root profiles of all user ids that somebody came under."""
        roots = select(Identifier.value, Profile.root_id).join(Profile, Profile.id == Identifier.profile_id)
        roots = roots.where(Identifier.type == "user_id", ~Identifier.presumed)
        with self.sessions.begin() as session:
            return {name: root for name, root in session.execute(roots)}  # noqa: C416

    def creative(self) -> int:
        """A creative to show offers with; made once."""
        with self.sessions.begin() as session:
            found = session.scalar(select(Creative.id).order_by(Creative.id))
            if found is not None:
                return found
            document = msgspec.to_builtins(STARTING[0])
            content = {name: value for name, value in document.items() if name not in ("id", "name")}
            return creatives.create_creative(session, "Plain", content, self.now, MANAGER).id

    def offer(self, kind: Any = "replacement", **changes: Any) -> int:
        """An offer."""
        content = OfferIn(name="Offer", kind=kind, creative_id=self.creative(), landing="https://shop.example.com/now")
        with self.sessions.begin() as session:
            return offers.create_offer(session, named(content, **changes), self.now, MANAGER).id

    def message(self, **changes: Any) -> int:
        """A message with a hero and a strip."""
        with self.sessions.begin() as session:
            return messages.create_message(session, named(MESSAGE, **changes), self.now, MANAGER).id

    def campaign(self, *, published: bool = True, message: int | None = None, **changes: Any) -> int:
        """A campaign to everybody unless told otherwise, published."""
        default = self.offer("neutral")
        number = self.message() if message is None else message
        content = CampaignIn(
            name="Campaign", message_id=number, default_landing="https://shop.example.com/",
            slots=[SlotChoice(slot=0, default=default, offers=[self.offer()]), SlotChoice(slot=1, default=default)],
        )  # fmt: skip
        with self.sessions.begin() as session:
            made = campaigns.create_campaign(session, named(content, **changes), self.now, MANAGER).id
        if published:
            self.publish(made)
        return made

    def publish(self, campaign: int) -> str:
        """Publish; the plan's hash."""
        with self.sessions.begin() as session:
            return publish.publish(session, self.store, self.blobs, campaign, self.now, MANAGER, is_sending=False)

    def schedule(self, campaign: int, after: timedelta = timedelta(0)) -> None:
        """Have it sent at once, or later."""
        with self.sessions.begin() as session:
            transitions.schedule(session, campaign, self.now + after, self.now, MANAGER, is_sending=False)

    def state(self, campaign: int) -> str:
        """The campaign's state."""
        with self.sessions.begin() as session:
            return campaigns.campaign(session, campaign).state

    def ledger(self, campaign: int) -> list[Delivery]:
        """The campaign's deliveries, by profile."""
        with self.sessions.begin() as session:
            query = (
                select(Delivery)
                .where(Delivery.campaign_id == campaign)
                .order_by(Delivery.occurrence, Delivery.profile_id)
            )
            return list(session.scalars(query))

    def spoil(self, profile: int, byte: int = 20) -> None:
        """Damage a stored state by the lowest bit of one byte; the first of them names the key that sealed it."""
        flipped = "UPDATE profile_state SET encoded = set_byte(encoded, :at, get_byte(encoded, :at) # 1)"
        with self.sessions.begin() as session:
            session.execute(text(f"{flipped} WHERE profile_id = :profile"), {"profile": profile, "at": byte})

    def keys(self, rows: Iterable[Delivery]) -> list[Key]:
        """The delivery keys of ledger rows."""
        return [Key(row.profile_id, row.campaign_id, row.occurrence) for row in rows]
