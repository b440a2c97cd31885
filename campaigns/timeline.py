"""One customer's timeline: mails, fetches, what was shown, clicks, orders and other signals, newest first.

Words are honest: a fetch is not a reader. Reading a timeline writes nothing; the caller notes it in the access log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns.models import Campaign, Delivery, Offer
from campaigns.opens import Click, Decision, Fetch
from signals.events import Event

MAX_ENTRIES = 300
"""Entries of each kind that are read; the page says when there are more."""

DELIVERY_WORDS = {
    "queued": "waits to be sent",
    "claimed": "is being handed to the mail server",
    "accepted": "accepted by the mail server",
    "deferred": "put off by the mail server; will be tried again",
    "failed": "refused by the mail server",
    "skipped": "not sent",
    "unknown": "handed over, outcome unknown",
}
REASON_WORDS = {
    "no_address": "no e-mail address is known",
    "unsubscribed": "the customer unsubscribed",
    "suppressed": "the address bounced or complained",
    "no_consent": "there is no consent to e-mail",
    "duplicate_address": "another profile with this address got the mail",
    "held_out": "held out to measure the campaign",
    "erased": "the customer was erased",
    "address_gone": "the address is gone",
    "cancelled": "the campaign was cancelled",
    "bounced": "the address bounced",
    "unsubscribed_since": "the customer unsubscribed before it was sent",
    "suppressed_since": "the address bounced or complained before it was sent",
    "no_consent_since": "the consent was withdrawn before it was sent",
}
CLASS_WORDS = {
    "person": "seen on a person's device",
    "proxy": "probably seen, through a mail provider",
    "undecided": "fetched by a device that may have done so on its own",
    "prefetch": "fetched by a machine ahead of reading",
    "scanner": "fetched by a security scanner",
    "test": "test send",
    "staff": "looked at by staff",
}
CLICK_FLAGS = (
    ("ambiguous", "two offers were shown shortly before; which one was meant is not certain"),
    ("unseen", "the pictures had not been loaded"),
    ("unresolved", "what was shown could not be told"),
)


@dataclass(frozen=True)
class Entry:
    """One line: when, what kind (mail, open, click, order, signal), in words, with what belongs to it."""

    at: datetime
    kind: str
    title: str
    detail: str = ""
    campaign: int | None = None
    decision: str | None = None
    offers: tuple[tuple[int, str], ...] = ()
    fetches: tuple[tuple[str, int], ...] = ()
    sha256: str | None = None
    cents: int | None = None
    currency: str | None = None
    late: datetime | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def timeline(session: Session, members: Sequence[int], limit: int = MAX_ENTRIES) -> list[Entry]:
    """Everything that happened to the profiles of one person, newest first, at most `limit` of each kind."""
    campaigns = dict(session.execute(select(Campaign.id, Campaign.name)).all())
    offers = dict(session.execute(select(Offer.id, Offer.name)).all())
    entries = [
        *_mails(session, members, campaigns, limit),
        *_opens(session, members, campaigns, offers, limit),
        *_clicks(session, members, campaigns, offers, limit),
        *_signals(session, members, limit),
    ]
    return sorted(entries, key=lambda entry: entry.at, reverse=True)


def _campaign_title(campaigns: dict[int, str], campaign: int, occurrence: int) -> str:
    name = campaigns.get(campaign, f"Campaign {campaign}")
    return f"{name} (test)" if occurrence & TEST_BIT else name


def _mails(session: Session, members: Sequence[int], campaigns: dict[int, str], limit: int) -> Iterable[Entry]:
    rows = session.scalars(
        select(Delivery).where(Delivery.profile_id.in_(members)).order_by(Delivery.id.desc()).limit(limit)
    )
    for row in rows:
        reason = REASON_WORDS.get(row.reason or "", row.reason or "")
        detail = DELIVERY_WORDS[row.state] + (f": {reason}" if reason else "")
        if row.holdout == "content":
            detail += "; neutral content, to measure the campaign"
        at = row.sent_at or row.settled_at or row.created_at
        yield Entry(at, "mail", _campaign_title(campaigns, row.campaign_id, row.occurrence), detail, row.campaign_id)


def _opens(
    session: Session, members: Sequence[int], campaigns: dict[int, str], offers: dict[int, str], limit: int
) -> Iterable[Entry]:
    decisions = session.execute(
        select(
            Decision.id,
            Decision.at,
            Decision.campaign_id,
            Decision.occurrence,
            Decision.lane,
            Decision.slots,
            Decision.rung,
        )
        .where(Decision.profile_id.in_(members))
        .order_by(Decision.at.desc())
        .limit(limit)
    ).all()
    fetches = _fetches_of(session, [row.id for row in decisions], members)
    for row in decisions:
        classes, sha256 = fetches.get(row.id, ({}, None))
        shown = tuple((int(slot), offers.get(offer, f"Offer {offer}")) for slot, offer in sorted(row.slots.items()))
        words = "; ".join(f"{CLASS_WORDS[name]}" for name in classes)
        yield Entry(
            at=row.at,
            kind="open",
            title=_campaign_title(campaigns, row.campaign_id, row.occurrence),
            detail=words or "decided, no picture was taken",
            campaign=row.campaign_id,
            decision=row.id,
            offers=shown,
            fetches=tuple(sorted(classes.items())),
            sha256=sha256,
            facts={"lane": row.lane, "rung": row.rung},
        )


def _fetches_of(
    session: Session, decisions: Sequence[str], members: Sequence[int]
) -> dict[str, tuple[dict[str, int], str | None]]:
    """Per decision: how often each class fetched, and the first picture's SHA-256 in hexadecimal."""
    found: dict[str, tuple[dict[str, int], str | None]] = {}
    rows = session.execute(
        select(Fetch.decision_id, Fetch.fetch_class, Fetch.sha256, Fetch.kind)
        .where(Fetch.decision_id.in_(decisions), Fetch.profile_id.in_(members))
        .order_by(Fetch.at, Fetch.slot)
    )
    for row in rows:
        if row.decision_id is None:
            continue
        classes, sha256 = found.get(row.decision_id, ({}, None))
        classes[row.fetch_class] = classes.get(row.fetch_class, 0) + 1
        if sha256 is None and row.kind == "picture" and row.sha256 is not None:
            sha256 = row.sha256.hex()
        found[row.decision_id] = (classes, sha256)
    return found


