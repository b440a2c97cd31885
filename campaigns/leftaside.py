"""Segments that are left aside: nobody is told any more who is in one, as its rule fails; everything else goes on.

The admin log holds why, once, and when it went again. A rule that was changed since is given the benefit of the doubt.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.models.accounts import AdminEntry
from campaigns.models.campaign import Segment

_BY: Final = Actor("schedule")
_KIND: Final = "segment at opens"
_ASIDE: Final = "leave aside"


@dataclass(frozen=True, slots=True)
class LeftAside:
    """A segment that opens ask for, why it is left aside, and since when."""

    id: int
    name: str
    why: str
    since: datetime

    @property
    def words(self) -> str:
        """What is the matter, in a sentence."""
        return f"The segment “{self.name}” is left aside, and opens go by who was in it before: {self.why.rstrip('.')}."


def note(session: Session, segment: int, why: str, now: datetime) -> None:
    """Keep that a segment is left aside. The caller commits."""
    if [one.why for one in standing(session, [segment])] != [why]:
        admin_log.record(session, _BY, _ASIDE, _KIND, segment, now, after={"why": why})


def over(session: Session, segment: int, now: datetime) -> None:
    """It is told again who is in a segment. The caller commits."""
    newest = session.scalar(_newest([segment]).with_only_columns(AdminEntry.action))
    if newest == _ASIDE:
        admin_log.record(session, _BY, "take up again", _KIND, segment, now)


def standing(session: Session, segments: Collection[int]) -> list[LeftAside]:
    """Those of these segments that are left aside, by number."""
    entries = {int(row.object_id): row for row in session.scalars(_newest(segments)) if row.action == _ASIDE}
    rows = session.scalars(select(Segment).where(Segment.id.in_(entries)).order_by(Segment.id))
    found = [(row, entries[row.id]) for row in rows]
    return [
        LeftAside(row.id, row.name, str((entry.after or {})["why"]), entry.at)
        for row, entry in found
        if entry.at >= row.updated_at
    ]


def _newest(segments: Collection[int]) -> Select[AdminEntry]:
    """The newest entry of each."""
    named = AdminEntry.object_id.in_([str(number) for number in segments])
    newest = select(func.max(AdminEntry.id)).where(AdminEntry.object_type == _KIND, named)
    return select(AdminEntry).where(AdminEntry.id.in_(newest.group_by(AdminEntry.object_id)))
