"""Who must agree before a campaign's mails leave, and who agreed to which version when."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class Approval(Model):
    """One version of a campaign for which a second person's word was asked, and what they said.

    `state` is asked, approved, refused or void. `version` is the hash of `content`: all that is written, the plan and
    mail it becomes, and the schedule. `due_at` NULL: at once. `starts_at` NULL: it is no change of mails that have
    left, or one that counts at once.
    """

    __tablename__ = "approval"
    __table_args__ = (
        Index("approval_campaign", "campaign_id", "id"),
        Index("approval_asked", "campaign_id", unique=True, postgresql_where=text("state = 'asked'")),
        Index("approval_standing", "campaign_id", unique=True, postgresql_where=text("state = 'approved'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    state: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    starts_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    note: Mapped[str] = mapped_column(Text, server_default="")
    asked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    asked_by: Mapped[str] = mapped_column(Text)
    asked_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    settled_by: Mapped[str | None] = mapped_column(Text)
    settled_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    settled_note: Mapped[str] = mapped_column(Text, server_default="")


class ApprovalRule(Model):
    """Whether campaigns of a brand need a second person; brand "" stands for all that have no rule of their own."""

    __tablename__ = "approval_rule"

    brand: Mapped[str] = mapped_column(Text, primary_key=True)
    required: Mapped[bool] = mapped_column(Boolean)
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
