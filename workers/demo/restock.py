"""The third act: the replenishment campaign, written, published, counted and sent as a manager would.

Hero slot: the discount on what a household is due to restock, or a thank-you once it has bought. Strip: two of what
goes well with it, or a step up. Every slot has its neutral default. The slots are in mode "model".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import text

from base import db
from base.clock import monotonic
from base.errors import StartError
from campaigns import starting
from campaigns.audience import Audience
from campaigns.campaigns import CampaignIn, Replenish, SlotChoice
from campaigns.offers import OfferIn
from render.starting import HERO, TILE
from workers.demo.claims import Claims
from workers.demo.journey import Bestseller
from workers.demo.loading import Digest
from workers.demo.regulars import CAP, CAPPED, REGULARS, UPGRADED, Regular
from workers.demo.stage import Stage
from workers.demo.wording import slug_of

NAME: Final = "Restock your regulars"
SHOP: Final = "https://shop.example.com"
HELD: Final = 0.10
SEND_SECONDS: Final = 600.0
FIRST_MODEL: Final = "The demo's first model: there is nothing yet to measure it beside."
WORTH: Final = 100
"""Cents that a sale is taken to earn, the same for every offer: the model's probability alone ranks them."""


@dataclass(frozen=True)
class Promoted:
    """A product whose price an offer shows: the product, and its category as the feed spells it and as rules do."""

    best: Bestseller
    category: str
    slug: str


@dataclass(frozen=True)
class Restock:
    """The campaign as it runs: its number, its offers (id -> category slug) by what they do, and what they promote."""

    campaign: int
    restock: dict[int, str]
    thanks: dict[int, str]
    complements: dict[int, str]
    upgrades: dict[int, str]
    promoted: dict[int, Promoted]
    audience: Audience


def publish_restock(stage: Stage, digest: Digest, model: str, claims: Claims) -> Restock:
    """Write and publish the campaign, name the model, and count its audience."""
    writer = _Writer(stage, digest)
    restock = {writer.restock(regular): regular.category for regular in REGULARS}
    thanks = {writer.thanks(regular): regular.category for regular in REGULARS}
    complements = {writer.complement(regular): regular.goes_with for regular in REGULARS}
    upgrades = {writer.upgrade(category): category for category in UPGRADED}
    strip = [*complements, *upgrades]
    content = CampaignIn(
        name=NAME,
        kind="replenishment",
        message_id=writer.message(),
        replenish=Replenish(categories=[regular.category for regular in REGULARS], ratio=1.0, until=2.0, every_days=7),
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
    )
    campaign = int(stage.api.post("/campaigns", content)["id"])
    stage.api.post(f"/campaigns/{campaign}/publish")
    stage.api.put(f"/campaigns/{campaign}/model", {"model": model, "reason": FIRST_MODEL})
    counted = Audience(**stage.api.get(f"/campaigns/{campaign}/audience"))
    parts = [f"{count} {reason.replace('_', ' ')}" for reason, count in counted.excluded.items() if count]
    stage.say(
        f"audience: {counted.total:,} households are due = "
        + " + ".join([f"{counted.sendable:,} to be mailed ({counted.content_held} with neutral content)", *parts])
    )
    claims.check(
        "the audience count adds up",
        counted.total == counted.sendable + sum(counted.excluded.values()) and counted.sendable > 0,
        f"{counted.total:,} = {counted.sendable:,} + {sum(counted.excluded.values()):,}",
    )
    return Restock(campaign, restock, thanks, complements, upgrades, writer.promoted, counted)


def send(stage: Stage, campaign: int, claims: Claims, counted: Audience) -> None:
    """Schedule the campaign for now and wait until every mail of the ledger is settled."""
    began = monotonic()
    stage.api.post(f"/campaigns/{campaign}/schedule", {"due_at": stage.now})
    stage.await_("the campaign to be sent", lambda: is_finished(stage, campaign), seconds=SEND_SECONDS)
    account = stage.api.get(f"/campaigns/{campaign}/deliveries?limit=1")["account"]
    accepted, seconds = account.get("accepted", 0), monotonic() - began
    told = ", ".join(f"{count:,} {state}" for state, count in sorted(account.items()) if count)
    stage.say(f"sent over SMTP in {seconds:.1f} s ({accepted / seconds:,.0f}/s): {told}")
    with db.transaction(stage.sessions) as session:
        held = session.scalar(
            text("SELECT count(*) FROM delivery WHERE campaign_id = :campaign AND holdout = 'content'"),
            {"campaign": campaign},
        )
    claims.check(
        "the ledger holds what the count promised",
        (sum(account.values()), accepted, held) == (counted.total, counted.sendable, counted.content_held),
        f"{accepted:,} accepted of {counted.sendable:,}, {held} with neutral content",
    )


