"""Products that are committed and perhaps not yet told to render, noted with what changed them.

Who changes a product holds its row and notes it; who publishes it holds the row too, and takes the note back before it
lets go. So a note that stays belongs to a store that was away, or to a process that died in between: a recorder
publishes it. There is one note a product, however often it could not be published.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model

AT_ONCE: Final = 1_000


class ProductDue(Model):
    """A product that is to be published."""

    __tablename__ = "product_due"

    product_id: Mapped[str] = mapped_column(primary_key=True)


_NOTE: Final = text("""
    INSERT INTO product_due (product_id) SELECT unnest(CAST(:products AS text[])) ON CONFLICT DO NOTHING
""")
# A note that comes back after a crash is followed once more: no need to wait for the disk.
_DONE: Final = text("""
    DELETE FROM product_due USING (SELECT set_config('synchronous_commit', 'off', true)) AS setting
    WHERE product_id = ANY(CAST(:products AS text[]))
""")
# Drawn, so that those whose node is away keep none of the others waiting for good.
_WAITING: Final = text("SELECT product_id FROM product_due ORDER BY random() LIMIT :most")


def note(session: Session, products: Collection[str]) -> None:
    """Note that these products, whose rows the transaction holds, are to be published."""
    session.execute(_NOTE, {"products": sorted(products)})


def done(session: Session, products: Collection[str]) -> None:
    """Take notes back: these products, whose rows the transaction holds, are published."""
    session.execute(_DONE, {"products": sorted(products)})


def waiting(session: Session) -> list[str]:
    """At most AT_ONCE products that wait."""
    return list(session.scalars(_WAITING, {"most": AT_ONCE}))
