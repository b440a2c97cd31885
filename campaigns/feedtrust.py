"""How long campaigns trust what feeds tell: those whose mails are opened now, each by the plan that its opens read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from sqlalchemy import Select, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import NotFound
from base.ids import TEST_BIT
from campaigns import plans
from campaigns.models.campaign import Campaign, Occurrence
from signals.moments import unix_ms

USUAL: Final = timedelta(days=2)
"""After which facts are too old where no campaign says otherwise."""
MAILING: Final = ("scheduled", "sending", "paused")
MOST_CAMPAIGNS: Final = 200
"""The newest that are asked."""
MOST_PRODUCTS: Final = 50
"""Products of one plan that are asked for, those of its first offers."""


@dataclass(frozen=True, slots=True)
class Trust:
    """After which time a campaign takes facts for too old (`bound`), and the products that it needs fresh ones of."""

    name: str
    bound: timedelta
    products: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Needing:
    """An offer that is not shown without fresh facts of its products; `ends_ms`: nor from then on."""

    id: int
    ends_ms: int | None
    products: tuple[str, ...]


def trusts(session: Session, blobs: FolderBlobs, now: datetime) -> Mapping[int, Trust]:
    """By campaign, the shortest bound first: those that mail, or whose last run ended within a mail's lifetime.

    One that is switched off shows defaults alone and needs nothing. Of more than MOST_CAMPAIGNS the newest.
    """
    found = {}
    for row in session.execute(_opened(now)):
        try:
            bound, needing = _read(blobs, row.plan)
        except NotFound:
            continue
        shown = [one for one in needing if one.id not in row.withdrawn]
        lasting = [one for one in shown if one.ends_ms is None or one.ends_ms > unix_ms(now)]
        found[row.id] = Trust(row.name, bound, frozenset(name for one in lasting for name in one.products))
    return dict(sorted(found.items(), key=lambda item: (item[1].bound, item[1].name)))


def strictest(trusted: Mapping[int, Trust]) -> timedelta:
    """After which time some of these campaigns takes facts for too old; the usual bound where there is none."""
    return min((one.bound for one in trusted.values()), default=USUAL)


def needed(trusted: Mapping[int, Trust]) -> Mapping[timedelta, frozenset[str]]:
    """The products of which facts must be fresh, by the bound within which they must have been told."""
    found: dict[timedelta, frozenset[str]] = {}
    for one in trusted.values():
        found[one.bound] = found.get(one.bound, frozenset()) | one.products
    return found


def _opened(now: datetime) -> Select[int, str, Sequence[int], str | None]:
    ended = exists().where(
        Occurrence.campaign_id == Campaign.id,
        Occurrence.number < TEST_BIT,
        Occurrence.frozen_at.is_not(None),
        func.coalesce(Occurrence.finished_at, Occurrence.frozen_at)
        > now - func.make_interval(0, 0, 0, Campaign.lifetime_days),
    )
    follows = and_(Campaign.next_plan_hash.is_not(None), Campaign.next_plan_at <= now)
    return (
        select(
            Campaign.id,
            Campaign.name,
            Campaign.withdrawn,
            case((follows, Campaign.next_plan_hash), else_=Campaign.plan_hash).label("plan"),
        )
        .where(Campaign.plan_hash.is_not(None), ~Campaign.killed, or_(Campaign.state.in_(MAILING), ended))
        .order_by(Campaign.id.desc())
        .limit(MOST_CAMPAIGNS)
    )


@lru_cache(maxsize=MOST_CAMPAIGNS)
def _read(blobs: FolderBlobs, digest: str) -> tuple[timedelta, tuple[_Needing, ...]]:
    """Of a plan, which never changes: its bound, and its offers that need fresh facts. Raises NotFound."""
    plan = plans.load(blobs, digest)
    found, room = [], MOST_PRODUCTS
    for offer in plan.offers:
        needs = offer.needs_stock or offer.shows_price or offer.products or offer.pick is not None
        read = offer.read_products[:room] if needs else ()
        if read:
            found.append(_Needing(offer.id, offer.ends_ms, read))
            room -= len(read)
    return timedelta(seconds=plan.feed_stale_s), tuple(found)
