"""The third act: the replenishment campaign, written, published, counted and sent as a manager would.

Hero slot: the discount on what a household is due to restock, or a thank-you once it has bought. Strip: two of what goes
well with it, or a step up. Every slot has its neutral default. The slots are in mode "model".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base import db
from base.errors import StartError
from campaigns import audience, campaigns, messages, offers, publish, starting, transitions
from campaigns.audience import Audience
from campaigns.campaigns import CampaignIn, Replenish, SlotChoice
from campaigns.models.catalogue import Creative
from campaigns.offers import OfferIn
from render.starting import HERO, TILE
from workers.demo.claims import Claims
from workers.demo.journey import Bestseller
from workers.demo.loading import Digest
from workers.demo.regulars import CAP, CAPPED, REGULARS, UPGRADED, Regular
from workers.demo.stage import BY, Stage
from workers.demo.wording import slug_of

NAME: Final = "Restock your regulars"
SHOP: Final = "https://shop.example.com"
HELD: Final = 0.10
SEND_SECONDS: Final = 120.0
WORTH: Final = 100
"""Cents that a sale is taken to earn, the same for every offer: the model's probability alone ranks them."""


@dataclass(frozen=True)
class Restock:
    """The campaign as it runs: its number, its offers by what they do, and the products whose price they show."""

    campaign: int
    restock: dict[int, str]
    thanks: dict[int, str]
    complements: dict[int, str]
    upgrades: dict[int, str]
    products: dict[str, Bestseller]
    audience: Audience


def publish_restock(stage: Stage, digest: Digest, model: str, claims: Claims) -> Restock:
    """Write and publish the campaign, name the model, and count its audience."""
    with db.transaction(stage.sessions) as session:
        writer = _Writer(session, stage, digest)
        restock = {writer.restock(regular): regular.category for regular in REGULARS}
        thanks = {writer.thanks(regular): regular.category for regular in REGULARS}
        complements = {writer.complement(regular): regular.goes_with for regular in REGULARS}
        upgrades = {writer.upgrade(category): category for category in UPGRADED}
        strip = [*complements, *upgrades]
        campaign = campaigns.create_campaign(
            session,
            CampaignIn(
                name=NAME,
                kind="replenishment",
                message_id=writer.message(),
                replenish=Replenish(
                    categories=[regular.category for regular in REGULARS], ratio=1.0, until=2.0, every_days=7
                ),
                slots=[
                    SlotChoice(slot=0, default=writer.default(HERO), offers=[*restock, *thanks], mode="model"),
                    SlotChoice(slot=1, default=writer.default(TILE), offers=strip, mode="model"),
                    SlotChoice(slot=2, default=writer.default(TILE), offers=strip, mode="model"),
                ],
                default_landing=f"{SHOP}/",
                content_holdout=HELD,
                currency="USD",
                locale="en-US",
                brand="Example Shop",
                needs_consent=["email"],
                ends_at=stage.calendar.end,
            ),
            stage.now,
            BY,
        ).id
        publish.publish(session, stage.store, stage.blobs, campaign, stage.now, BY)
        publish.set_model(session, stage.store, campaign, model, stage.now, BY)
    with db.transaction(stage.sessions) as session:
        counted = audience.count(session, campaign, stage.now, stage.settings.hash_key)
    parts = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counted.excluded.items() if count)
    stage.say(
        f"audience: {counted.total:,} households due = {counted.sendable:,} to be mailed "
        f"({counted.content_held} of them with neutral content){' + ' + parts if parts else ''}"
    )
    claims.check(
        "the audience count adds up",
        counted.total == counted.sendable + sum(counted.excluded.values()) and counted.sendable > 0,
        f"{counted.total} = {counted.sendable} + {sum(counted.excluded.values())}",
    )
    return Restock(campaign, restock, thanks, complements, upgrades, writer.products, counted)


def send(stage: Stage, campaign: int, claims: Claims, counted: Audience) -> None:
    """Schedule the campaign for now and wait until every mail of the ledger is settled."""
    with db.transaction(stage.sessions) as session:
        transitions.schedule(session, campaign, stage.now, stage.now, BY)
    stage.await_("the campaign to be sent", lambda: _settled(stage, campaign, counted.total), seconds=SEND_SECONDS)
    with db.transaction(stage.sessions) as session:
        rows = dict(
            session.execute(
                text("SELECT state, count(*) FROM delivery WHERE campaign_id = :campaign GROUP BY state"),
                {"campaign": campaign},
            )
            .tuples()
            .all()
        )
        held = session.scalar(
            text("SELECT count(*) FROM delivery WHERE campaign_id = :campaign AND holdout = 'content'"),
            {"campaign": campaign},
        )
    stage.say(f"sent over SMTP: {', '.join(f'{count:,} {state}' for state, count in sorted(rows.items()))}")
    claims.check(
        "the ledger holds what the count promised",
        sum(rows.values()) == counted.total
        and rows.get("accepted") == counted.sendable
        and held == counted.content_held,
        f"{rows.get('accepted', 0):,} accepted of {counted.sendable:,}",
    )