def _clicks(
    session: Session, members: Sequence[int], campaigns: dict[int, str], offers: dict[int, str], limit: int
) -> Iterable[Entry]:
    rows = session.scalars(select(Click).where(Click.profile_id.in_(members)).order_by(Click.at.desc()).limit(limit))
    for row in rows:
        target = offers.get(row.offer_id, f"Offer {row.offer_id}") if row.offer_id is not None else "the default page"
        flags = [words for name, words in CLICK_FLAGS if getattr(row, name)]
        who = "" if row.fetch_class == "person" else f"{CLASS_WORDS[row.fetch_class]}; "
        yield Entry(
            at=row.at,
            kind="click",
            title=_campaign_title(campaigns, row.campaign_id, row.occurrence),
            detail=f"{who}went to {target}" + (f" ({'; '.join(flags)})" if flags else ""),
            campaign=row.campaign_id,
            decision=row.decision_id,
        )


def _signals(session: Session, members: Sequence[int], limit: int) -> Iterable[Entry]:
    rows = session.scalars(
        select(Event).where(Event.profile_id.in_(members)).order_by(Event.event_time.desc()).limit(limit)
    )
    for row in rows:
        is_order = row.order_id is not None
        properties = row.body.get("properties") or {}
        late = row.received_at if (row.received_at - row.event_time).total_seconds() > 60 else None
        yield Entry(
            at=row.event_time,
            kind="order" if is_order else "signal",
            title=row.name or row.type,
            detail=_lines(properties) if isinstance(properties, dict) else "",
            cents=row.order_total_cents,
            currency=properties.get("currency") if isinstance(properties, dict) else None,
            late=late,
        )


def _lines(properties: dict[str, Any]) -> str:
    """What an event was about, in a few words: categories of its lines, or its own name."""
    products = properties.get("products")
    lines = products if isinstance(products, list) else [properties]
    names = []
    for line in lines:
        if isinstance(line, dict):
            name = line.get("name") or line.get("category") or line.get("product_id")
            if name and str(name) not in names:
                names.append(str(name))
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
