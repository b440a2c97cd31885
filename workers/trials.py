"""Models on trial: what a model in the shadow, or as a canary, would have shown at opens that others decided.

Computed from stored records by the function that decides opens, so it touches no open, no cap and no count. A trial
begins with the opens of the last four weeks. Opens are taken by slices of time, and of a slice that holds too many an
even part: decision ids are hashes, so those below a bound are drawn by lot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.db import Sessions, transaction
from base.errors import LatebindError
from base.ids import TEST_BIT
from base.logs import logger
from campaigns import plans
from campaigns.cursors import LoopCursor
from campaigns.models.campaign import Campaign
from campaigns.models.learning import ModelShadow
from campaigns.opens import Decision
from campaigns.recorded import records
from render.model import Model
from render.plan import Plan
from render.record import DecisionRecord
from signals.moments import unix_ms
from workers.counterfactual import retold
from workers.recording import moment

BACK: Final = timedelta(days=28)
SLICE: Final = timedelta(hours=1)
MOST_A_SLICE: Final = 500
"""Opens of one slice that a trial decides once more."""
SETTLED: Final = timedelta(minutes=2)
"""Records younger than this may still be on their way to the database."""
KEPT: Final = 16
_ID_SPAN: Final = 1 << 32


@dataclass(frozen=True)
class Trial:
    """A model on trial in a campaign."""

    campaign: int
    model: str

    @property
    def cursor(self) -> str:
        """The name of its place in the table of cursors."""
        return f"trial {self.campaign} {self.model}"


def trials(session: Session) -> list[Trial]:
    """All that are on, in order of campaigns."""
    rows = session.execute(
        select(Campaign.id, Campaign.shadow_hash, Campaign.canary_hash)
        .where(Campaign.shadow_hash.is_not(None) | Campaign.canary_hash.is_not(None))
        .order_by(Campaign.id)
    )
    return [Trial(row.id, model) for row in rows for model in (row.shadow_hash, row.canary_hash) if model is not None]


class Shadowing:
    """Decides recorded opens once more; keeps the plans and models it met."""

    def __init__(self, sessions: Sessions, blobs: FolderBlobs, wrapping_key: bytes) -> None:
        self._sessions = sessions
        self._blobs = blobs
        self._wrapping_key = wrapping_key
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._models: OrderedDict[str, Model] = OrderedDict()

    def step(self, trial: Trial, now: datetime) -> bool:
        """Take the next slice that holds an open; whether one may be left. Raises Unavailable.

        Two processes that take the same slice write the same rows once.
        """
        with transaction(self._sessions) as session:
            model = self._model(trial.model)
            begin, until = _place(session, trial, now), now - SETTLED
            first = _first(session, trial, begin, until) if model is not None else None
            if model is None or first is None:
                _note(session, trial, until)
                return False
            end = min(first + SLICE, until)
            for row, record in records(session, _opens(session, trial, first, end), self._wrapping_key):
                self._shadow(session, trial, row, record, model)
            _note(session, trial, end)
            return end < until

    def _shadow(self, session: Session, trial: Trial, row: Any, record: DecisionRecord, model: Model) -> None:
        try:
            told = retold(record, self._plan(record.plan), model)
        except LatebindError as error:
            logger(__name__).warning("a model's shadow is not computed", decision=row.id, reason=str(error))
            return
        slots = {str(slot.slot): slot.offer for slot in told.decision.slots}
        values = {
            "model_hash": trial.model, "decision_id": row.id, "at": row.at, "campaign_id": trial.campaign,
            "slots": slots, "differs": slots != row.slots, "logged": record.propensity, "chance": told.chance,
            "unsupported": told.unsupported,
        }  # fmt: skip
        session.execute(insert(ModelShadow).values(values).on_conflict_do_nothing())

    def _plan(self, digest: str) -> Plan:
        if digest not in self._plans:
            self._plans[digest] = plans.load(self._blobs, digest)
            if len(self._plans) > KEPT:
                self._plans.popitem(last=False)
        return self._plans[digest]

    def _model(self, digest: str) -> Model | None:
        """The model; None, with a log line, where it cannot be loaded."""
        if digest not in self._models:
            try:
                self._models[digest] = Model.load(self._blobs.get(digest))
            except LatebindError as error:
                logger(__name__).warning("a model on trial cannot be loaded", model=digest, reason=str(error))
                return None
            if len(self._models) > KEPT:
                self._models.popitem(last=False)
        return self._models[digest]


def _where(trial: Trial, begin: datetime, end: datetime) -> tuple[Any, ...]:
    """Opens of people that something decided: a model or the rules, and not the model on trial itself."""
    return (
        Decision.campaign_id == trial.campaign,
        Decision.occurrence < TEST_BIT,
        Decision.at >= begin,
        Decision.at < end,
        Decision.lane == "live",
        Decision.rung.in_(("model", "rules")),
        Decision.model_hash.is_distinct_from(trial.model),
        Decision.personal.is_not(None),
    )


def _first(session: Session, trial: Trial, begin: datetime, until: datetime) -> datetime | None:
    first: datetime | None = session.scalar(select(func.min(Decision.at)).where(*_where(trial, begin, until)))
    return first


def _opens(session: Session, trial: Trial, begin: datetime, end: datetime) -> Sequence[Any]:
    where = _where(trial, begin, end)
    count = session.scalar(select(func.count()).select_from(Decision).where(*where)) or 0
    if count > MOST_A_SLICE:
        where = (*where, Decision.id < f"{_ID_SPAN * MOST_A_SLICE // count:08x}")
    columns = select(Decision.id, Decision.at, Decision.profile_id, Decision.slots, Decision.public, Decision.personal)
    return session.execute(columns.where(*where).order_by(Decision.at, Decision.id)).all()


def _place(session: Session, trial: Trial, now: datetime) -> datetime:
    position = session.scalar(select(LoopCursor.position).where(LoopCursor.name == trial.cursor))
    return now - BACK if position is None else max(moment(position), now - BACK)


def _note(session: Session, trial: Trial, come: datetime) -> None:
    position = unix_ms(come)
    session.execute(
        insert(LoopCursor)
        .values(name=trial.cursor, position=position)
        .on_conflict_do_update(index_elements=[LoopCursor.name], set_={"position": position})
    )
