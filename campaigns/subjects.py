"""The random name and the key under which a person's records are kept, made on first use.

The key is random, stored wrapped by `settings.subject_key`; deleting the row is what erases everything sealed with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.sealing import Sealer, Unsealable, new_key, unwrap_key, wrap_key
from campaigns.opens import Subject


@dataclass(frozen=True)
class SubjectKey:
    """A subject's name and its key, as it is kept: one that is damaged raises when it is used."""

    subject_id: uuid.UUID
    wrapped: bytes = field(repr=False)
    wrapping_key: bytes = field(repr=False)

    @cached_property
    def sealer(self) -> Sealer:
        """What seals and opens the subject's personal parts. Raises Unsealable where the key is damaged."""
        try:
            return Sealer(unwrap_key(self.wrapped, self.wrapping_key, self.subject_id.hex))
        except Unsealable:
            raise Unsealable("subject.wrapped_key") from None


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
    """The subject of a profile, or None: nothing was ever recorded, or the person was erased."""
    return _read(session, [profile], wrapping_key).get(profile)


def known_subjects(session: Session, profiles: Iterable[int], wrapping_key: bytes) -> dict[int, SubjectKey]:
    """The subjects of these profiles, those that have one."""
    return _read(session, sorted(set(profiles)), wrapping_key)


def _fresh(profile: int, wrapping_key: bytes) -> dict[str, object]:
    subject = uuid.uuid4()
    wrapped = wrap_key(new_key(), wrapping_key, subject.hex)
    return {"profile_id": profile, "subject_id": subject, "wrapped_key": wrapped}


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
    columns = select(Subject.profile_id, Subject.subject_id, Subject.wrapped_key)
    query = columns.where(Subject.profile_id.in_(profiles)).order_by(Subject.profile_id)
    rows = session.execute(query.with_for_update(read=True, key_share=True) if held else query)
    return {row.profile_id: SubjectKey(row.subject_id, row.wrapped_key, wrapping_key) for row in rows}
