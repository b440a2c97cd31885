"""Models: the registry, and each model's way through the campaigns."""

from __future__ import annotations

from typing import Any

import msgspec

from campaigns import campaigns, registry, rollout
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.gate import Verdict
from campaigns.models.learning import ModelMove, TrainedModel
from campaigns.parts import parts
from campaigns.registry import Place
from campaigns.views.acting import actor


class ModelLine(msgspec.Struct, frozen=True):
    """A model in the list; `state` is the furthest that it is in any campaign."""

    model: str
    created_at: str
    state: str
    rows: int
    size: int


class Models(msgspec.Struct, frozen=True):
    """The newest models first."""

    models: list[ModelLine]


class DriftOut(msgspec.Struct, frozen=True):
    """How far the people and outcomes a model met had moved, at a moment."""

    at: str
    found: dict[str, Any]


class ModelOut(msgspec.Struct, frozen=True):
    """All about a model: `metrics` with measures, calibration and data window, and what its features meant."""

    model: str
    created_at: str
    state: str
    rows: int
    size: int
    metrics: dict[str, Any]
    features: list[str]
    definitions: dict[str, str]
    drift: list[DriftOut]


class TrialOut(msgspec.Struct, frozen=True):
    """A model on trial in a campaign; of `compared` opens it chose otherwise in `differing`."""

    model: str
    compared: int
    differing: int
    verdict: Verdict


class StepOut(msgspec.Struct, frozen=True):
    """A step that was taken. `overridden`: the gate did not let the model go live, and `reason` says why it did."""

    at: str
    action: str
    model: str | None
    before: str | None
    share: float | None
    reason: str
    overridden: bool
    by: str


class RolloutOut(msgspec.Struct, frozen=True):
    """What decides a campaign's slots of mode "model": `live` null is the rules. Newest steps first."""

    live: str | None
    canary: str | None
    share: float | None
    shadow: str | None
    trials: list[TrialOut]
    steps: list[StepOut]


@api.get("/models")
@allow("manager")
@served(200, Models, "models")
def list_models() -> Models:
    """Every model that was trained."""
    with parts().transaction() as session:
        return Models([_line(row) for row in registry.models(session)])


@api.get("/models/<model>")
@allow("manager")
@served(200, ModelOut, "models", 404)
def get_model(model: str) -> ModelOut:
    """One model: its measures, its features, its drift."""
    with parts().transaction() as session:
        row = rollout.trained(session, model)
        found = [DriftOut(one.at.isoformat(), one.document) for one in registry.drift(session, model)]
        line = msgspec.to_builtins(_line(row))
        return ModelOut(
            **line, metrics=row.metrics, features=row.features, definitions=row.definitions, drift=found
        )  # fmt: skip


@api.get("/campaigns/<int:campaign_id>/model-steps")
@allow("manager")
@served(200, RolloutOut, "models", 404)
def get_rollout(campaign_id: int) -> RolloutOut:
    """What decides a campaign, what is on trial in it, and every step so far."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        place = registry.place(session, row, parts().now())
        return _rollout(place, rollout.moves(session, campaign_id=campaign_id))


@api.post("/campaigns/<int:campaign_id>/model-steps")
@allow("manager")
@served(200, RolloutOut, "models", 404, 409)
def take_model_step(campaign_id: int, json: rollout.Step) -> RolloutOut:
    """Lead a model on or back; mails already sent follow within a second."""
    with parts().transaction() as session:
        rollout.take(session, parts().store, parts().blobs, campaign_id, json, parts().now(), actor())
        place = registry.place(session, campaigns.campaign(session, campaign_id), parts().now())
        return _rollout(place, rollout.moves(session, campaign_id=campaign_id))


def _line(row: TrainedModel) -> ModelLine:
    return ModelLine(row.hash, row.created_at.isoformat(), row.state, row.rows, row.size)


def _rollout(place: Place, steps: list[ModelMove]) -> RolloutOut:
    trials = [TrialOut(digest, *place.compared[digest], verdict) for digest, verdict in place.verdicts.items()]
    told = [
        StepOut(
            step.at.isoformat(), step.action, step.model_hash, step.before_hash, step.share, step.reason,
            step.overridden, step.by,
        )
        for step in steps
    ]  # fmt: skip
    return RolloutOut(place.live, place.canary, place.share, place.shadow, trials, told)
