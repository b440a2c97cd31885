"""Everybody's scores, computed as of a moment: models of their future and the flags of the profit guard.

What is known of a person at the moment is the stored state if nothing later is folded into it, else their signals
before the moment folded again. So one way serves now and any time before, and nothing after it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base import db, logs
from base.blobs import FolderBlobs
from base.clock import Clock
from base.errors import InvalidInput, NotFound
from campaigns import worth
from campaigns.models.scores import ScoreModel, ScoreRun
from render.plain import without
from signals import folding, scores
from signals.catalog import sensitive
from signals.fold import fold_all
from signals.folding import Root
from signals.histories import history
from signals.intake import Intake
from signals.moments import unix_ms
from signals.personal import matrix, person_row
from signals.readings import FLAG
from signals.sealingkeys import leaving_out
from signals.state import ProfileState
from workers import lives
from workers.futures import Futures, Trained, train

BATCH: Final = 500
RETRAIN: Final = timedelta(days=7)
ALONE: Final = 0x6C625F73636F7265
"""PostgreSQL's number of the lock under which one run goes on at a time ("lb_score")."""
_log = logs.logger(__name__)


@dataclass(frozen=True)
class Done:
    """What a run did. `why_no_model`: only flags were computed, and this is why; `flagged` counts people by flag."""

    run: int
    people: int
    model: str | None
    why_no_model: str | None
    flagged: Mapping[str, int]


