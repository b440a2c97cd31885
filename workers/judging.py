"""Models from time to time: what those on trial would have shown is brought up to date, the gate is asked again, and
the drift of live ones is measured."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.clock import Clock
from base.db import Sessions, transaction
from base.errors import InvalidInput, NotFound
from base.logs import logger
from campaigns.gate import weighed
from campaigns.models.campaign import Campaign
from campaigns.models.learning import ModelVerdict
from workers import drifting, worth
from workers.showings import Archive
from workers.trials import Shadowing, Trial, trials

MOST_STEPS: Final = 60
"""Slices of a trial that one run takes; what is left comes round again."""
EVERY: Final = timedelta(hours=1)
"""How often the gate is asked."""
SHADOWS_KEPT: Final = timedelta(days=60)
MOST_FORGOTTEN: Final = 20_000
_FORGET: Final = text("""
    DELETE FROM model_shadow WHERE (model_hash, decision_id) IN (
        SELECT model_hash, decision_id FROM model_shadow WHERE at < :before LIMIT :most
    )
""")


class Judge:
    """Runs what is on trial. One a process."""

    def __init__(self, sessions: Sessions, blobs: FolderBlobs, wrapping_key: bytes, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._shadowing = Shadowing(sessions, blobs, wrapping_key)
        self._archive = Archive(blobs, wrapping_key)

    def run(self) -> dict[str, int]:
        """Bring every trial up to date and look for drift; how many slices were taken, verdicts made, and models
        measured."""
        now = self._clock.now()
        with transaction(self._sessions) as session:
            session.execute(_FORGET, {"before": now - SHADOWS_KEPT, "most": MOST_FORGOTTEN})
            found = trials(session)
        steps = asked = 0
        for trial in found:
            for _ in range(MOST_STEPS):
                steps += 1
                if not self._shadowing.step(trial, now):
                    break
            with transaction(self._sessions) as session:
                asked += judge(session, trial, now)
        return {"slices": steps, "asked": asked, "measured": self._measure(now)}

    def _measure(self, now: datetime) -> int:
        """Measure the drift of live models, each once a day; how many were."""
        with transaction(self._sessions) as session:
            due = drifting.due(session, now)
        measured = 0
        for digest in due:
            try:
                with transaction(self._sessions) as session:
                    measured += drifting.measure(session, self._archive, digest, now) is not None
            except (InvalidInput, NotFound) as error:
                logger(__name__).warning("a model's drift is not measured", model=digest, reason=str(error))
        return measured


def judge(session: Session, trial: Trial, now: datetime) -> bool:
    """Ask the gate about a model on trial, unless it was asked within the hour; whether it was asked."""
    row = session.get_one(Campaign, trial.campaign)
    last = session.scalar(
        select(ModelVerdict)
        .where(ModelVerdict.campaign_id == trial.campaign, ModelVerdict.model_hash == trial.model)
        .order_by(ModelVerdict.id.desc())
        .limit(1)
    )
    if last is not None and last.against == row.model_hash and now - last.at < EVERY:
        return False
    by_lot = worth.of_canary(session, row, now) if row.canary_hash == trial.model else None
    verdict = weighed(one for one in (by_lot, worth.of_logs(session, row, trial.model, now)) if one is not None)
    session.add(
        ModelVerdict(
            at=now,
            campaign_id=trial.campaign,
            model_hash=trial.model,
            against=row.model_hash,
            passes=verdict.passes,
            document=msgspec.to_builtins(verdict),
        )
    )
    session.flush()
    return True
