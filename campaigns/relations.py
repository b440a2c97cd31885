"""Relations of products and categories: which artefact opens read, and what managers set by hand, which wins.

A worker learns (workers/relations.py); here the artefact is kept, listed and joined with what was set by hand. A change
by hand makes a new artefact of the learnt one at once: opens have it within seconds, and the next lesson keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace
from sqlalchemy import exists, func, or_, select, text
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import Conflict, InvalidInput, NotFound
from campaigns import admin_log, rulebook
from campaigns.admin_log import Actor
from campaigns.models.catalogue import Offer
from campaigns.models.relations import LearntRelations, RelationByHand
from render.relations import Learnt, Relations, encode
from signals.moments import ORIGIN, ORIGIN_MS
from signals.products import Product

Kind = Literal["pair", "parted", "interval"]
MAX_BY_HAND: Final = 1_000
MAX_SEEN: Final = 500
"""Entries of each list that are shown."""
EVERY: Final = timedelta(days=1)
"""How often stored orders are learnt from anew."""
_LOCK: Final = 4_203_013
"""The advisory lock under which a new artefact is made of the newest one; any number that no other lock has."""


class ByHandIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a manager knows better than the orders tell; categories are slugs.

    pair: `other` goes with `category`, before all that was learnt. parted: it does not. interval: `category` is bought
    again after `days` at the soonest.
    """

    kind: Kind
    category: Annotated[str, Meta(max_length=200)]
    other: Annotated[str, Meta(max_length=200)] | None = None
    days: Annotated[int, Meta(ge=1, le=3650)] | None = None


def newest(session: Session) -> LearntRelations | None:
    """The artefact that opens read; None before the first lesson and the first word by hand."""
    return session.scalar(select(LearntRelations).order_by(LearntRelations.number.desc()).limit(1))


def current(session: Session) -> str | None:
    """The hash of the artefact that opens read."""
    row = newest(session)
    return None if row is None else row.hash


def is_due(session: Session, now: datetime) -> bool:
    """Whether to learn anew: once a day, where an offer asks for it or somebody looked after it by hand."""
    asks = exists().where(
        Offer.archived_at.is_(None),
        or_(Offer.pick.is_not(None), Offer.when_due, Offer.units.is_not(None)),
    )
    if not session.scalar(select(or_(asks, exists().where(RelationByHand.id.is_not(None))))):
        return False
    row = newest(session)
    return row is None or row.until_at <= now - EVERY


def load(session: Session, blobs: FolderBlobs) -> Relations | None:
    """The artefact that opens read."""
    digest = current(session)
    return None if digest is None else Relations.load(blobs.get(digest))


