"""States as they stood when the story began, so that the next telling need not fold a year of signals again.

A copy is used only where it is what folding would give: its version is the newest of the profile's remaining signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import text

from base import db
from signals import belonging, folding, journal
from signals.folding import Standing
from signals.intake import Intake
from signals.profiles import opened
from signals.publishing import ANYBODY
from signals.state import decode
from workers.demo.stage import Stage

FILE: Final = "states.msgpack"
_NEWEST: Final = text("""
    SELECT p.root_id, max(e.id) AS newest FROM event e JOIN profile p ON p.id = e.profile_id
    WHERE p.root_id = ANY(:roots) AND e.folds GROUP BY p.root_id
""")
_STATES: Final = text("SELECT profile_id, encoded FROM profile_state")
_ROOTS: Final = text("SELECT DISTINCT root_id FROM profile WHERE id = ANY(:profiles) ORDER BY root_id")


def keep_states(stage: Stage) -> None:
    """Copy every state to a file."""
    with db.transaction(stage.sessions) as session:
        rows = session.execute(_STATES)
        held = {row.profile_id: opened(session, row.profile_id, row.encoded) for row in rows}
    states = {profile: one.encoded for profile, one in held.items() if one is not None}
    (stage.folder / FILE).write_bytes(msgspec.msgpack.encode(states))


def restore_states(stage: Stage, intake: Intake, profiles: Sequence[int]) -> tuple[int, list[int]]:
    """Put the copies of these profiles back; returns how many there were, and who must be folded again."""
    try:
        kept = msgspec.msgpack.decode((stage.folder / FILE).read_bytes(), type=dict[int, bytes])
    except (FileNotFoundError, msgspec.DecodeError):
        return 0, list(profiles)
    standings: list[Standing] = []
    others: list[int] = []
    with db.transaction(stage.sessions) as session:
        roots = belonging.lock_roots(session, list(session.scalars(_ROOTS, {"profiles": list(profiles)})))
        (edition,) = journal.numbers(session, 1)
        newest = {row.root_id: row.newest for row in session.execute(_NEWEST, {"roots": roots})}
        for root in folding.load(session, roots).values():
            state = decode(kept[root.id]) if root.id in kept else None
            if state is not None and not state.erased and state.version == newest.get(root.id):
                standings.append(folding.standing(root, state, edition))
            else:
                others.append(root.id)
        folding.write(session, standings, stage.now)
    intake.publisher.write_states(folding.published(standings), ANYBODY)  # The states alone were taken away.
    return len(standings), others
