"""What a new installation starts with: the shipped creatives, a neutral default for each size, and two mail layouts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

import templates
from campaigns import creatives, offers
from campaigns.admin_log import SYSTEM
from campaigns.mail import MessageIn, SlotIn
from campaigns.models import Creative, Offer
from campaigns.offers import OfferIn
from render.starting import HERO, STARTING, TILE

EMAILS: Final = Path(templates.__file__).parent / "email"
DEFAULTS: Final = {HERO: ("Neutral", "Neutral hero"), TILE: ("Neutral tile", "Neutral tile")}
"""Declared size → the creative and the offer that stand as default there."""

USUAL_DESIGNS: Final = {
    "replacement": "Restock discount", "cross-sell": "Goes well with", "upsell": "Step up", "volume": "Price drop",
    "bundle": "Bundle", "thank-you": "Thank you", "service": "Service notice", "neutral": "Neutral",
}  # fmt: skip
"""Kind of an offer → the shipped creative that suits it."""
ALT: Final = "Your offer, chosen when you look. View it in the browser if you see no picture."


@dataclass(frozen=True)
class Layout:
    """A mail to start from: its folder under templates/email, a title, and its places (name, size)."""

    name: str
    title: str
    places: tuple[tuple[str, tuple[int, int]], ...]


LAYOUTS: Final = (
    Layout("offers", "A large picture and two small ones", (("hero", HERO), ("left", TILE), ("right", TILE))),
    Layout("picture", "One large picture", (("hero", HERO),)),
)


def seed(session: Session, now: datetime) -> None:
    """Add the shipped creatives and the neutral offers that are not there yet; change nothing that is."""
    known = dict(session.execute(select(Creative.name, Creative.id)).all())
    missing: dict[str, dict[str, Any]] = {}
    for shipped in STARTING:
        if shipped.name not in known:
            document: dict[str, Any] = msgspec.to_builtins(shipped)
            missing[shipped.name] = {key: value for key, value in document.items() if key not in ("id", "name")}
    known |= {row.name: row.id for row in creatives.create_creatives(session, missing, now, SYSTEM)}
    names = set(session.scalars(select(Offer.name)))
    for creative, offer in DEFAULTS.values():
        if offer not in names:
            neutral = OfferIn(
                name=offer, kind="neutral", creative_id=known[creative], landing="https://www.example.com/"
            )
            offers.create_offer(session, neutral, now, SYSTEM)


def usual_design(session: Session, kind: str) -> int | None:
    """The shipped creative that suits a kind of offer, or None when it was archived or there is no such kind."""
    name = USUAL_DESIGNS.get(kind)
    return session.scalar(select(Creative.id).where(Creative.name == name, Creative.archived_at.is_(None)))


def default_offer(session: Session, size: tuple[int, int]) -> int | None:
    """The shipped neutral offer of a size, or None when it was archived or there never was one."""
    name = DEFAULTS[size][1] if size in DEFAULTS else None
    return session.scalar(select(Offer.id).where(Offer.name == name, Offer.archived_at.is_(None)))


def message(layout: Layout, name: str, sender: str, address: str, postal_address: str) -> MessageIn:
    """A message of this layout, ready to be kept."""
    folder = EMAILS / layout.name
    return MessageIn(
        name=name,
        subject=(folder / "subject.txt").read_text().strip(),
        from_name=sender,
        from_address=address,
        mjml=(folder / "body.mjml").read_text(),
        text=(folder / "body.txt").read_text(),
        postal_address=postal_address,
        fallbacks={"first_name": "there"},
        slots=[
            SlotIn(index=number, name=place, width=size[0], height=size[1], alt=ALT)
            for number, (place, size) in enumerate(layout.places)
        ],
    )