def keep(session: Session, blobs: FolderBlobs, learnt: Learnt, now: datetime) -> str:
    """Join what was learnt with what is set by hand, keep it, and have opens read it from now on; its hash."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    data = encode(_with_hands(session, learnt))
    digest = blobs.put(data)
    if current(session) != digest:
        session.add(
            LearntRelations(
                hash=digest,
                created_at=now,
                from_at=moment(learnt.from_ms),
                until_at=moment(learnt.until_ms),
                orders=learnt.orders,
                size=len(data),
            )
        )
        session.flush()
    return digest


def by_hand(session: Session) -> list[RelationByHand]:
    """What is set by hand, by category."""
    return list(session.scalars(select(RelationByHand).order_by(RelationByHand.category, RelationByHand.id)))


class Pair(Struct, frozen=True):
    """A category that goes with another: orders that held both and the lift, 0 where it is set by hand."""

    category: str
    other: str
    orders: int
    lift: float
    by_hand: bool


class Again(Struct, frozen=True):
    """After how many days a category is bought again, and how often that was seen; 0 where it is set by hand."""

    category: str
    days: int
    seen: int
    by_hand: bool


class Bought(Struct, frozen=True):
    """A product, and how many people bought it in the counted time."""

    product: str
    title: str
    people: int


class Seen(Struct, frozen=True):
    """What opens go by, for people: each list as opens take it, the first first, cut at MAX_SEEN."""

    hash: str | None = None
    until: datetime | None = None
    counted_from: datetime | None = None
    orders: int = 0
    complements: tuple[Pair, ...] = ()
    intervals: tuple[Again, ...] = ()
    bought: tuple[Bought, ...] = ()


def seen(session: Session, blobs: FolderBlobs) -> Seen:
    """What opens go by now."""
    known = load(session, blobs)
    if known is None:
        return Seen()
    learnt, words = known.learnt, {number: slug for slug, number in rulebook.categories(session).items()}
    most = sorted(learnt.buyers, key=lambda name: (-learnt.buyers[name], name))[:MAX_SEEN]
    rows = session.execute(select(Product.id, Product.title).where(Product.id.in_(most)))
    titles = {row.id: row.title for row in rows}
    is_taught = learnt.until_ms > 0
    return Seen(
        hash=known.hash,
        until=moment(learnt.until_ms) if is_taught else None,
        counted_from=moment(learnt.counted_from_ms) if is_taught else None,
        orders=learnt.orders,
        complements=tuple(_pairs(known, words))[:MAX_SEEN],
        intervals=tuple(_intervals(known, words))[:MAX_SEEN],
        bought=tuple(Bought(name, titles.get(name, name), learnt.buyers[name]) for name in most),
    )


def _pairs(known: Relations, words: Mapping[int, str]) -> Iterator[Pair]:
    learnt = known.learnt
    for category in sorted({*learnt.complements, *learnt.pairs} & set(words), key=words.__getitem__):
        told = {one.other: one for one in learnt.complements.get(category, ())}
        for other in known.complements(category):
            is_by_hand = other in learnt.pairs.get(category, ())
            one = told.get(other)
            orders, lift = (one.support, one.lift) if one is not None else (0, 0.0)
            if other in words:
                yield Pair(words[category], words[other], orders, lift, is_by_hand)


def _intervals(known: Relations, words: Mapping[int, str]) -> Iterator[Again]:
    learnt = known.learnt
    for category in sorted({*learnt.intervals, *learnt.days} & set(words), key=words.__getitem__):
        told, days = learnt.intervals.get(category), known.interval_days(category)
        yield Again(words[category], days or 0, told.gaps if told is not None else 0, category in learnt.days)


def set_by_hand(
    session: Session, blobs: FolderBlobs, content: ByHandIn, now: datetime, by: Actor
) -> RelationByHand:  # fmt: skip
    """Set a pair, a parting or an interval; opens follow within seconds. Raises InvalidInput, Conflict."""
    known = rulebook.categories(session)
    hidden = set(rulebook.sensitive(session))
    wants_other = content.kind != "interval"
    if wants_other != (content.other is not None):
        raise InvalidInput("other", "must name a category" if wants_other else "has no meaning for an interval")
    if wants_other == (content.days is not None):
        raise InvalidInput("days", "must be given" if not wants_other else "has no meaning for two categories")
    for field, slug in (("category", content.category), ("other", content.other)):
        if slug is not None and slug not in known:
            raise InvalidInput(field, f"names the category {slug}, which there is not")
        if slug is not None and known[slug] in hidden:
            raise InvalidInput(field, "is a sensitive category: it may not choose what is shown")
    if content.other == content.category:
        raise InvalidInput("other", "is the category itself")
    same = (RelationByHand.category == content.category, RelationByHand.other.is_not_distinct_from(content.other))
    if session.scalar(select(RelationByHand.id).where(*same)) is not None:
        raise Conflict("This is set by hand already; remove it first.")
    if (session.scalar(select(func.count()).select_from(RelationByHand)) or 0) >= MAX_BY_HAND:
        raise Conflict(f"No more than {MAX_BY_HAND} relations can be set by hand.")
    row = RelationByHand(
        kind=content.kind, category=content.category, other=content.other, days=content.days,
        created_at=now, created_by=by.name,
    )  # fmt: skip
    session.add(row)
    session.flush()
    admin_log.record(session, by, "create", "relation by hand", row.id, now, after=admin_log.snapshot(row))
    _join_anew(session, blobs, now)
    return row


def remove_by_hand(session: Session, blobs: FolderBlobs, number: int, now: datetime, by: Actor) -> None:
    """Take back what was set by hand: what was learnt holds again. Raises NotFound."""
    row = session.get(RelationByHand, number)
    if row is None:
        raise NotFound("relation by hand", number)
    before = admin_log.snapshot(row)
    session.delete(row)
    session.flush()
    admin_log.record(session, by, "delete", "relation by hand", number, now, before=before)
    _join_anew(session, blobs, now)


def _join_anew(session: Session, blobs: FolderBlobs, now: datetime) -> None:
    known = load(session, blobs)
    keep(session, blobs, known.learnt if known is not None else Learnt(), now)


def _with_hands(session: Session, learnt: Learnt) -> Learnt:
    known = rulebook.categories(session)
    pairs: dict[int, tuple[int, ...]] = {}
    parted: dict[int, tuple[int, ...]] = {}
    days: dict[int, int] = {}
    for row in by_hand(session):
        category, other = known.get(row.category), known.get(row.other or "")
        if category is None:
            continue
        if row.kind == "interval" and row.days is not None:
            days[category] = row.days
        elif other is not None:
            among = pairs if row.kind == "pair" else parted
            among[category] = (*among.get(category, ()), other)
    return replace(learnt, pairs=pairs, parted=parted, days=days)


def moment(at_ms: int) -> datetime:
    """The moment of Unix milliseconds, as an artefact tells times."""
    return ORIGIN + timedelta(milliseconds=at_ms - ORIGIN_MS)
