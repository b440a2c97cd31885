"""Trained models, how they move through the campaigns, and what was found of them on the way."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Float, ForeignKey, Identity, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model

MODEL_STATES = ("trained", "shadow", "canary", "live", "retired")
"""The furthest that a model is in any campaign; retired once it was live and is no more."""
MOVES = ("shadow", "canary", "live", "rollback", "stop", "rules")
RUN_STATES = ("running", "done", "failed")


class TrainedModel(Model):
    """A trained propensity model; the artefact lies in the blob store by the same hash.

    `metrics` holds its measures, calibration and data window; `definitions` what each feature meant when it was
    trained; `reference` how features and scores were spread then, which drift is told by.
    """

    __tablename__ = "model"

    hash: Mapped[str] = mapped_column(Text, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    state: Mapped[str] = mapped_column(Text)  # one of MODEL_STATES
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB)
    features: Mapped[list[str]] = mapped_column(ARRAY(Text))
    definitions: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    reference: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    rows: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(Integer)


class ModelMove(Model):
    """One step of a model in one campaign: who took it, when and why, and what the gate had said of it."""

    __tablename__ = "model_move"
    __table_args__ = (Index("model_move_campaign", "campaign_id", "id"), Index("model_move_model", "model_hash", "id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    action: Mapped[str] = mapped_column(Text)  # one of MOVES
    model_hash: Mapped[str | None] = mapped_column(Text)  # the one that moved; None: the rules
    before_hash: Mapped[str | None] = mapped_column(Text)  # what was live before
    share: Mapped[float | None] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text)
    overridden: Mapped[bool] = mapped_column(Boolean, server_default="false")  # against the gate, or without its word
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    by: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int | None] = mapped_column(Integer)


class ModelShadow(Model):
    """What a model on trial would have shown at one recorded open: slot -> offer.

    `logged` is the chance that the open's own choice had, `chance` the one it has with this model, `unsupported` how
    likely this model shows what had none at the open; all 0 to 1, all slots together.
    """

    __tablename__ = "model_shadow"
    __table_args__ = (
        Index("model_shadow_campaign", "campaign_id", "model_hash", "at"),
        Index("model_shadow_at", "at", postgresql_using="brin"),
    )

    model_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    decision_id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))  # of the decision
    campaign_id: Mapped[int] = mapped_column(Integer)
    slots: Mapped[dict[str, int]] = mapped_column(JSONB)
    differs: Mapped[bool] = mapped_column(Boolean)
    logged: Mapped[float] = mapped_column(Float)
    chance: Mapped[float] = mapped_column(Float)
    unsupported: Mapped[float] = mapped_column(Float)


class ModelVerdict(Model):
    """What the gate said of a model in a campaign at a moment."""

    __tablename__ = "model_verdict"
    __table_args__ = (Index("model_verdict_newest", "campaign_id", "model_hash", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    campaign_id: Mapped[int] = mapped_column(Integer)
    model_hash: Mapped[str] = mapped_column(Text)
    against: Mapped[str | None] = mapped_column(Text)  # what was live; None: the rules
    passes: Mapped[bool] = mapped_column(Boolean)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)


class ModelDrift(Model):
    """How far the people and the outcomes a model met had moved from those it was trained on."""

    __tablename__ = "model_drift"
    __table_args__ = (Index("model_drift_newest", "model_hash", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    model_hash: Mapped[str] = mapped_column(Text)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)


class TrainingRun(Model):
    """One training by the schedule. At most one is running: an index sees to it."""

    __tablename__ = "training_run"
    __table_args__ = (Index("training_run_alone", "state", unique=True, postgresql_where=text("state = 'running'")),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    state: Mapped[str] = mapped_column(Text)  # one of RUN_STATES
    model_hash: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text, server_default="")
