"""What computes traits of people: models of their future, runs that used them, and what the profit guard assumes."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Float, ForeignKey, Identity, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class ScoreModel(Model):
    """The models of one training; the artefact lies in the blob store by the same hash. `measures` are held out."""

    __tablename__ = "score_model"

    hash: Mapped[str] = mapped_column(Text, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    as_of: Mapped[datetime] = mapped_column(DateTime(timezone=True))  # nothing later was learnt from
    measures: Mapped[dict[str, Any]] = mapped_column(JSONB)
    features: Mapped[list[str]] = mapped_column(ARRAY(Text))
    people: Mapped[int] = mapped_column(Integer)
    rows: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(Integer)


class ScoreRun(Model):
    """One computation of everybody's scores, asked for by somebody or by the clock.

    `began_at` None: it waits. `ended_at` None: it goes on, or was broken off. Without a model only flags are computed.
    """

    __tablename__ = "score_run"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    model_hash: Mapped[str | None] = mapped_column(ForeignKey("score_model.hash"))
    asked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    asked_by: Mapped[str] = mapped_column(Text)
    as_of: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    began_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), index=True)
    people: Mapped[int] = mapped_column(Integer, server_default="0")
    why_no_model: Mapped[str | None] = mapped_column(Text)


class GuardTerms(Model):
    """What the profit guard assumes of costs; one row, made when somebody changes what is shipped."""

    __tablename__ = "guard_terms"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    margin: Mapped[float] = mapped_column(Float)
    contact_cents: Mapped[int] = mapped_column(Integer)
    return_cents: Mapped[int] = mapped_column(Integer)
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