def _settled(stage: Stage, campaign: int, total: int) -> bool:
    query = text("""
        SELECT count(*) AS rows, count(*) FILTER (WHERE state IN ('queued', 'claimed', 'deferred')) AS waiting
        FROM delivery WHERE campaign_id = :campaign
    """)
    with db.transaction(stage.sessions) as session:
        row = session.execute(query, {"campaign": campaign}).one()
        state = campaigns.campaign(session, campaign).state
    if state in ("paused", "cancelled"):
        raise StartError(f"The campaign was {state} while it was being sent; see var/log.")
    return bool(row.rows >= min(total, 1) and row.waiting == 0 and state != "scheduled")


class _Writer:
    """Writes the parts of the campaign in one transaction."""

    def __init__(self, session: Session, stage: Stage, digest: Digest) -> None:
        self._session = session
        self._stage = stage
        self._best = {slug_of(category): products for category, products in digest.bestsellers.items()}
        self._creatives = dict(session.execute(select(Creative.name, Creative.id)).tuples().all())
        self.products: dict[str, Bestseller] = {}

    def restock(self, regular: Regular) -> int:
        """The discount on what is due. Met, and gone, once something of the category is bought."""
        product = self._product(regular.category, 0)
        return self._offer(
            name=f"Restock {regular.words}",
            kind="replacement",
            creative="Restock discount",
            category=regular.category,
            product=product,
            purpose_category=regular.category,
            needs_stock=True,
            shows_price=True,
            priority=10,
            value_cents=WORTH,
            relevant={"field": "purchases.due_ratio", "category": regular.category, "op": ">=", "value": 0.8},
            fields={
                "eyebrow": "Time to restock",
                "headline": f"{regular.words[:1].upper()}{regular.words[1:]}, {regular.percent} % off",
                "body": "Your regular, for less this week.",
                "badge": f"-{regular.percent} %",
                "percent": regular.percent,
                "button": "Restock now",
            },
        )

    def thanks(self, regular: Regular) -> int:
        """Thank whoever has bought a regular since the send; it goes before everything that wants to sell."""
        return self._offer(
            name=f"Thank you for {regular.words}",
            kind="thank-you",
            creative="Thank you",
            category=regular.category,
            after_category=regular.category,
            mandatory=True,
            priority=50,
            relevant={"field": "purchases.interval_days", "category": regular.category, "op": "present"},
            fields={
                "eyebrow": f"{regular.words[:1].upper()}{regular.words[1:]}: done",
                "headline": "Thank you",
                "body": "You have restocked already. Below is what others take along.",
            },
        )

    def complement(self, regular: Regular) -> int:
        """What goes well with a regular, for those who buy it and have not bought the other for two weeks."""
        words = regular.goes_with_words
        return self._offer(
            name=f"{words[:1].upper()}{words[1:]} with {regular.words}",
            kind="cross-sell",
            creative="Complement tile",
            category=regular.goes_with,
            purpose_category=regular.goes_with,
            value_cents=WORTH,
            relevant={
                "all": [
                    {
                        "field": "purchases.count",
                        "category": regular.category,
                        "within_days": 84,
                        "op": ">=",
                        "value": 1,
                    },
                    {
                        "field": "purchases.count",
                        "category": regular.goes_with,
                        "within_days": 14,
                        "op": "<",
                        "value": 1,
                    },
                ]
            },
            fields={
                "eyebrow": f"Goes with {regular.words}",
                "headline": f"{words[:1].upper()}{words[1:]}",
                "button": "Take a look",
            },
        )

    def upgrade(self, category: str) -> int:
        """The dearer product of a category that is bought often."""
        return self._offer(
            name=f"Step up: {category}",
            kind="upsell",
            creative="Discount tile",
            category=category,
            product=self._product(category, 1),
            purpose_category=category,
            needs_stock=True,
            shows_price=True,
            value_cents=WORTH,
            cap_total=CAP if category == CAPPED else None,
            relevant={"field": "purchases.count", "category": category, "within_days": 84, "op": ">=", "value": 2},
            fields={"eyebrow": "The next step up", "percent": 10, "badge": "-10 %"},
        )

    def message(self) -> int:
        """The mail: the shipped layout with a hero and two tiles."""
        settings = self._stage.settings
        sender, _, address = settings.from_address.partition("<")
        made = starting.message(starting.LAYOUTS[0], NAME, sender.strip(), address.strip(" >"), settings.postal_address)
        made = msgspec.structs.replace(made, subject="{{ profile.first_name }}, time to restock?")
        return messages.create_message(self._session, made, self._stage.now, BY).id

    def default(self, size: tuple[int, int]) -> int:
        """The shipped neutral offer of a size."""
        number = starting.default_offer(self._session, size)
        if number is None:
            raise StartError("The neutral offers that every installation starts with are gone; the story needs them.")
        return number

    def _product(self, category: str, place: int) -> str:
        best = self._best.get(category, ())
        if len(best) <= place:
            raise StartError(f"The data hold no product number {place + 1} of the category {category}.")
        self.products[best[place].id] = best[place]
        return best[place].id

    def _offer(self, *, creative: str, category: str, **content: Any) -> int:
        made = OfferIn(
            creative_id=self._creatives[creative],
            landing=f"{SHOP}/{category}?for={content['kind']}",
            category=category,
            **content,
        )
        return offers.create_offer(self._session, made, self._stage.now, BY).id
