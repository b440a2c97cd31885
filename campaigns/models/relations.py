"""What was learnt of products and categories, and what managers set by hand."""

from datetime import datetime

from sqlalchemy import DateTime, Identity, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class LearntRelations(Model):
    """One artefact, in the blob store by its hash; the newest number is what opens read.

    `orders` placed from `from_at` until `until_at` are behind it.
    """

    __tablename__ = "relations"

    number: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    from_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    until_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    orders: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(Integer)


class RelationByHand(Model):
    """What a manager knows better; categories are slugs.

    `kind`: pair (the other category goes with it), parted (it does not), interval (days between purchases).
    """

    __tablename__ = "relation_by_hand"
    __table_args__ = (
        Index("relation_by_hand_once", "category", text("coalesce(other, '')"), unique=True),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    category: Mapped[str] = mapped_column(Text)
    other: Mapped[str | None] = mapped_column(Text)
    days: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str] = mapped_column(Text)
