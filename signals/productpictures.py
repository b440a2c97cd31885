"""The pictures of products: which are to be fetched, which are kept, which failed and why.

A feed notes the links; a worker claims what is due, fetches it and settles it. A claim is a lease: what a killed worker
left comes round again. A picture that a manager uploaded stays, whatever the feed links to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ForeignKey, Index, Row, func, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model

LEASE: Final = timedelta(minutes=10)
BACK_OFF: Final = (
    timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=8), timedelta(hours=24),
)  # fmt: skip
"""How long after each failure the next try is; after the last of them nobody tries until the link changes or a person
asks."""
REASON_LENGTH: Final = 200


class ProductPicture(Model):
    """Where a product's picture comes from. `due_at` is the next try, None when there is nothing to do.

    `origin` is "feed" or "upload"; `attempts` counts the tries of this link, `fault` is why the last one failed.
    """

    __tablename__ = "product_picture"
    __table_args__ = (Index("ix_product_picture_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),)

    product_id: Mapped[str] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"), primary_key=True)
    origin: Mapped[str]
    link: Mapped[str | None]
    due_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    fault: Mapped[str | None]
    settled_at: Mapped[datetime | None]


_NOTE: Final = text("""
    INSERT INTO product_picture (product_id, origin, link, due_at)
    SELECT id, 'feed', image_link, :now FROM product WHERE id = ANY(:ids) AND image_link IS NOT NULL ORDER BY id
    ON CONFLICT (product_id) DO UPDATE SET link = excluded.link, due_at = excluded.due_at, attempts = 0, fault = NULL
    WHERE product_picture.origin = 'feed' AND product_picture.link IS DISTINCT FROM excluded.link
""")
_FORGET: Final = text("""
    WITH gone AS (
        DELETE FROM product_picture USING product
        WHERE product.id = product_picture.product_id AND product.id = ANY(:ids) AND product.image_link IS NULL
              AND product_picture.origin = 'feed'
        RETURNING product_id
    )
    UPDATE product SET image_blob = NULL FROM gone WHERE product.id = gone.product_id
""")
# As an inner query the piece might be taken again for each row, and so be larger than it may.
_CLAIM: Final = text("""
    WITH piece AS MATERIALIZED (
        SELECT product_id FROM product_picture WHERE due_at <= :now ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED
    )
    UPDATE product_picture p SET due_at = :until, attempts = p.attempts + 1
    FROM piece WHERE p.product_id = piece.product_id
    RETURNING p.product_id, p.link
""")
_SETTLE: Final = text("""
    UPDATE product_picture SET due_at = :due_at, fault = :fault, settled_at = :now
    WHERE product_id = :id AND origin = 'feed' AND link = :link
""")
_SHOW: Final = text("UPDATE product SET image_blob = :digest WHERE id = :id")
_UPLOADED: Final = text("""
    INSERT INTO product_picture (product_id, origin, settled_at) VALUES (:id, 'upload', :now)
    ON CONFLICT (product_id) DO UPDATE
    SET origin = 'upload', link = NULL, due_at = NULL, attempts = 0, fault = NULL, settled_at = excluded.settled_at
""")


def note_links(session: Session, ids: Sequence[str], now: datetime) -> None:
    """Make the pictures of these products due whose link is new; forget those that the feed no longer links to."""
    session.execute(_NOTE, {"ids": list(ids), "now": now})
    session.execute(_FORGET, {"ids": list(ids)})


def is_any_due(session: Session, now: datetime) -> bool:
    """Whether a picture waits to be fetched."""
    return bool(session.scalar(select(select(ProductPicture.product_id).where(ProductPicture.due_at <= now).exists())))


def claim(session: Session, now: datetime, most: int) -> list[tuple[str, str]]:
    """Product and link of up to `most` pictures that are due. Nobody else gets them for LEASE."""
    rows = session.execute(_CLAIM, {"now": now, "until": now + LEASE, "most": most})
    return [(row.product_id, row.link) for row in rows]


def keep(session: Session, product_id: str, link: str, digest: str, now: datetime) -> bool:
    """The link's picture is in the blob store. False when the link changed meanwhile: then it is not this product's."""
    settled = {"id": product_id, "link": link, "due_at": None, "fault": None, "now": now}
    if not session.execute(_SETTLE, settled).rowcount:  # type: ignore[attr-defined]
        return False
    session.execute(_SHOW, {"id": product_id, "digest": digest})
    return True


def fail(session: Session, product_id: str, link: str, fault: str, now: datetime) -> None:
    """The link's picture could not be had: note why, and when to try again. The picture kept before stays."""
    tries = session.scalar(select(ProductPicture.attempts).where(ProductPicture.product_id == product_id)) or 1
    due_at = now + BACK_OFF[tries - 1] if tries <= len(BACK_OFF) else None
    settled = {"id": product_id, "link": link, "due_at": due_at, "fault": fault[:REASON_LENGTH], "now": now}
    session.execute(_SETTLE, settled)


def try_again(session: Session, ids: Iterable[str], now: datetime) -> int:
    """Make pictures that failed due now; returns how many."""
    failed = update(ProductPicture).where(ProductPicture.product_id.in_(list(ids)), ProductPicture.fault.is_not(None))
    done = session.execute(failed.values(due_at=now, attempts=0))
    return int(done.rowcount)  # type: ignore[attr-defined]


def upload(session: Session, product_id: str, digest: str, now: datetime) -> None:
    """A person's own picture of the product: from now on the feed's link is not followed."""
    session.execute(_UPLOADED, {"id": product_id, "now": now})
    session.execute(_SHOW, {"id": product_id, "digest": digest})


def counts(session: Session) -> dict[str, int]:
    """How many pictures of products are kept, wait for their first try, and failed."""
    failed = ProductPicture.fault.is_not(None)
    row = session.execute(
        select(
            func.count().filter(ProductPicture.due_at.is_(None), ~failed),
            func.count().filter(ProductPicture.due_at.is_not(None), ~failed),
            func.count().filter(failed),
        )
    ).one()
    return {"kept": row[0], "waiting": row[1], "failed": row[2]}


def failures(session: Session, after: str, most: int) -> list[Row[tuple[str, str, str, datetime | None]]]:
    """Product, link, fault and next try of what failed, by product, those after `after`."""
    query = select(ProductPicture.product_id, ProductPicture.link, ProductPicture.fault, ProductPicture.due_at)
    return list(
        session.execute(
            query.where(ProductPicture.fault.is_not(None), ProductPicture.product_id > after)
            .order_by(ProductPicture.product_id)
            .limit(most)
        )
    )
