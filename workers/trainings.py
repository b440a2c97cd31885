"""Trainings by the schedule: when one is due, that never two run at once, and what becomes of the model.

A run is a row. The database lets one be running; a run that was not heard of for LOST_AFTER has died and makes room.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import Conflict
from base.stores import Store
from campaigns import rollout
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign
from campaigns.models.learning import TrainingRun

LOST_AFTER: Final = timedelta(hours=2)
"""Longer than a training may take; then its process is gone."""
LONGEST_MESSAGE: Final = 500
SCHEDULE: Final = Actor("schedule")


def is_due(session: Session, now: datetime, every: timedelta) -> bool:
    """Whether the last training began long enough ago, and none runs."""
    last = session.scalar(select(TrainingRun).order_by(TrainingRun.id.desc()).limit(1))
    if last is None:
        return True
    return last.started_at <= now - (LOST_AFTER if last.state == "running" else every)


def begin(session: Session, now: datetime) -> int:
    """Note that a training runs; its number. Raises Conflict while another does."""
    session.execute(
        update(TrainingRun)
        .where(TrainingRun.state == "running", TrainingRun.started_at <= now - LOST_AFTER)
        .values(state="failed", finished_at=now, message="It was not heard of again.")
    )
    number: int | None = session.scalar(
        insert(TrainingRun)
        .values(started_at=now, state="running")
        .on_conflict_do_nothing(index_elements=[TrainingRun.state], index_where=TrainingRun.state == "running")
        .returning(TrainingRun.id)
    )
    if number is None:
        raise Conflict("another training is running")
    return number


def end(session: Session, number: int, now: datetime, message: str, digest: str | None = None) -> None:
    """Note what came of a training: a model, or why there is none."""
    run = session.get_one(TrainingRun, number)
    run.state, run.finished_at = "failed" if digest is None else "done", now
    run.model_hash, run.message = digest, message[:LONGEST_MESSAGE]


def into_the_shadow(session: Session, store: Store, blobs: FolderBlobs, digest: str, now: datetime) -> list[int]:
    """Put a model into the shadow of each campaign that a model decides and that tries none; their numbers."""
    waiting = session.scalars(
        select(Campaign.id)
        .where(
            Campaign.model_hash.is_not(None),
            Campaign.model_hash != digest,
            Campaign.shadow_hash.is_(None),
            Campaign.canary_hash.is_(None),
        )
        .order_by(Campaign.id)
    ).all()
    for number in waiting:
        rollout.to_shadow(session, store, blobs, number, digest, now, SCHEDULE, "It was trained by the schedule.")
    return list(waiting)
