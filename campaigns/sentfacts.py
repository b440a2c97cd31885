"""What was known when a mail left, kept so that an open can be compared with what send time would have chosen.

The person's part is sealed under the subject's key, a row a delivery; what all mails of a batch share (product facts,
cap balances) is one blob, named by its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.blobs import Blobs, FolderBlobs
from base.ids import Delivery as Key
from campaigns.deliveries import Claimed
from campaigns.models.delivery import SentFacts
from campaigns.subjects import known_subject, subject_keys
from signals.sealingkeys import leaving_out

PURPOSE: Final = b"sent-facts"


class PersonFacts(Struct, frozen=True, array_like=True):
    """The person's part: the profile state's bytes and the bytes of `used`, None where there were none."""

    state: bytes | None
    used: bytes | None


class SharedFacts(Struct, frozen=True, array_like=True):
    """What all mails of a batch share: product facts as the open reads them, and the balances of total caps."""

    products: dict[str, bytes] = {}
    caps: dict[int, int] = {}


_encode: Final = msgspec.msgpack.Encoder().encode
person: Final = msgspec.msgpack.Decoder(PersonFacts).decode
"""The person's part from its opened bytes. Raises msgspec.DecodeError or ValidationError."""
_shared: Final = msgspec.msgpack.Decoder(SharedFacts).decode


def put_shared(blobs: FolderBlobs, facts: SharedFacts) -> str:
    """Keep the shared part; returns its hash."""
    return blobs.put(_encode(SharedFacts(dict(sorted(facts.products.items())), dict(sorted(facts.caps.items())))))


def keep(
    session: Session,
    rows: Mapping[int, tuple[Claimed, PersonFacts]],
    shared_hash: Mapping[str, str],
    wrapping_key: bytes,
    now: datetime,
) -> dict[int, bytes | None]:
    """Keep the facts of these deliveries, by delivery id; `shared_hash` is by plan. Returns each one's hash, None where
    the person's key is damaged, so that nothing can be kept.

    Of a person who was erased meanwhile nothing is kept either.
    """
    subjects = subject_keys(session, (row.key.profile for row, _ in rows.values()), wrapping_key, now)
    hashes: dict[int, bytes | None] = {}
    sealed: dict[int, bytes] = {}
    for number, (row, facts) in rows.items():
        if (subject := subjects.get(row.key.profile)) is not None:
            content, hashes[number] = _encode(facts), None
            with leaving_out(profile=row.key.profile):
                sealed[number] = subject.sealer.seal(content, PURPOSE)
                hashes[number] = hashlib.sha256(content).digest()
    rows = {number: rows[number] for number in sealed}
    if not rows:
        return hashes
    columns: dict[str, list[Any]] = {"ids": list(rows), "hashes": [hashes[number] for number in rows]}
    columns["sealed"] = list(sealed.values())
    columns["shared"] = [shared_hash[row.plan_hash] for row, _ in rows.values()]
    columns["campaigns"] = [row.key.campaign for row, _ in rows.values()]
    columns["occurrences"] = [row.key.occurrence for row, _ in rows.values()]
    columns["profiles"] = [row.key.profile for row, _ in rows.values()]
    session.execute(_KEEP, columns | {"now": now})
    return hashes


# A mail that is tried again leaves later, with what is known then.
_KEEP: Final = text("""
    INSERT INTO sent_facts (delivery_id, campaign_id, occurrence, profile_id, hash, sealed, shared_hash, at)
    SELECT v.*, :now FROM unnest(
        CAST(:ids AS bigint[]), CAST(:campaigns AS int[]), CAST(:occurrences AS bigint[]), CAST(:profiles AS bigint[]),
        CAST(:hashes AS bytea[]), CAST(:sealed AS bytea[]), CAST(:shared AS text[])
    ) AS v
    ON CONFLICT (delivery_id) DO UPDATE SET
        hash = excluded.hash, sealed = excluded.sealed, shared_hash = excluded.shared_hash, at = excluded.at
""")


def read(
    session: Session, blobs: Blobs, key: Key, wrapping_key: bytes
) -> tuple[PersonFacts, SharedFacts, datetime] | None:
    """The facts of one delivery and when they were taken; None for an unsent mail or an erased person."""
    row = session.scalars(
        select(SentFacts).where(
            SentFacts.campaign_id == key.campaign,
            SentFacts.occurrence == key.occurrence,
            SentFacts.profile_id == key.profile,
        )
    ).first()
    subject = known_subject(session, key.profile, wrapping_key)
    if row is None or subject is None:
        return None
    return person(subject.sealer.open(row.sealed, PURPOSE)), _shared(blobs.get(row.shared_hash)), row.at
