"""The random name and the key under which a person's records are kept, made on first use.

The key is random, stored wrapped by `settings.subject_key`; deleting the row is what erases everything sealed with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.sealing import Sealer, new_key, unwrap_key, wrap_key
from campaigns.opens import Subject


@dataclass(frozen=True)
class SubjectKey:
    """A subject's name and what seals and opens its personal parts."""

    subject_id: uuid.UUID
    sealer: Sealer


def subject_keys(
    session: Session, profiles: Iterable[int], wrapping_key: bytes, now: datetime
) -> dict[int, SubjectKey]:
    """The subject of each profile, made where it is missing. Two processes that meet agree on one.

    The caller leaves out erased profiles: asking for one would make it a subject anew.
    """
    wanted = sorted(set(profiles))
    found = _read(session, wanted, wrapping_key)
    missing = [profile for profile in wanted if profile not in found]
    if missing:
        session.execute(
            insert(Subject)
            .values([_fresh(profile, wrapping_key, now) for profile in missing])
            .on_conflict_do_nothing(index_elements=[Subject.profile_id])
        )
        found |= _read(session, missing, wrapping_key)
    return found


def known_subject(session: Session, profile: int, wrapping_key: bytes) -> SubjectKey | None:
    """The subject of a profile, or None: nothing was ever recorded, or the person was erased."""
    return _read(session, [profile], wrapping_key).get(profile)


def _fresh(profile: int, wrapping_key: bytes, now: datetime) -> dict[str, object]:
    subject = uuid.uuid4()
    wrapped = wrap_key(new_key(), wrapping_key, subject.hex)
    return {"profile_id": profile, "subject_id": subject, "wrapped_key": wrapped, "created_at": now}


def _read(session: Session, profiles: list[int], wrapping_key: bytes) -> dict[int, SubjectKey]:
    rows = session.execute(
        select(Subject.profile_id, Subject.subject_id, Subject.wrapped_key).where(Subject.profile_id.in_(profiles))
    )
    return {
        row.profile_id: SubjectKey(
            row.subject_id, Sealer(unwrap_key(row.wrapped_key, wrapping_key, row.subject_id.hex))
        )
        for row in rows
    }
