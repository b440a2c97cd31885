"""What sending keeps beside the ledger: its counts, retries, permits of the rate limits, and whose database this is."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Identity, Index, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class DeliveryCount(Model):
    """A change of how many rows of a run are in a state for a reason, or the sum of earlier changes (`folded`).

    Written by a trigger of the ledger with every move, so the sums are those of the rows; see campaigns/tally.py.
    """

    __tablename__ = "delivery_count"
    __table_args__ = (
        Index("delivery_count_run", "campaign_id", "occurrence"),
        Index("delivery_count_new", "campaign_id", "occurrence", postgresql_where=text("NOT folded")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)  # "" where the row has none
    number: Mapped[int] = mapped_column(BigInteger)
    folded: Mapped[bool] = mapped_column(Boolean, server_default="false")


class DeliveryRetry(Model):
    """What a failed or unknown delivery said before somebody had it sent again; an entry a retry."""

    __tablename__ = "delivery_retry"
    __table_args__ = (Index("delivery_retry_delivery", "delivery_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    reason: Mapped[str | None] = mapped_column(Text)
    reply: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    by: Mapped[str] = mapped_column(Text)


class SendTerms(Model):
    """How fast mails may leave and when a campaign is stopped: one row, a campaigns.sendlimits.Terms."""

    __tablename__ = "send_terms"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Permit(Model):
    """Mails that a sender may hand over until `until`, by what they count for; gone once it is known which it did."""

    __tablename__ = "permit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    claimer: Mapped[str] = mapped_column(Text)
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    uses: Mapped[dict[str, int]] = mapped_column(JSONB)


class PermitUse(Model):
    """How many mails that count for a key were handed over within a piece of time; see campaigns/permits.py."""

    __tablename__ = "permit_use"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    window_s: Mapped[int] = mapped_column(Integer, primary_key=True)
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(Integer)


class Instance(Model):
    """Whose database this is: one row, written by the installation that sends from it. See campaigns/instance.py."""

    __tablename__ = "instance"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    identity: Mapped[str] = mapped_column(Text)  # SHA-256 of what the installation keeps outside of the database
    database_mark: Mapped[str] = mapped_column(Text)
    host_mark: Mapped[str] = mapped_column(Text)
    mark: Mapped[int] = mapped_column(BigInteger, server_default="0")  # of the newest batch that was claimed
    set_back: Mapped[bool] = mapped_column(Boolean, server_default="false")  # as some host found; until a take-over
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    by: Mapped[str] = mapped_column(Text)
