"""The random name and the key under which a person's records are kept, made on first use.

The key is random, stored wrapped by `settings.subject_key`; deleting the row is what erases everything sealed with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.sealing import Sealer, Unsealable, new_key, unwrap_key, wrap_key
from campaigns.opens import Subject
from signals.sealingkeys import leaving_out


@dataclass(frozen=True)
class SubjectKey:
    """A subject's name and what seals and opens its personal parts."""

    subject_id: uuid.UUID
    sealer: Sealer


def subject_keys(
    session: Session, profiles: Iterable[int], wrapping_key: bytes, now: datetime
) -> dict[int, SubjectKey]:
    """The subject of each profile, made where it is missing. Two processes that meet agree on one.

    A profile that was erased, or never was, has none and is left out. An erasure waits until the caller commits what
    it keeps under them, and then takes the person's name off that too.
    """
    wanted = sorted(set(profiles))
    found = _read(session, wanted, wrapping_key, held=True)
    missing = [profile for profile in wanted if profile not in found]
    if missing:
        fresh = [_fresh(profile, wrapping_key) for profile in missing]
        columns = {name: [row[name] for row in fresh] for name in ("profile_id", "subject_id", "wrapped_key")}
        session.execute(_MAKE, columns | {"now": now})
        found |= _read(session, missing, wrapping_key, held=True)
    return found


def known_subject(session: Session, profile: int, wrapping_key: bytes) -> SubjectKey | None:
    """The subject of a profile, or None: nothing was ever recorded, or the person was erased. Raises Unsealable."""
    return _read(session, [profile], wrapping_key).get(profile)


def known_subjects(session: Session, profiles: Iterable[int], wrapping_key: bytes) -> dict[int, SubjectKey]:
    """The subjects of these profiles, those that have one. One whose key is damaged is left out, with a log line."""
    found: dict[int, SubjectKey] = {}
    for row in session.execute(_SUBJECTS.where(Subject.profile_id.in_(sorted(set(profiles))))):
        with leaving_out(profile=row.profile_id):
            found[row.profile_id] = _subject(row, wrapping_key)
    return found


def _fresh(profile: int, wrapping_key: bytes) -> dict[str, object]:
    subject = uuid.uuid4()
    wrapped = wrap_key(new_key(), wrapping_key, subject.hex)
    return {"profile_id": profile, "subject_id": subject, "wrapped_key": wrapped}


_SUBJECTS: Final = select(Subject.profile_id, Subject.subject_id, Subject.wrapped_key).order_by(Subject.profile_id)
# The lock makes an erasure wait for the commit: it then finds the subject and deletes it. One that came first is seen.
_MAKE: Final = text("""
    WITH alive AS MATERIALIZED (
        SELECT id FROM profile WHERE id = ANY(:profile_id) AND erased_at IS NULL ORDER BY id FOR SHARE
    )
    INSERT INTO subject (profile_id, subject_id, wrapped_key, created_at)
    SELECT v.profile_id, v.subject_id, v.wrapped_key, :now
    FROM unnest(CAST(:profile_id AS bigint[]), CAST(:subject_id AS uuid[]), CAST(:wrapped_key AS bytea[]))
        AS v(profile_id, subject_id, wrapped_key)
    JOIN alive ON alive.id = v.profile_id
    ON CONFLICT (profile_id) DO NOTHING
""")


def _read(session: Session, profiles: list[int], wrapping_key: bytes, *, held: bool = False) -> dict[int, SubjectKey]:
    query = _SUBJECTS.where(Subject.profile_id.in_(profiles))
    rows = session.execute(query.with_for_update(read=True, key_share=True) if held else query)
    return {row.profile_id: _subject(row, wrapping_key) for row in rows}


def _subject(row: Any, wrapping_key: bytes) -> SubjectKey:
    try:
        return SubjectKey(row.subject_id, Sealer(unwrap_key(row.wrapped_key, wrapping_key, row.subject_id.hex)))
    except Unsealable:
        raise Unsealable("subject.wrapped_key") from None
