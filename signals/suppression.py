"""Addresses that must get no mail: the list, by keyed hash, and the history of who came on it or off it, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Identity, Index, bindparam, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput, NotFound
from base.sealed import SealedText
from signals import sealingkeys
from signals.consenthistory import UNSUBSCRIBED
from signals.identity import address_hash

BOUNCED: Final = "bounced"
COMPLAINED: Final = "complained"
REASON_LENGTH: Final = 100
WHY_LENGTH: Final = 500
MAX_CHANGES: Final = 200
NEWEST: Final = 1_000
"""How many changes are looked at for what was written beside an erasure; it is done every few seconds."""
EVIDENCE: Final = SealedText("suppression_change.evidence")


class Suppression(Model):
    """An address that must get no mail, by keyed hash: it outlives the person's erasure without naming anyone."""

    __tablename__ = "suppression"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    reason: Mapped[str]
    at: Mapped[datetime]


class SuppressionChange(Model):
    """An address came on the list or off it. Only ever added to, but that an erasure takes the evidence.

    Neither `by` nor `evidence`, which is sealed, holds an address.

    `via` is what told us (relay, dsn, ses, unsubscribe link, consent, person, …), `by` the person who did it.
    """

    __tablename__ = "suppression_change"
    __table_args__ = (Index("ix_suppression_change_address_hash_id", "address_hash", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    address_hash: Mapped[bytes]
    at: Mapped[datetime]
    listed: Mapped[bool]
    reason: Mapped[str]
    via: Mapped[str]
    by: Mapped[str | None]
    evidence: Mapped[str | None] = mapped_column(EVIDENCE)


def suppress(
    session: Session, hash_key: bytes, address: str, reason: str, now: datetime, *, via: str = "person"
) -> None:
    """`suppress_hash` of an address. Raises InvalidInput."""
    suppress_hash(session, address_hash(hash_key, address), reason, now, via=via)


def suppress_hash(
    session: Session,
    hashed: bytes,
    reason: str,
    now: datetime,
    *,
    via: str = "relay",
    evidence: str | None = None,
) -> bool:
    """Put an address on the list of those that get no mail; the first reason stays. Whether that changed anything.

    Only *unsubscribed* gives way: its reader may lift that by agreeing to mail, which mends no dead address. The
    evidence is kept of addresses that somebody is known by, until they are erased.
    """
    values = {
        "hash": hashed, "reason": reason[:REASON_LENGTH], "now": now, "unsubscribed": UNSUBSCRIBED, "via": via,
        "evidence": evidence and evidence[:WHY_LENGTH],
    }  # fmt: skip
    return session.execute(_SUPPRESS, values).one_or_none() is not None


def unsubscribe_address(session: Session, hashed: bytes, at: datetime) -> None:
    """Let no profile be mailed at this address any more, since whoever reads it said so; a later consent lifts it.

    Told late or once more, after such a consent, it changes nothing.
    """
    session.execute(_UNSUBSCRIBE, {"hash": hashed, "reason": UNSUBSCRIBED, "at": at})


def lift(session: Session, hashed: bytes, now: datetime, *, by: str, why: str) -> str:
    """Take an address off the list, because a person says so; the reason it was there for.

    Raises NotFound when it is not on it, InvalidInput without a reason.
    """
    why = " ".join(why.split())
    if not why or len(why) > WHY_LENGTH:
        raise InvalidInput("why", f"say in 1 to {WHY_LENGTH} characters why mail may go there again")
    reason = session.scalar(_LIFT, {"hash": hashed, "now": now, "by": by, "why": why})
    if reason is None:
        raise NotFound("suppressed address")
    return str(reason)


def forget_late(session: Session) -> None:
    """Take the evidence off the newest changes about addresses that nobody is known by any more. The caller commits.

    An erasure takes what it sees; this, what was committed beside it.
    """
    session.execute(_FORGET_LATE, {"newest": NEWEST})


def changes(session: Session, hashes: Sequence[bytes]) -> list[SuppressionChange]:
    """What became of these addresses, the newest first, at most 200."""
    query = select(SuppressionChange).where(SuppressionChange.address_hash.in_(hashes))
    newest = query.order_by(SuppressionChange.id.desc()).limit(MAX_CHANGES)
    return sealingkeys.rows(session, newest, SuppressionChange.evidence)


def lifted_at(session: Session, hashed: bytes) -> datetime | None:
    """When an address was last taken off the list, by whomever."""
    query = select(SuppressionChange.at).where(
        SuppressionChange.address_hash == hashed, SuppressionChange.listed.is_(False)
    )
    return session.scalar(query.order_by(SuppressionChange.id.desc()).limit(1))


_FORGET_LATE: Final = text("""
    UPDATE suppression_change c SET evidence = NULL
    WHERE c.id > (SELECT max(id) FROM suppression_change) - :newest AND c.evidence IS NOT NULL AND NOT EXISTS (
        SELECT FROM identifier n WHERE n.type IN ('email', 'phone') AND n.value_hash = c.address_hash
    )
""")

_SUPPRESS: Final = text("""
    WITH changed AS (
        INSERT INTO suppression (address_hash, reason, at) VALUES (:hash, :reason, :now)
        ON CONFLICT (address_hash) DO UPDATE SET reason = excluded.reason, at = excluded.at
        WHERE suppression.reason = :unsubscribed AND excluded.reason <> :unsubscribed
        RETURNING address_hash, reason, at
    )
    INSERT INTO suppression_change (address_hash, at, listed, reason, via, evidence)
    SELECT address_hash, at, true, reason, CAST(:via AS text),
        CASE WHEN EXISTS (
            SELECT FROM identifier n WHERE n.type IN ('email', 'phone') AND n.value_hash = changed.address_hash
        ) THEN CAST(:evidence AS bytea) END
    FROM changed
    RETURNING id
""").bindparams(bindparam("evidence", type_=EVIDENCE))

# A repeat moves the time on and is no change: xmax is 0 where the row is new.
_UNSUBSCRIBE: Final = text("""
    WITH changed AS (
        INSERT INTO suppression (address_hash, reason, at) SELECT :hash, :reason, CAST(:at AS timestamptz)
        WHERE NOT EXISTS (
            SELECT 1 FROM identifier n JOIN profile p ON p.id = n.profile_id JOIN profile m ON m.root_id = p.root_id
            JOIN consent k ON k.profile_id = m.id
            WHERE n.type = 'email' AND n.value_hash = :hash AND k.purpose = 'email' AND k.granted AND k.at > :at)
        ON CONFLICT (address_hash) DO UPDATE SET at = greatest(suppression.at, excluded.at)
        WHERE suppression.reason = excluded.reason
        RETURNING address_hash, reason, at, xmax = 0 AS is_new
    )
    INSERT INTO suppression_change (address_hash, at, listed, reason, via)
    SELECT address_hash, at, true, reason, 'unsubscribe link' FROM changed WHERE is_new
""")

_LIFT: Final = text("""
    WITH gone AS (DELETE FROM suppression WHERE address_hash = :hash RETURNING address_hash, reason)
    INSERT INTO suppression_change (address_hash, at, listed, reason, via, by, evidence)
    SELECT address_hash, :now, false, reason, 'person', :by, CAST(:why AS bytea) FROM gone
    RETURNING reason
""").bindparams(bindparam("why", type_=EVIDENCE))
