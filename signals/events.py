"""Stored signals: the truth from which everything else we know is folded, and what was not taken, with its reason."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, Identity, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model
from base.sealed import SealedBytes, SealedJson, SealedText

BODY: Final = SealedBytes("event.body")
"""A body as its bytes; the model has it as JSON."""
CONFLICT_BODY: Final = SealedBytes("event_conflict.body")
REJECTED_CONTENT: Final = SealedText("rejected_event.body")
MESSAGE_ID_LENGTH = 200
REJECTED_KEPT = 100_000
"""Rejected events kept, the newest; older ones make room."""

REJECTED_BODY = 8_000
"""Bytes up to which a refused call is kept: of a part of one nobody can tell whom it is about."""
CONFLICTS_KEPT = 20_000
"""Conflicts kept, the newest; older ones make room."""


class Event(Model):
    """One accepted signal. `id` is its arrival number: within a profile it grows with the order of folding.

    `profile_id` is the profile whose identifier it came by, one of those that are merged into the person, and is never
    rewritten, so a merge can be undone exactly. `event_time` is when it happened (corrected for the sender's clock),
    `received_at` when we heard of it. `order_number` is what the buyer knows an order by, as the shop writes it, where
    that is told; `order_total_cents` is what it came to when placed, its total or its lines by their prices (NULL where
    it tells neither). `folds` is false for an order that another event already told of (same order id, earlier), or a
    refund (of the order, same refund id): it counts nowhere. `void` is true for an order of which nothing is left, and
    for an `Order Updated` of one that another call began; `left_category_ids` are the categories of what is (NULL: the
    order's own, `category_ids`): what its corrections came to (signals/orders.py), kept with each folding of the whole
    history.
    `body` is the event as it was sent, without a write key in it, sealed; `figures` is what SQL may read
    (signals/figures.py).
    """

    __tablename__ = "event"
    __table_args__ = (
        UniqueConstraint("source_id", "message_id"),
        Index("ix_event_profile_id_event_time", "profile_id", "event_time"),
        Index("ix_event_received_at", "received_at", postgresql_using="brin"),
        Index("ix_event_order_id", "order_id", postgresql_where="order_id IS NOT NULL"),
        Index(
            "ix_event_order_number",
            text("lower(ltrim(order_number, '#'))"),
            postgresql_where=text("order_number IS NOT NULL"),
        ),
        Index("ix_event_source_id_id", "source_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    message_id: Mapped[str]
    source_id: Mapped[int]
    profile_id: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    name: Mapped[str | None]
    event_time: Mapped[datetime]
    received_at: Mapped[datetime]
    category_ids: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default="{}")
    order_id: Mapped[str | None]
    order_number: Mapped[str | None]
    order_total_cents: Mapped[int | None] = mapped_column(BigInteger)
    content_hash: Mapped[bytes]
    folds: Mapped[bool]
    void: Mapped[bool] = mapped_column(server_default="false")
    left_category_ids: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    body: Mapped[dict[str, Any]] = mapped_column(SealedJson(BODY.place))
    figures: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class EventConflict(Model):
    """An event whose id was already taken by other content from the same source. It changed nothing."""

    __tablename__ = "event_conflict"
    __table_args__ = (UniqueConstraint("source_id", "message_id", "content_hash"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    message_id: Mapped[str]
    source_id: Mapped[int]
    content_hash: Mapped[bytes]
    received_at: Mapped[datetime]
    body: Mapped[dict[str, Any]] = mapped_column(SealedJson(CONFLICT_BODY.place))


class RejectedEvent(Model):
    """An event that was refused: which source sent it, what is wrong with which field, and the start of its body.

    `reason` is invalid, untrusted, plan (it breaks the tracking plan), product (an item of a feed), row (of a table,
    which could not be made a call), shop (a webhook's call) or erasure (which a shop asks for). `call` is the type that
    the address named ("" in a batch), `skew_ms` how far the sender's clock was taken to be behind: with both, what is
    kept `whole` can be read again as it came. `name` is the event's, where it could be read. `tried_at`: when it was
    last one of many that were to be taken again; `replayed_at`: when it was taken.
    """

    __tablename__ = "rejected_event"
    __table_args__ = (
        Index("ix_rejected_event_source_id_id", "source_id", "id"),
        Index("ix_rejected_event_at", "at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source_id: Mapped[int]
    reason: Mapped[str]
    field: Mapped[str]
    message: Mapped[str]
    body: Mapped[str] = mapped_column(REJECTED_CONTENT)
    at: Mapped[datetime]
    call: Mapped[str] = mapped_column(server_default="")
    skew_ms: Mapped[int] = mapped_column(BigInteger, server_default="0")
    name: Mapped[str | None]
    whole: Mapped[bool] = mapped_column(server_default="false")
    replayed_at: Mapped[datetime | None]
    tried_at: Mapped[datetime | None]
