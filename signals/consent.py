"""Consent: what a person allowed, per purpose and with its history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput
from signals.consenthistory import CONSENT_WORDING, NEWEST_SAID
from signals.contents import PURPOSES
from signals.events import Event
from signals.intake import Intake
from signals.sources import INTERNAL, keyless_sender
from signals.telling import tell


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
    wording: Mapped[str | None] = mapped_column(CONSENT_WORDING)
    event_id: Mapped[int] = mapped_column(BigInteger)


def set_consent(
    intake: Intake,
    profile: int,
    purpose: str,
    granted: bool,
    *,
    at: datetime,
    now: datetime,
    via: str,
    message_id: str,
    wording: str | None = None,
    along: Callable[[Session], None] = lambda session: None,
) -> bool:
    """Record what a person said to us at `at` (by the unsubscribe page, to support): in effect when this returns.

    It is a signal like any other, so a rebuild knows it; `message_id` makes it idempotent. `along` is done in the same
    transaction. False when there is no such profile or it was erased. Raises InvalidInput for an unknown purpose,
    Unavailable when a store is away.
    """
    if purpose not in PURPOSES:
        raise InvalidInput("purpose", f"must be one of {', '.join(PURPOSES)}")
    sender = intake.settle(lambda session: keyless_sender(session, INTERNAL, now))
    said = {"purpose": purpose, "granted": granted, "via": via} | ({"wording": wording} if wording else {})
    name = "Consent Changed"
    return tell(intake, sender, profile, name, said, at=at, now=now, message_id=message_id, along=along) is not None


def consents(session: Session, profile: int) -> list[ConsentFact]:
    """Every statement of consent by this person, over all profiles merged into one, newest first."""
    return list(
        session.scalars(
            select(ConsentFact)
            .join(Event, Event.id == ConsentFact.event_id)
            .where(
                text(
                    "consent.profile_id IN (SELECT m.id FROM profile m JOIN profile p ON p.root_id = m.root_id"
                    " WHERE p.id = :profile)"
                ).bindparams(profile=profile)
            )
            .order_by(text(NEWEST_SAID))
        )
    )