def is_finished(stage: Stage, campaign: int) -> bool:
    """Whether every mail is settled. Read from the table, since asking the API often would slow the sending down."""
    with db.transaction(stage.sessions) as session:
        state = session.scalar(text("SELECT state FROM campaign WHERE id = :campaign"), {"campaign": campaign})
    if state in ("paused", "cancelled"):
        raise StartError(f"The campaign was {state} while it was being sent; see var/log.")
    return bool(state == "finished")


class _Writer:
    """Writes the parts of the campaign through the API."""

    def __init__(self, stage: Stage, digest: Digest) -> None:
        self._stage = stage
        self._best = {slug_of(category): (category, best) for category, best in digest.bestsellers.items()}
        self._creatives = {row["name"]: row["id"] for row in stage.api.get("/creatives")["creatives"]}
        self._offers = {row["name"]: row["id"] for row in stage.api.get("/offers")["offers"]}
        self.promoted: dict[int, Promoted] = {}

    def restock(self, regular: Regular) -> int:
        """The discount on what is due. Met, and gone, once something of the category is bought."""
        return self._offer(
            name=f"Restock {regular.words}",
            kind="replacement",
            creative="Restock discount",
            category=regular.category,
            place=0,
            purpose_category=regular.category,
            needs_stock=True,
            shows_price=True,
            priority=10,
            value_cents=WORTH,
            relevant={"field": "purchases.due_ratio", "category": regular.category, "op": ">=", "value": 0.8},
            fields={
                "eyebrow": "Time to restock",
                "headline": f"{regular.words[:1].upper()}{regular.words[1:]}, {regular.percent}% off",
                "body": "Your regular, for less this week.",
                "badge": f"-{regular.percent}%",
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
                "eyebrow": f"{regular.words[:1].upper()}{regular.words[1:]}: restocked",
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
            place=1,
            purpose_category=category,
            needs_stock=True,
            shows_price=True,
            value_cents=WORTH,
            cap_total=CAP if category == CAPPED else None,
            relevant={"field": "purchases.count", "category": category, "within_days": 84, "op": ">=", "value": 2},
            fields={"eyebrow": "The next step up", "percent": 10, "badge": "-10%"},
        )

    def message(self) -> int:
        """The mail: the shipped layout with a hero and two tiles."""
        settings = self._stage.settings
        sender, _, address = settings.from_address.partition("<")
        made = starting.message(starting.LAYOUTS[0], NAME, sender.strip(), address.strip(" >"), settings.postal_address)
        made = msgspec.structs.replace(made, subject="{{ profile.first_name }}, time to restock?")
        return int(self._stage.api.post("/messages", made)["id"])

    def default(self, size: tuple[int, int]) -> int:
        """The shipped neutral offer of a size."""
        name = starting.DEFAULTS[size][1]
        if name not in self._offers:
            raise StartError(f"The offer {name!r} that every installation starts with is gone; the story needs it.")
        return int(self._offers[name])

    def _product(self, slug: str, place: int) -> Promoted:
        category, best = self._best.get(slug, ("", ()))
        if len(best) <= place:
            raise StartError(f"The data hold no product number {place + 1} of the category {slug}.")
        return Promoted(best[place], category, slug)

    def _offer(self, *, creative: str, category: str, place: int | None = None, **content: Any) -> int:
        """Make an offer. `place`: it is about the category's bestseller (0) or the dearer one (1)."""
        promoted = self._product(category, place) if place is not None else None
        made = OfferIn(
            creative_id=self._creatives[creative],
            landing=f"{SHOP}/{category}?for={content['kind']}",
            category=category,
            product=promoted.best.id if promoted else None,
            **content,
        )
        number = int(self._stage.api.post("/offers", made)["id"])
        if promoted:
            self.promoted[number] = promoted
        return number
