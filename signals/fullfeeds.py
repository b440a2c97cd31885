"""Full feeds: what the whole catalogue of a source says by leaving products out, and the guard against a cut one.

A product of the source that its full feed does not name is gone: no offer shows it until a feed tells it whole again.
The row stays, for history. A feed that would take away more than a stated share at once takes nothing away, for that is
what a file looks like that broke off; whoever means it says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from signals import productoutbox
from signals.intake import Intake
from signals.products import CHUNK, MOST_UNREAD, FeedReport, publish_products, take_products
from signals.sources import Sender

Feed = Literal["full", "part", "delta"]
"""The whole catalogue of its source, whole items of it, or what changes."""
FEEDS: Final[tuple[Feed, ...]] = ("full", "part", "delta")
MOST_SHARE: Final = 0.2
"""Of the products of a source, the share that one feed may take away unasked."""


class FullFeed(Model):
    """The last full feed of a source: when it came, how many products are gone since, and how many it left out that
    stayed since they were too many, of `known` ones that were not gone."""

    __tablename__ = "full_feed"

    source_id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    gone: Mapped[int]
    held_back: Mapped[int]
    known: Mapped[int]


_COUNT: Final = text("""
    SELECT count(*) AS known,
           count(*) FILTER (WHERE rest_told_at < :now AND NOT id = ANY(CAST(:unread AS text[]))) AS left_out
    FROM product WHERE source_id = :source AND gone_at IS NULL
""")
_TAKE_AWAY: Final = text("""
    WITH left_out AS (
        SELECT id FROM product
        WHERE source_id = :source AND gone_at IS NULL AND rest_told_at < :now
            AND NOT id = ANY(CAST(:unread AS text[]))
        ORDER BY id LIMIT :most FOR UPDATE
    )
    UPDATE product SET gone_at = :now, rest_told_at = :now, feed_at = GREATEST(feed_at, :now) FROM left_out
    WHERE product.id = left_out.id
    RETURNING product.id
""")
_NOTE: Final = text("""
    INSERT INTO full_feed (source_id, at, gone, held_back, known) VALUES (:source, :now, :gone, :held_back, :known)
    ON CONFLICT (source_id) DO UPDATE SET at = excluded.at, gone = excluded.gone, held_back = excluded.held_back,
        known = excluded.known
    WHERE full_feed.at <= excluded.at
""")


def take_full(
    intake: Intake, sender: Sender, items: Iterable[Mapping[str, Any]], now: datetime, *, any_share: bool = False
) -> FeedReport:
    """Store and publish the items of a source's whole catalogue; what it leaves out of the source's products is gone.

    `any_share`: also where that is more than MOST_SHARE of them. Items that are refused are there all the same. Raises
    Unavailable when a store is away (sending the feed again is safe and finishes the work) and InvalidInput when the
    feed cannot be read to its end: then nothing is gone.
    """
    report = take_products(intake, sender, items, now, "full")
    asked = {"source": sender.id, "now": now, "unread": sorted(report.unread)}
    known, left_out = intake.settle(partial(_count, asked))
    is_telling = report.refused <= MOST_UNREAD and (any_share or left_out <= MOST_SHARE * known)
    if is_telling:
        report.gone = _take_away(intake, asked)
    else:
        report.held_back = left_out
    told = asked | {"gone": report.gone, "held_back": report.held_back, "known": known}
    intake.settle(lambda session: session.execute(_NOTE, told))
    return report


def _count(asked: Mapping[str, Any], session: Session) -> tuple[int, int]:
    row = session.execute(_COUNT, asked).one()
    return row.known, row.left_out


def _take_away(intake: Intake, asked: Mapping[str, Any]) -> int:
    """Mark what the feed left out as gone and tell opens, a thousand at a time; returns how many are."""

    def mark(session: Session) -> list[str]:
        marked = list(session.scalars(_TAKE_AWAY, dict(asked) | {"most": CHUNK}))
        productoutbox.note(session, marked)
        return marked

    gone = 0
    while marked := intake.settle(mark):
        publish_products(intake, marked)
        gone += len(marked)
    return gone
