"""States that a hot store may have forgotten: after a power cut it comes back up to a second older than it was.

A state that is absent is lost and repaired when an open asks for it; one that is merely older looks sound. So whenever
the store has another run id than the one last seen, every state that was written shortly before is written again, what
counts against people of several profiles among them is added up again, and who was erased shortly before is forgotten
again. In a cluster this goes by the runs of all masters: whatever node takes slots over is a run not seen before.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from base import keys
from base.db import Sessions, transaction
from base.logs import logger
from base.stores import Store, holder, runs
from campaigns.cursors import LoopCursor
from signals import countoutbox, journal
from signals.intake import Intake, stored_states

CURSOR: Final = "hot store "
"""Followed by a server's run id; the row's position is an arrival number: that run had every state up to this edition
for good."""
MISSED: Final = CURSOR + "missed"
"""Instead of a run: a state after this position could not be written, because the node that holds it was away."""
PEOPLE_A_STEP: Final = 1_000
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

        A cluster's node that is away is left for a later look: what it missed is written when it is there again. Raises
        Unavailable or redis.RedisError while a server is away; the next call does what was not done.
        """
        told = runs(self._store)
        away = {server for server, run in told.items() if run is None}
        here = {CURSOR + run for run in told.values() if run is not None}
        with transaction(self._sessions) as session:
            rows = session.scalars(select(LoopCursor).where(LoopCursor.name.startswith(CURSOR)))
            known = {row.name: row.position for row in rows}
            newest = journal.newest(session)
        position, written = min(known.values(), default=newest), 0
        is_fresh = bool(here - known.keys()) or (MISSED in known and not away)
        if known and is_fresh:
            written = self._write_again(position, away)
            logger(__name__).warning("the hot store was started again", states=written)
        # What had arrived at the last look is on disk by now; what arrived since may still be on its way there, as what
        # had its number before and was committed later.
        safe = self._newest if self._newest and not is_fresh else None
        self._newest = newest
        with transaction(self._sessions) as session:
            if not away:
                gone = LoopCursor.name.startswith(CURSOR), LoopCursor.name.not_in(here)
                session.execute(delete(LoopCursor).where(*gone))
            for name in sorted(here):
                upto = safe if safe is not None and name in known else position
                session.execute(
                    insert(LoopCursor)
                    .values(name=name, position=upto)
                    .on_conflict_do_update(index_elements=[LoopCursor.name], set_={"position": upto})
                )
        return written

    def missed(self) -> None:
        """Note that a state which is committed could not be written: it will be, once every node is there."""
        with transaction(self._sessions) as session:
            rows = select(func.min(LoopCursor.position)).where(LoopCursor.name.startswith(CURSOR))
            session.execute(
                insert(LoopCursor).values(name=MISSED, position=session.scalar(rows) or 0).on_conflict_do_nothing()
            )

    def _write_again(self, position: int, away: set[str]) -> int:
        written, after = 0, -1
        while True:
            with transaction(self._sessions) as session:
                people = session.execute(_NEWER, {"position": position, "after": after, "n": PEOPLE_A_STEP}).all()
                states = stored_states(session, [row.profile_id for row in people])
                countoutbox.note(session, countoutbox.merged(session, [row.profile_id for row in people]))
            if not people:
                return written
            if away:
                states = [state for state in states if self._holder(state[0]) not in away]
            written += self._intake.publisher.write_states(states)
            erased = [row.profile_id for row in people if row.erased and self._holder(row.profile_id) not in away]
            if erased:
                self._intake.publisher.forget(erased)
            after = people[-1].profile_id

    def _holder(self, profile: int) -> str:
        return holder(self._store, keys.state(profile))
