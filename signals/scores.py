"""Scores: computed traits, such as how likely a person is to leave, each with the moment it was computed as of.

They are found elsewhere, by a model or a calculation over events; here they are written. A score is no signal: the
version of a state stays (its edition does not). They lie in a table of their own, which folding again reads: a rebuild
brings them back even where the state was lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from signals import belonging, folding, journal
from signals.folding import Standing
from signals.intake import Intake, carry
from signals.livesegments import LiveSegments, place
from signals.moments import seconds_of, unix_ms
from signals.state import MAX_SCORES, Score

BATCH: Final = 500
_FORGET: Final = text("DELETE FROM profile_score WHERE profile_id = ANY(:roots)")
_WRITE: Final = text("""
    INSERT INTO profile_score (profile_id, name, value, as_of, run_id)
    SELECT root, name, value, :as_of, :run
    FROM unnest(CAST(:roots AS bigint[]), CAST(:names AS text[]), CAST(:values AS float8[])) AS new (root, name, value)
""")


def assign(intake: Intake, scored: Mapping[int, Mapping[str, float]], as_of: datetime, run: int, now: datetime) -> int:
    """Give these root profiles these scores and no others, as of a moment; returns how many states changed.

    `run` is the number of the computation they come from. In effect for the next open when it returns. Raises
    Unavailable; doing it again is safe. Raises ValueError for more than MAX_SCORES names of one person, or a score that
    is no finite number: rules would mean something else of it in SQL than in Python.
    """
    if any(len(found) > MAX_SCORES for found in scored.values()):
        raise ValueError(f"a person has at most {MAX_SCORES} scores")
    if not all(math.isfinite(value) for found in scored.values() for value in found.values()):
        raise ValueError("a score must be a finite number")
    roots, changed = sorted(scored), 0
    for start in range(0, len(roots), BATCH):
        some = roots[start : start + BATCH]
        work = partial(_assign, intake.segments, {root: scored[root] for root in some}, as_of, run, now)
        changed += len(carry(intake, work, lambda standings: standings))
    return changed


def _assign(
    segments: LiveSegments,
    scored: Mapping[int, Mapping[str, float]],
    as_of: datetime,
    run: int,
    now: datetime,
    session: Session,
) -> list[Standing]:
    locked = folding.load(session, belonging.lock_roots(session, list(scored)))
    living = [root for root in locked.values() if root.state is not None and root.erased_version is None]
    rows = [(root.id, name, value) for root in living for name, value in sorted(scored[root.id].items())]
    _keep(session, [root.id for root in living], rows, as_of, run)
    if not living:
        return []
    (edition,) = journal.numbers(session, 1)
    as_of_s, live = seconds_of(unix_ms(as_of)), segments.current(session)
    standings: list[Standing] = []
    for root in living:
        state = root.state
        if state is not None:
            state.scores = {name: Score(value, as_of_s) for name, value in scored[root.id].items()}
            standings.append(folding.standing(root, place(state, live, now), edition))
    folding.write(session, standings, now)
    return standings


def _keep(
    session: Session, roots: Sequence[int], rows: Sequence[tuple[int, str, float]], as_of: datetime, run: int
) -> None:
    session.execute(_FORGET, {"roots": list(roots)})
    if rows:
        session.execute(
            _WRITE,
            {
                "roots": [row[0] for row in rows],
                "names": [row[1] for row in rows],
                "values": [row[2] for row in rows],
                "as_of": as_of,
                "run": run,
            },
        )
