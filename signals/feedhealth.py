"""How product feeds do: when each source last told of products, how many it told and why some were refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, delete, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model

KEPT_DAYS: Final = 90
"""Days of counts that are kept for each source."""
WEEK: Final = timedelta(days=7)
MOST_REASONS: Final = 10
"""Reasons that are told for each source, the commonest first."""


class FeedDay(Model):
    """What a source told of products on a day (UTC): items that were taken and that were refused."""

    __tablename__ = "feed_day"

    source_id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    last_at: Mapped[datetime]
    taken: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why items were refused: the attribute, what is wrong with it and how often, of those that are listed."""

    field: str
    message: str
    times: int


@dataclass(slots=True)
class Feed:
    """How the products of one source do; `source_id` None are those told before sources were noted.

    `products` are of its feed and not gone, `stale` of them were told longer ago than the bound; `oldest_at` and
    `newest_at` are the times of these. `gone` are those besides that its full feeds left out. The last full feed came
    at `full_at` and left out `held_back` more of the `known` ones, too many to be believed, which stay. `last_at` is
    when it last told anything, also a refused item. `taken` and `refused` count items of the last seven days.
    """

    source_id: int | None
    products: int = 0
    stale: int = 0
    gone: int = 0
    full_at: datetime | None = None
    held_back: int = 0
    known: int = 0
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    last_at: datetime | None = None
    taken: int = 0
    refused: int = 0
    reasons: list[Reason] = field(default_factory=list)


_NOTE: Final = text("""
    INSERT INTO feed_day (source_id, day, last_at, taken, refused) VALUES (:source, :day, :now, :taken, :refused)
    ON CONFLICT (source_id, day) DO UPDATE SET last_at = greatest(feed_day.last_at, excluded.last_at),
        taken = feed_day.taken + excluded.taken, refused = feed_day.refused + excluded.refused
""")
_PRODUCTS: Final = text("""
    SELECT source_id, count(*) FILTER (WHERE gone_at IS NULL) AS products, count(gone_at) AS gone,
           count(*) FILTER (WHERE gone_at IS NULL AND feed_at < :stale_before) AS stale,
           min(feed_at) FILTER (WHERE gone_at IS NULL) AS oldest_at, max(feed_at) AS newest_at
    FROM product GROUP BY source_id
""")
_DAYS: Final = text("""
    SELECT source_id, max(last_at) AS last_at, coalesce(sum(taken) FILTER (WHERE day >= :since), 0) AS taken,
           coalesce(sum(refused) FILTER (WHERE day >= :since), 0) AS refused
    FROM feed_day GROUP BY source_id
""")
_FULL: Final = text("SELECT source_id, at, held_back, known FROM full_feed")
# Each product is looked up by its id: planned as a join, it reads the catalogue.
_QUIET: Final = text("""
    WITH told AS MATERIALIZED (
        SELECT s.id, EXISTS (SELECT FROM full_feed f WHERE f.source_id = s.id) AS is_full FROM source s
        WHERE s.disabled_at IS NULL AND EXISTS (SELECT FROM feed_day d WHERE d.source_id = s.id AND d.taken > 0)
    ), found AS MATERIALIZED (
        SELECT needed.before, p.source_id, p.feed_at < needed.before AS is_old
        FROM unnest(CAST(:products AS text[]), CAST(:befores AS timestamptz[])) AS needed (id, before)
        CROSS JOIN LATERAL (
            SELECT source_id, feed_at FROM product WHERE id = needed.id AND gone_at IS NULL LIMIT 1
        ) AS p
    )
    SELECT count(DISTINCT id) FROM (
        SELECT told.id FROM found JOIN told ON told.id = found.source_id
        GROUP BY told.id, told.is_full, found.before
        HAVING CASE WHEN told.is_full THEN count(*) FILTER (WHERE is_old) > count(*) * CAST(:most AS float8)
            ELSE bool_and(is_old) END
    ) AS quiet
""")
MOST_STALE: Final = 0.2
"""Of the products needed of a source that tells full feeds: a few may be ones that it left out or that were refused."""
_REASONS: Final = text("""
    SELECT source_id, field, message, count(*) AS times FROM rejected_event
    WHERE reason = 'product' AND at > :since GROUP BY source_id, field, message ORDER BY times DESC, field, message
    LIMIT 1000
""")


def note(session: Session, source_id: int, taken: int, refused: int, now: datetime) -> None:
    """Count items that a source told of; its oldest days make room."""
    told = {"source": source_id, "day": now.date(), "now": now, "taken": taken, "refused": refused}
    session.execute(_NOTE, told)
    oldest = now.date() - timedelta(days=KEPT_DAYS)
    session.execute(delete(FeedDay).where(FeedDay.source_id == source_id, FeedDay.day < oldest))


def quiet(session: Session, needed: Mapping[timedelta, Collection[str]], now: datetime) -> int:
    """How many feeds whose key is still good told too long ago of what is needed of them: products by how long ago at
    most they must have been told. Too long are more than a fifth where the source tells full feeds, else all of them.

    Nothing but these products is looked at, so that it costs the same however large the catalogue is.
    """
    pairs = [(name, now - bound) for bound, names in needed.items() for name in names]
    asked = {"products": [name for name, _ in pairs], "befores": [before for _, before in pairs], "most": MOST_STALE}
    return session.scalar(_QUIET, asked) or 0


def feeds(session: Session, now: datetime, bound: timedelta) -> list[Feed]:
    """How each source that ever told of products does, by source; `bound`: facts that are older count as stale."""
    found: dict[int | None, Feed] = {}

    def of(source: int | None) -> Feed:
        return found.setdefault(source, Feed(source))

    for row in session.execute(_PRODUCTS, {"stale_before": now - bound}):
        feed = of(row.source_id)
        feed.products, feed.gone, feed.stale, feed.oldest_at, feed.newest_at = (
            row.products, row.gone, row.stale, row.oldest_at, row.newest_at,
        )  # fmt: skip
        feed.last_at = row.newest_at
    for row in session.execute(_DAYS, {"since": (now - WEEK).date()}):
        feed = of(row.source_id)
        feed.last_at, feed.taken, feed.refused = row.last_at, int(row.taken), int(row.refused)
    for row in session.execute(_FULL):
        feed = of(row.source_id)
        feed.full_at, feed.held_back, feed.known = row.at, row.held_back, row.known
    for row in session.execute(_REASONS, {"since": now - WEEK}):
        reasons = of(row.source_id).reasons
        if len(reasons) < MOST_REASONS:
            reasons.append(Reason(row.field, row.message, row.times))
    return [found[source] for source in sorted(found, key=lambda source: (source is None, source or 0))]
