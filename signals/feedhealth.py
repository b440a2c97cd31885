"""How product feeds do: when each source last told of products, how many it told and why some were refused."""

from __future__ import annotations

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
    """Why items were refused: the attribute, what is wrong with it and how often."""

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
_QUIET: Final = text("""
    SELECT count(*) FROM (
        SELECT p.source_id FROM product p JOIN source s ON s.id = p.source_id
        WHERE s.disabled_at IS NULL AND s.id IN (SELECT source_id FROM feed_day WHERE taken > 0)
          AND p.gone_at IS NULL
        GROUP BY p.source_id
        HAVING count(*) FILTER (WHERE p.feed_at < :before) > count(*) * CASE
            WHEN EXISTS (SELECT FROM full_feed f WHERE f.source_id = p.source_id) THEN CAST(:most AS float8)
            ELSE 0.9999999 END
    ) AS quiet
""")
MOST_STALE: Final = 0.2
"""Of the products of a source that tells full feeds: more of them are too old only where its feed does not come."""
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


def quiet(session: Session, before: datetime) -> int:
    """How many feeds whose key is still good have not told of their products since that moment: of more than a fifth
    where they tell full feeds, else of any."""
    return session.scalar(_QUIET, {"before": before, "most": MOST_STALE}) or 0


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
