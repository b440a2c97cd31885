"""What was known when a mail left, kept so that an open can be compared with what send time would have chosen.

The person's part is sealed under the subject's key, a row a delivery; what all mails of a batch share (product facts,
cap balances) is one blob, named by its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.blobs import Blobs, FolderBlobs
from base.ids import Delivery as Key
from campaigns.deliveries import Claimed
from campaigns.models.delivery import SentFacts
from campaigns.subjects import known_subject, subject_keys

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
_person: Final = msgspec.msgpack.Decoder(PersonFacts).decode
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
) -> dict[int, bytes]:
    """Keep the facts of these deliveries, by delivery id; `shared_hash` is by plan. Returns each one's hash."""
    if not rows:
        return {}
    subjects = subject_keys(session, (row.key.profile for row, _ in rows.values()), wrapping_key, now)
    values, hashes = [], {}
    for number, (row, facts) in rows.items():
        data = _encode(facts)
        hashes[number] = hashlib.sha256(data).digest()
        values.append(
            {
                "delivery_id": number,
                "campaign_id": row.key.campaign,
                "occurrence": row.key.occurrence,
                "profile_id": row.key.profile,
                "hash": hashes[number],
                "sealed": subjects[row.key.profile].sealer.seal(data, PURPOSE),
                "shared_hash": shared_hash[row.plan_hash],
                "at": now,
            }
        )
    statement = insert(SentFacts).values(values)
    # A mail that is tried again leaves later, with what is known then.
    newer = {name: statement.excluded[name] for name in ("hash", "sealed", "shared_hash", "at")}
    session.execute(statement.on_conflict_do_update(index_elements=[SentFacts.delivery_id], set_=newer))
    return hashes


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
    return _person(subject.sealer.open(row.sealed, PURPOSE)), _shared(blobs.get(row.shared_hash)), row.at
