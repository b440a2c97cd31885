"""States that a hot store may have forgotten: after a power cut it comes back up to a second older than it was.

A state that is absent is lost and repaired when an open asks for it; one that is merely older looks sound. So whenever
the store has another run id than the one last seen, every state that was written shortly before is written again, and
who was erased shortly before is forgotten again.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert

from base.db import Sessions, transaction
from base.logs import logger
from base.stores import Store
from campaigns.cursors import LoopCursor
from signals.intake import Intake, stored_states

CURSOR: Final = "hot store "
"""Followed by the store's run id; the row's position is an arrival number: that run had every state up to this edition
for good."""
PEOPLE_A_STEP: Final = 1_000
_NEWEST: Final = text("SELECT coalesce(max(id), 0) FROM event")
_NEWER: Final = text("""
    SELECT profile_id, false AS erased FROM profile_state
    WHERE greatest(edition, version) > :position AND profile_id > :after
    UNION ALL SELECT id, true FROM profile WHERE erased_version > :position AND id > :after
    ORDER BY profile_id LIMIT :n
""")


class Restarts:
    """Notices that the hot store was started again. One per recorder; several of them do the same, harmlessly."""

    def __init__(self, sessions: Sessions, store: Store, intake: Intake) -> None:
        self._sessions = sessions
        self._store = store
        self._intake = intake
        self._newest = 0

    def look(self) -> int:
        """Call every few seconds, further apart than what a power cut can cost; returns how many states were written.

        Raises Unavailable or redis.RedisError while a server is away; the next call does what was not done.
        """
        told: Any = self._store.info("server")
        name = CURSOR + str(told["run_id"])
        with transaction(self._sessions) as session:
            rows = session.scalars(select(LoopCursor).where(LoopCursor.name.startswith(CURSOR)))
            known = {row.name: row.position for row in rows}
            newest = int(session.scalar(_NEWEST) or 0)
        position, written = min(known.values(), default=newest), 0
        if name in known and self._newest:
            # What had arrived at the last look is on disk by now; what arrived since may still be on its way there.
            position = self._newest
        elif name not in known and known:
            written = self._write_again(position)
            logger(__name__).warning("the hot store was started again", states=written)
        self._newest = newest
        with transaction(self._sessions) as session:
            session.execute(delete(LoopCursor).where(LoopCursor.name.startswith(CURSOR), LoopCursor.name != name))
            session.execute(
                insert(LoopCursor)
                .values(name=name, position=position)
                .on_conflict_do_update(index_elements=[LoopCursor.name], set_={"position": position})
            )
        return written

    def _write_again(self, position: int) -> int:
        written, after = 0, -1
        while True:
            with transaction(self._sessions) as session:
                people = session.execute(_NEWER, {"position": position, "after": after, "n": PEOPLE_A_STEP}).all()
                states = stored_states(session, [row.profile_id for row in people])
            if not people:
                return written
            written += self._intake.publisher.write_states(states)
            erased = [row.profile_id for row in people if row.erased]
            if erased:
                self._intake.publisher.forget(erased)
            after = people[-1].profile_id
