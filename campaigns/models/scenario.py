"""What a campaign must show somebody of whom this or that is known, kept with the campaign."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, DateTime, ForeignKey, Identity, Index, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class Scenario(Model):
    """One scenario test. `content` is a campaigns.scenarios.ScenarioIn; `passed` and `told` say how it went with the
    plan that was published last, NULL before the first."""

    __tablename__ = "scenario"
    __table_args__ = (Index("scenario_name", "campaign_id", "name", unique=True),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    name: Mapped[str] = mapped_column(Text)
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    passed: Mapped[bool | None] = mapped_column(Boolean)
    told: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    plan_hash: Mapped[str | None] = mapped_column(Text)  # of the plan it was asked of
    asked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