class Scorer:
    """Trains and computes scores; one run at a time over all processes."""

    def __init__(self, intake: Intake, blobs: FolderBlobs, clock: Clock) -> None:
        self._intake = intake
        self._sessions = intake.sessions
        self._blobs = blobs
        self._clock = clock

    def run(self, as_of: datetime, by: str, *, retrain: bool | None = None) -> Done:
        """Compute everybody's scores as of a moment. A model is trained when there is none, or none of the last week;
        `retrain` says otherwise. Raises Conflict while another run goes on, Unavailable."""
        with db.alone(self._sessions, ALONE, "Scores are being computed already."):
            run = self._begin(as_of, by)
            futures, why = self._futures(as_of, retrain)
            self._name(run, futures)
            people, flagged = 0, dict.fromkeys(("service", "returns", "discount", "spending"), 0)
            for roots in self._roots():
                scored = self._scored(roots, as_of, futures)
                people += scores.assign(self._intake, scored, as_of, run, self._clock.now())
                for found in scored.values():
                    for name in flagged:
                        flagged[name] += f"{FLAG}{name}" in found
            self._end(run, people, why)
            return Done(run, people, futures.hash if futures else None, why, flagged)

    def train(self, as_of: datetime) -> Trained:
        """Train the models on what was known at a moment, and list them. Raises InvalidInput when it is too little."""
        self._intake.categories.learn((), create=False)
        with db.transaction(self._sessions) as session:
            dates = lives.calendar(session, as_of)
            categories = lives.widest(session, dates.train[0])
            rows, test, people = lives.collect(session, self._intake.categories, dates, categories)
        trained = train(rows, test, dates, categories, people)
        self._blobs.put(trained.artefact)
        with db.transaction(self._sessions) as session:
            session.execute(
                insert(ScoreModel)
                .values(
                    hash=trained.hash, created_at=self._clock.now(), as_of=as_of, measures=trained.measures,
                    features=list(trained.features), people=trained.people, rows=trained.rows,
                    size=len(trained.artefact),
                )
                .on_conflict_do_nothing()
            )  # fmt: skip
        return trained

    def _futures(self, as_of: datetime, retrain: bool | None) -> tuple[Futures | None, str | None]:
        """The models for a run as of a moment: never those that learnt from later."""
        newest = self._newest(as_of)
        is_old = newest is None or newest.as_of < as_of - RETRAIN
        why = None
        if retrain or (retrain is None and is_old):
            try:
                return Futures.load(self.train(as_of).artefact), None
            except InvalidInput as error:
                why = error.message
        if newest is None:
            return None, why or "none was trained"
        try:
            return Futures.load(self._blobs.get(newest.hash)), None
        except (InvalidInput, NotFound) as error:
            _log.error("the models of scores cannot be used", model=newest.hash, error=str(error))
            return None, str(error)

    def _newest(self, as_of: datetime) -> ScoreModel | None:
        with db.transaction(self._sessions) as session:
            query = select(ScoreModel).where(ScoreModel.as_of <= as_of).order_by(ScoreModel.as_of.desc()).limit(1)
            found = session.scalar(query)
            if found is not None:
                session.expunge(found)
            return found

    def _scored(self, roots: Sequence[int], as_of: datetime, futures: Futures | None) -> dict[int, dict[str, float]]:
        with db.transaction(self._sessions) as session:
            known, unread = self._known(session, roots, as_of)
            terms = worth.terms(session)
            flags = {one.root: one.flags(terms) for one in worth.worths(session, list(known), as_of)}
        found = {root: {f"{FLAG}{name}": value for name, value in flags.get(root, {}).items()} for root in known}
        if futures is not None and known:
            rows = [person_row(state, as_of, futures.categories) for state in known.values()]
            for root, predicted in zip(known, futures.predict(matrix(rows, futures.categories)), strict=True):
                # Who is flagged is no example to find others by.
                found[root] |= {name: value for name, value in predicted.items() if name != "best" or not found[root]}
        # Who has no order (any more), or refuses profiling, keeps no score of before; who cannot be read does.
        return {root: found.get(root, {}) for root in roots if root not in unread}

    def _known(
        self, session: Session, roots: Sequence[int], as_of: datetime
    ) -> tuple[dict[int, ProfileState], set[int]]:
        """What was known at the moment of each of these people who had ordered by then and do not refuse profiling; and
        of whom what says so is damaged."""
        hidden = sensitive(session)
        known: dict[int, ProfileState] = {}
        unread: set[int] = set()
        for root in folding.load(session, roots).values():
            unread.add(root.id)
            if root.state is None:
                continue
            with leaving_out(profile=root.id):
                state = None if root.state.consent.get("profiling") is False else self._state(session, root, as_of)
                unread.remove(root.id)
                if state is not None and state.orders and not state.erased:
                    known[root.id] = without(state, hidden)
        return known, unread

    def _state(self, session: Session, root: Root, as_of: datetime) -> ProfileState | None:
        if root.state is None or root.erased_version is not None:
            return None
        as_of_ms = unix_ms(as_of)
        if root.state.last_ms < as_of_ms:
            return root.state
        told = history(session, root.members, self._intake.categories)
        return fold_all(entry.event for entry in told if entry.folds and entry.event.time_ms < as_of_ms)

    def _roots(self) -> Iterator[list[int]]:
        """All root profiles that have a state, a batch at a time."""
        after = 0
        while True:
            with db.transaction(self._sessions) as session:
                found = list(session.scalars(_ROOTS, {"after": after, "most": BATCH}))
            if not found:
                return
            yield found
            after = found[-1]

    def _begin(self, as_of: datetime, by: str) -> int:
        """The run that was asked for first, or one of our own; those that were broken off are ended."""
        now = self._clock.now()
        with db.transaction(self._sessions) as session:
            session.execute(_BROKEN_OFF)
            asked = select(ScoreRun).where(ScoreRun.began_at.is_(None)).order_by(ScoreRun.id).with_for_update()
            waiting = list(session.scalars(asked))
            run = waiting[0] if waiting else ScoreRun(asked_at=now, asked_by=by)
            run.as_of, run.began_at = as_of, now
            session.add(run)
            # One run answers all that were asked for by then.
            for other in waiting[1:]:
                session.delete(other)
            session.flush()
            return run.id

    def _name(self, run: int, futures: Futures | None) -> None:
        with db.transaction(self._sessions) as session:
            session.get_one(ScoreRun, run).model_hash = None if futures is None else futures.hash

    def _end(self, run: int, people: int, why: str | None) -> None:
        with db.transaction(self._sessions) as session:
            row = session.get_one(ScoreRun, run)
            row.ended_at, row.people, row.why_no_model = self._clock.now(), people, why


_ROOTS: Final = text("""
    SELECT s.profile_id FROM profile_state s JOIN profile p ON p.id = s.profile_id
    WHERE s.profile_id > :after AND p.erased_at IS NULL ORDER BY s.profile_id LIMIT :most
""")
_BROKEN_OFF: Final = text("""
    UPDATE score_run SET ended_at = began_at, why_no_model = 'it was broken off'
    WHERE began_at IS NOT NULL AND ended_at IS NULL
""")
