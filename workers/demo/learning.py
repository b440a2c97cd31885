"""The second act: the next-best-offer model, trained on what households bought next in the months before the story."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from base import db
from base.errors import InvalidInput, NotFound
from campaigns.models.learning import TrainedModel
from render.model import Model
from workers.demo.stage import Stage
from workers.judgement import table
from workers.training import document, register, train


def learn(stage: Stage) -> tuple[str, dict[str, Any]]:
    """The hash of the model and its measures: an earlier run's if it still loads, else trained now."""
    kept = _kept(stage)
    if kept is not None:
        stage.say(f"the model {kept[0][:12]} was trained by an earlier run, in {kept[1]['seconds']} s")
        digest, metrics = kept
    else:
        trained = train(
            stage.sessions, stage.settings.database_url, stage.calendar.story, lambda line: stage.say(f"  {line}")
        )
        with db.transaction(stage.sessions) as session:
            digest = register(session, stage.blobs, trained, stage.now)
        metrics = document(trained)
        stage.say(f"model {digest[:12]} trained in {trained.seconds:.1f} s, {len(trained.artefact) / 1000:.0f} kB")
    for line in table(metrics):
        stage.say(f"  {line}")
    return digest, metrics


def _kept(stage: Stage) -> tuple[str, dict[str, Any]] | None:
    """The newest model that was trained on data up to the story and that this release can still use."""
    with db.transaction(stage.sessions) as session:
        rows = session.scalars(select(TrainedModel).order_by(TrainedModel.created_at.desc()).limit(10)).all()
    for row in rows:
        until = stage.calendar.story.replace(hour=0, minute=0, second=0, microsecond=0)
        if row.metrics.get("to") != until.isoformat():
            continue
        try:
            # An earlier release may have kept other measures: KeyError.
            Model.load(stage.blobs.get(row.hash))
            table(row.metrics)
        except (InvalidInput, NotFound, KeyError):
            continue
        return row.hash, row.metrics
    return None
