"""People of whom it is to be counted anew what they were shown, over all their profiles.

Noted with the merge that made several profiles one person, or with its undoing; a recorder counts (workers/counts.py)
and takes the note back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model, Numbers

AT_ONCE: Final = 200


class CountDue(Model):
    """A profile of a person of whom it is to be counted."""

    __tablename__ = "count_due"
    __table_args__ = (Index("ix_count_due_profile_id", "profile_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger)


_NOTE: Final = text("INSERT INTO count_due (profile_id) SELECT unnest(CAST(:profiles AS bigint[]))")
_MERGED: Final = text("""
    SELECT DISTINCT p.root_id FROM profile p JOIN profile other ON other.root_id = p.root_id AND other.id <> p.id
    WHERE p.id = ANY(:profiles)
""")
# Drawn among the oldest, so that several recorders are not after the same people.
_WAITING: Final = text("""
    SELECT p.root_id, count(*) AS notes FROM (SELECT profile_id FROM count_due ORDER BY id LIMIT :most) AS due
    JOIN profile p ON p.id = due.profile_id GROUP BY p.root_id ORDER BY random()
""")
_DONE: Final = text("""
    DELETE FROM count_due d USING profile p WHERE p.id = d.profile_id AND p.root_id = ANY(:roots)
""")


def note(session: Session, profiles: Collection[int]) -> None:
    """Note these people, each by one of their profiles."""
    if profiles:
        session.execute(_NOTE, {"profiles": Numbers(profiles)})


def merged(session: Session, profiles: Collection[int]) -> list[int]:
    """The roots of those of these people who have several profiles."""
    return list(session.scalars(_MERGED, {"profiles": Numbers(profiles)})) if profiles else []


def waiting(session: Session) -> dict[int, int]:
    """The roots of people who wait, of the AT_ONCE oldest notes, and how many of these are theirs: fewer than AT_ONCE
    together are all there are. Who is noted anew is behind the others."""
    return {row.root_id: row.notes for row in session.execute(_WAITING, {"most": AT_ONCE})}


def done(session: Session, roots: Sequence[int]) -> None:
    """Take back the notes of these people, whose roots the transaction holds; what is noted from now on stays."""
    session.execute(_DONE, {"roots": Numbers(roots)})
