"""States that are committed and perhaps not yet told to render: noted with what changed them, published by a recorder.

Whoever publishes a state takes its note back, an intake with its next signals; so a note that stays belongs to a store
that was away, or to a process that died in between or has had nothing to do since. Publishing a state again does no
harm, for an older one gives way to a newer one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model, Numbers

AT_ONCE: Final = 1_000
MOST_NOTES: Final = 3
"""Notes of one profile beside which no further one is made that its state was left out."""


class StateDue(Model):
    """A root profile whose state is to be published."""

    __tablename__ = "state_due"
    __table_args__ = (Index("ix_state_due_profile_id", "profile_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger)


_NOTE: Final = text("""
    WITH told AS (DELETE FROM state_due WHERE id = ANY(:told))
    INSERT INTO state_due (profile_id) SELECT unnest(CAST(:profiles AS bigint[])) RETURNING id
""")
_NOTE_ONCE: Final = text("""
    INSERT INTO state_due (profile_id)
    SELECT profile FROM unnest(CAST(:profiles AS bigint[])) AS w (profile)
    WHERE NOT EXISTS (SELECT FROM state_due d WHERE d.profile_id = w.profile)
""")
# Whoever notes this has notes of its own, which go.
_NOTE_LEFT: Final = text("""
    INSERT INTO state_due (profile_id)
    SELECT profile FROM unnest(CAST(:profiles AS bigint[])) AS w (profile)
    WHERE (SELECT count(*) FROM (SELECT FROM state_due d WHERE d.profile_id = w.profile LIMIT :most) AS held) < :most
""")
# A note that comes back after a crash is followed once more: no need to wait for the disk.
_DONE: Final = text("""
    DELETE FROM state_due USING (SELECT set_config('synchronous_commit', 'off', true)) AS setting
    WHERE id = ANY(:ids)
""")
# Drawn, so that those whose node is away keep none of the others waiting for good.
_WAITING: Final = text("SELECT id, profile_id FROM state_due ORDER BY random() LIMIT :most")


def note(session: Session, profiles: Collection[int], told: Sequence[int] = ()) -> list[int]:
    """Note that these states are to be published; the numbers of the notes. Takes those back that are `told` since."""
    values = {"profiles": Numbers(profiles), "told": Numbers(told)}
    return list(session.scalars(_NOTE, values)) if profiles or told else []


def note_once(session: Session, profiles: Collection[int]) -> None:
    """Note it of those of whom it is not noted already: for what fails again and again while a store is away."""
    session.execute(_NOTE_ONCE, {"profiles": list(profiles)})


def note_left(session: Session, profiles: Collection[int]) -> None:
    """Note it of those whose state was left out, beside the notes of whoever leaves it out; a few each at most."""
    session.execute(_NOTE_LEFT, {"profiles": Numbers(profiles), "most": MOST_NOTES})


def done(session: Session, notes: Sequence[int]) -> None:
    """Take notes back: their states are published."""
    session.execute(_DONE, {"ids": list(notes)})


def waiting(session: Session) -> dict[int, int]:
    """At most AT_ONCE notes that wait, each with its profile."""
    return {row.id: row.profile_id for row in session.execute(_WAITING, {"most": AT_ONCE})}
