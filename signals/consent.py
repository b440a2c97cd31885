"""Consent: what a person allowed, per purpose and with its history; and the addresses that must get no mail."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput
from signals.contents import PURPOSES
from signals.folding import UNSUBSCRIBED
from signals.identity import address_hash
from signals.intake import Intake
from signals.sources import INTERNAL, keyless_sender
from signals.telling import tell

REASON_LENGTH = 100


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
) -> bool:
    """Record what a person said to us at `at` (by the unsubscribe page, to support): in effect when this returns.

    It is a signal like any other, so a rebuild knows it; `message_id` makes it idempotent. False when there is no such
    profile or it was erased. Raises InvalidInput for an unknown purpose, Unavailable when a store is away.
    """
    if purpose not in PURPOSES:
        raise InvalidInput("purpose", f"must be one of {', '.join(PURPOSES)}")
    sender = intake.settle(lambda session: keyless_sender(session, INTERNAL, now))
    said = {"purpose": purpose, "granted": granted, "via": via} | ({"wording": wording} if wording else {})
    told = tell(intake, sender, profile, "Consent Changed", said, at=at, now=now, message_id=message_id)
    return told is not None


def consents(session: Session, profile: int) -> list[ConsentFact]:
    """Every statement of consent by this person, over all profiles merged into one, newest first."""
    return list(
        session.scalars(
            select(ConsentFact)
            .where(
                text(
                    "profile_id IN (SELECT m.id FROM profile m JOIN profile p ON p.root_id = m.root_id"
                    " WHERE p.id = :profile)"
                ).bindparams(profile=profile)
            )
            .order_by(ConsentFact.at.desc(), ConsentFact.id.desc())
        )
    )


def suppress(session: Session, hash_key: bytes, address: str, reason: str, now: datetime) -> None:
    """`suppress_hash` of an address. Raises InvalidInput."""
    suppress_hash(session, address_hash(hash_key, address), reason, now)


def suppress_hash(session: Session, hashed: bytes, reason: str, now: datetime) -> None:
    """Put an address on the list of those that get no mail; the first reason stays.

    Only *unsubscribed* gives way: its reader may lift that by agreeing to mail, which mends no dead address.
    """
    session.execute(
        text(
            "INSERT INTO suppression (address_hash, reason, at) VALUES (:hash, :reason, :now)"
            " ON CONFLICT (address_hash) DO UPDATE SET reason = excluded.reason, at = excluded.at"
            " WHERE suppression.reason = :unsubscribed"
        ),
        {"hash": hashed, "reason": reason[:REASON_LENGTH], "now": now, "unsubscribed": UNSUBSCRIBED},
    )


def unsubscribe_address(session: Session, hashed: bytes, at: datetime) -> None:
    """Let no profile be mailed at this address any more, since whoever reads it said so; a later consent lifts it.

    Told late or once more, after such a consent, it changes nothing.
    """
    session.execute(
        text(
            "INSERT INTO suppression (address_hash, reason, at) SELECT :hash, :reason, CAST(:at AS timestamptz)"
            " WHERE NOT EXISTS ("
            "  SELECT 1 FROM identifier n JOIN profile p ON p.id = n.profile_id JOIN profile m ON m.root_id = p.root_id"
            "  JOIN consent k ON k.profile_id = m.id"
            "  WHERE n.type = 'email' AND n.value_hash = :hash AND k.purpose = 'email' AND k.granted AND k.at > :at)"
            " ON CONFLICT (address_hash) DO UPDATE SET at = greatest(suppression.at, excluded.at)"
            " WHERE suppression.reason = excluded.reason"
        ),
        {"hash": hashed, "reason": UNSUBSCRIBED, "at": at},
    )


def is_suppressed(session: Session, hash_key: bytes, address: str) -> bool:
    """Whether an address is on the list. Raises InvalidInput when it is no address."""
    return session.get(Suppression, address_hash(hash_key, address)) is not None


def release(session: Session, hash_key: bytes, address: str) -> bool:
    """Take an address off the list, because a person said so; False when it was not on it."""
    found = session.get(Suppression, address_hash(hash_key, address))
    if found is not None:
        session.delete(found)
        session.flush()
    return found is not None
