"""Segment membership in the state: so that an open can ask for what only SQL over the events can answer.

Who is in a segment is found elsewhere, by its rule; here the answer is written. Membership is no signal: the version of
a state stays (its edition does not), and folding again keeps what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import transaction
from signals import belonging, folding, journal
from signals.folding import Standing
from signals.intake import Intake, carry
from signals.livesegments import SEGMENTS
from signals.readings import RuleFacts

BATCH: Final = 200

_DIFFERENT = text("""
    SELECT profile_id, profile_id = ANY(:members) AS fits FROM profile_state
    WHERE (profile_id = ANY(:members)) <> (document -> 'segments' @> to_jsonb(CAST(:segment AS int)))
    ORDER BY profile_id
""")


def assign(intake: Intake, segment: int, members: Iterable[int], now: datetime) -> int:
    """Make exactly these root profiles members of a segment; returns how many states changed.

    In effect for the next open when it returns. A profile that is in too many segments already is left out of this
    one. Raises Unavailable; doing it again is safe.
    """
    with transaction(intake.sessions) as session:
        rows = session.execute(_DIFFERENT, {"members": sorted(members), "segment": segment}).all()
    return sum(pieces(intake, segment, {row.profile_id: row.fits for row in rows}, lambda: now))


def pieces(intake: Intake, segment: int, fits: Mapping[int, bool], now: Callable[[], datetime]) -> Iterator[int]:
    """Write of these root profiles whether they fit, BATCH at a time; yields how many states each piece changed.

    Whose signals come meanwhile is told by them and not by what was found before, where a state can answer the rule:
    by the moment at which they are held.
    """
    found = list(fits)
    for start in range(0, len(found), BATCH):
        work = partial(_write, intake, segment, fits, found[start : start + BATCH], now)
        yield len(carry(intake, work, lambda standings: standings))


def _write(
    intake: Intake,
    segment: int,
    fits: Mapping[int, bool],
    roots: list[int],
    clock: Callable[[], datetime],
    session: Session,
) -> list[Standing]:
    standings: list[Standing] = []
    live = intake.segments.current(session).get(segment)
    locked = folding.load(session, belonging.lock_roots(session, roots))
    now = clock()
    (edition,) = journal.numbers(session, 1)
    for root in locked.values():
        state = root.held
        if state is None or state.erased:
            continue
        is_member = live(RuleFacts(state, now)) if live is not None else fits[root.id]
        if is_member == (segment in state.segments):
            continue
        others = tuple(number for number in state.segments if number != segment)
        state.segments = tuple(sorted((*others, segment))) if is_member else others
        if len(state.segments) <= SEGMENTS:
            standings.append(folding.standing(root, state, edition))
    folding.write(session, standings, now)
    return standings
