"""What happened at opens, as tables: decisions, fetches and clicks by month, and the outcomes credited to them.

Fetches and clicks of campaigns at tracking level anonymous have a table of their own, in which nobody is named.

The recorder writes these rows from the record stream, idempotently: a record's id and instant come from the record, so
writing it twice hits the primary key. `public` is the record's canonical form without personal fields, `public_sha256`
its hash; the personal part is sealed under the subject's key, so that dropping the key erases it.
"""

import uuid
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    DateTime,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model

FALLBACKS = ("default", "static")
"""Rungs of a fetch whose picture broke off: its record takes the place of the one that was written first."""
BY_MONTH = {"postgresql_partition_by": "RANGE (at)"}
PARTITIONED = ("decision", "fetch", "click", "anonymous_fetch")
UNDATED = text("decision_at IS NULL AND decision_id IS NOT NULL")
"""Rows whose decision was stored after them; the recorder dates them as soon as it is there."""


class Subject(Model):
    """The random name and the wrapped key under which a profile's records are kept. Erasure deletes the row."""

    __tablename__ = "subject"

    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    subject_id: Mapped[uuid.UUID] = mapped_column(Uuid, unique=True)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Decision(Model):
    """One open. `slots` maps slot number to offer shown; `shadow` does so for what send time would have chosen."""

    __tablename__ = "decision"
    __table_args__ = (
        Index("decision_profile", "profile_id", "at"),
        Index("decision_campaign", "campaign_id", "occurrence", "at"),
        Index("decision_at", "at", postgresql_using="brin"),
        BY_MONTH,
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    profile_id: Mapped[int | None] = mapped_column(BigInteger)
    subject_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    channel: Mapped[str] = mapped_column(Text, server_default="email")
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    contact: Mapped[str | None] = mapped_column(Text)  # for channels without deliveries
    lane: Mapped[str] = mapped_column(Text)
    open_number: Mapped[int] = mapped_column(Integer)
    plan_hash: Mapped[str] = mapped_column(Text)
    model_hash: Mapped[str | None] = mapped_column(Text)
    seed: Mapped[str] = mapped_column(Text)
    state_version: Mapped[int | None] = mapped_column(BigInteger)
    rung: Mapped[str] = mapped_column(Text)
    lost: Mapped[bool] = mapped_column(Boolean)
    slots: Mapped[dict[str, int]] = mapped_column(JSONB)
    shadow: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
    public: Mapped[bytes] = mapped_column(LargeBinary)
    public_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    personal: Mapped[bytes | None] = mapped_column(LargeBinary)
    ms: Mapped[float | None] = mapped_column(Float)


class Fetch(Model):
    """One GET that was answered. `decision_at` lets the planner find the decision's month."""

    __tablename__ = "fetch"
    __table_args__ = (
        Index("fetch_profile", "profile_id", "at"),
        Index("fetch_campaign", "campaign_id", "occurrence", "at"),
        Index("fetch_at", "at", postgresql_using="brin"),
        Index("fetch_decision", "decision_id"),
        Index("fetch_undated", "decision_id", postgresql_where=UNDATED),
        BY_MONTH,
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    profile_id: Mapped[int | None] = mapped_column(BigInteger)
    subject_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    decision_id: Mapped[str | None] = mapped_column(Text)
    decision_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    slot: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[str] = mapped_column(Text)  # picture | dark | html | view | amp | decide
    lane: Mapped[str] = mapped_column(Text)
    fetch_class: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)  # of the bytes that were served
    size: Mapped[int] = mapped_column(Integer)
    content_type: Mapped[str] = mapped_column(Text)
    personal: Mapped[bool] = mapped_column(Boolean)
    rung: Mapped[str] = mapped_column(Text)
    public: Mapped[bytes] = mapped_column(LargeBinary)
    public_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    ms: Mapped[float | None] = mapped_column(Float)


class Click(Model):
    """One click, resolved to the decision whose offer was last shown in that slot, or flagged why it could not be.

    Beside clicks stands what people said to the offer of a call or a chat: `outcome` is then taken or refused.
    """

    __tablename__ = "click"
    __table_args__ = (
        Index("click_profile", "profile_id", "at"),
        Index("click_campaign", "campaign_id", "occurrence", "at"),
        Index("click_at", "at", postgresql_using="brin"),
        Index("click_decision", "decision_id"),
        Index("click_undated", "decision_id", postgresql_where=UNDATED),
        BY_MONTH,
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    profile_id: Mapped[int | None] = mapped_column(BigInteger)
    subject_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    slot: Mapped[int] = mapped_column(SmallInteger)
    fetch_class: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    decision_id: Mapped[str | None] = mapped_column(Text)
    decision_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    offer_id: Mapped[int | None] = mapped_column(Integer)
    ambiguous: Mapped[bool] = mapped_column(Boolean, server_default="false")
    unseen: Mapped[bool] = mapped_column(Boolean, server_default="false")
    unresolved: Mapped[bool] = mapped_column(Boolean, server_default="false")
    outcome: Mapped[str] = mapped_column(Text)  # redirect, the page answered instead, or what was said
    landing: Mapped[str | None] = mapped_column(Text)
    public: Mapped[bytes] = mapped_column(LargeBinary)
    public_sha256: Mapped[bytes] = mapped_column(LargeBinary)


class AnonymousFetch(Model):
    """One fetch or click at tracking level anonymous. `at` is the beginning of its hour, `id` is random."""

    __tablename__ = "anonymous_fetch"
    __table_args__ = (
        Index("anonymous_fetch_campaign", "campaign_id", "occurrence"),
        Index("anonymous_fetch_at", "at", postgresql_using="brin"),
        BY_MONTH,
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    slot: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[str] = mapped_column(Text)  # a fetch's, or click
    fetch_class: Mapped[str] = mapped_column(Text)
    offer_id: Mapped[int | None] = mapped_column(Integer)
    rung: Mapped[str] = mapped_column(Text)


class Outcome(Model):
    """One order credited to one decision by one attribution rule; `cents` is net of what came back."""

    __tablename__ = "outcome"
    __table_args__ = (
        Index("outcome_once", "rule", "event_id", unique=True),
        Index("outcome_campaign", "campaign_id", "occurrence"),
        Index("outcome_decision", "decision_id"),
        Index("outcome_profile", "profile_id", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    rule: Mapped[str] = mapped_column(Text)
    event_id: Mapped[int] = mapped_column(BigInteger)  # arrival number of the order's event
    order_id: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))  # when the order happened
    credited_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    profile_id: Mapped[int | None] = mapped_column(BigInteger)
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    decision_id: Mapped[str] = mapped_column(Text)
    decision_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    click_id: Mapped[str | None] = mapped_column(Text)
    offer_id: Mapped[int | None] = mapped_column(Integer)
    slot: Mapped[int | None] = mapped_column(SmallInteger)
    category_id: Mapped[int | None] = mapped_column(Integer)
    cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(Text)


def ensure_months(connection: Connection, months: Iterable[date]) -> None:
    """Make the partitions of the tables by month for the months of these days, where they are missing.

    Rows of a month without a partition go to the default partition; such a month stays there. The caller commits.
    """
    firsts = sorted({day.replace(day=1) for day in months})
    for first in firsts:
        for table in PARTITIONED:
            _ensure_month(connection, table, first)


def _ensure_month(connection: Connection, table: str, first: date) -> None:
    name = f"{table}_{first:%Y_%m}"
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is not None:
        return
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    # Two recorders may meet here: the lock is held to the end of the transaction, the second one then finds the table.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('latebind months'))"))
    held = connection.scalar(
        text(f"SELECT EXISTS (SELECT 1 FROM {table}_default WHERE at >= :first AND at < :following)"),  # noqa: S608
        {"first": first, "following": following},
    )
    if not held:
        bounds = f"FROM ('{first} 00:00+00') TO ('{following} 00:00+00')"
        connection.execute(text(f'CREATE TABLE IF NOT EXISTS {name} PARTITION OF "{table}" FOR VALUES {bounds}'))
