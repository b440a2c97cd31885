"""Consent: what a person allowed, per purpose and with its history; and the addresses that must get no mail."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class ConsentFact(Model):
    """One statement of consent. The state carries the newest per purpose; this is the history behind it."""

    __tablename__ = "consent"
    __table_args__ = (Index("ix_consent_profile_id_purpose_at", "profile_id", "purpose", "at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger)
    purpose: Mapped[str]
    granted: Mapped[bool]
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    source_id: Mapped[int]
    wording: Mapped[str | None]
    event_id: Mapped[int] = mapped_column(BigInteger)


class Suppression(Model):
    """An address that must get no mail, by keyed hash: it outlives the person's erasure without naming anyone."""

    __tablename__ = "suppression"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    reason: Mapped[str]
    at: Mapped[datetime]
