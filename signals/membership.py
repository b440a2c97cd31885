"""Segment membership in the state: so that an open can ask for what only SQL over the events can answer.

Who is in a segment is found elsewhere, by its rule; here the answer is written. Membership is no signal: the version of
a state stays (its edition does not), and folding again keeps what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import transaction
from signals import belonging, folding, journal
from signals.folding import Standing
from signals.intake import Intake

BATCH: Final = 500
SEGMENTS: Final = 200
"""Segments one profile may be in."""

_DIFFERENT = text("""
    SELECT profile_id FROM profile_state
    WHERE (profile_id = ANY(:members)) <> (document -> 'segments' @> to_jsonb(CAST(:segment AS int)))
    ORDER BY profile_id
""")


def assign(intake: Intake, segment: int, members: Iterable[int], now: datetime) -> int:
    """Make exactly these root profiles members of a segment; returns how many states changed.

    In effect for the next open when it returns. A profile that is in too many segments already is left out of this
    one. Raises Unavailable; doing it again is safe.
    """
    wanted = frozenset(members)
    with transaction(intake.sessions) as session:
        found = list(session.scalars(_DIFFERENT, {"members": list(wanted), "segment": segment}))
    changed = 0
    for start in range(0, len(found), BATCH):
        standings = intake.settle(partial(_assign, segment, wanted, found[start : start + BATCH], now))
        intake.publisher.write_states(folding.published(standings))
        changed += len(standings)
    return changed


def _assign(
    segment: int, wanted: frozenset[int], roots: Sequence[int], now: datetime, session: Session
) -> list[Standing]:
    standings: list[Standing] = []
    locked = folding.load(session, belonging.lock_roots(session, roots))
    (edition,) = journal.numbers(session, 1)
    for root in locked.values():
        state = root.held
        if state is None or state.erased:
            continue
        others = tuple(number for number in state.segments if number != segment)
        state.segments = tuple(sorted((*others, segment))) if root.id in wanted else others
        if len(state.segments) <= SEGMENTS:
            standings.append(folding.standing(root, state, edition))
    folding.write(session, standings, now)
    return standings
