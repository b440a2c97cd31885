"""What may be shown and how: offers, creatives, uploaded pictures, messages."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, DateTime, Float, ForeignKey, Identity, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class Creative(Model):
    """How an offer looks: the document is a render creative in plain JSON, checked when it is saved."""

    __tablename__ = "creative"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    archived_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Picture(Model):
    """A picture that a manager uploaded: its bytes are the blob `digest`; the focus is 0 to 1 from left and top."""

    __tablename__ = "picture"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text, unique=True)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    focus_x: Mapped[float] = mapped_column(Float, server_default="0.5")
    focus_y: Mapped[float] = mapped_column(Float, server_default="0.5")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    archived_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Offer(Model):
    """What may be shown. Rules are the JSON language of signals/rules.py; categories are slugs; money is in cents."""

    __tablename__ = "offer"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    category: Mapped[str | None] = mapped_column(Text)
    product: Mapped[str | None] = mapped_column(Text)
    starts_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ends_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    mandatory: Mapped[bool] = mapped_column(Boolean, server_default="false")
    value_cents: Mapped[int] = mapped_column(Integer, server_default="0")
    cost_cents: Mapped[int] = mapped_column(Integer, server_default="0")
    legal: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    relevant: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    beneficial: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    cap_total: Mapped[int | None] = mapped_column(Integer)
    # The total that the store's cap key was opened or last changed with; None before the first publish.
    cap_opened: Mapped[int | None] = mapped_column(Integer)
    cap_person: Mapped[int | None] = mapped_column(Integer)
    period_days: Mapped[int | None] = mapped_column(Integer)
    no_repeat_days: Mapped[int | None] = mapped_column(Integer)
    sticky: Mapped[bool] = mapped_column(Boolean, server_default="true")
    group_name: Mapped[str | None] = mapped_column(Text)
    purpose_category: Mapped[str | None] = mapped_column(Text)
    after_category: Mapped[str | None] = mapped_column(Text)
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    creative_id: Mapped[int] = mapped_column(ForeignKey("creative.id"))
    landing: Mapped[str] = mapped_column(Text)
    needs_stock: Mapped[bool] = mapped_column(Boolean, server_default="false")
    clock_bound: Mapped[bool] = mapped_column(Boolean, server_default="false")
    shows_price: Mapped[bool] = mapped_column(Boolean, server_default="false")
    requires_consent: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    incentive_cents: Mapped[int] = mapped_column(Integer, server_default="0")
    aftercare_cents: Mapped[int] = mapped_column(Integer, server_default="0")
    lever: Mapped[float] = mapped_column(Float, server_default="1")
    prior: Mapped[float | None] = mapped_column(Float)
    prior_weight: Mapped[int] = mapped_column(Integer, server_default="200")
    fatigue: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    pick: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    when_due: Mapped[bool] = mapped_column(Boolean, server_default="false")
    window_hours: Mapped[int | None] = mapped_column(Integer)
    units: Mapped[int | None] = mapped_column(Integer)
    incentive: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    archived_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Message(Model):
    """What a manager writes. `slots` is the list of places filled at open; `fallbacks` fills missing person fields."""

    __tablename__ = "message"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    subject: Mapped[str] = mapped_column(Text)
    preheader: Mapped[str] = mapped_column(Text, server_default="")
    from_name: Mapped[str] = mapped_column(Text)
    from_address: Mapped[str] = mapped_column(Text)
    reply_to: Mapped[str | None] = mapped_column(Text)
    mjml: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    postal_address: Mapped[str] = mapped_column(Text)
    locale: Mapped[str] = mapped_column(Text, server_default="en")
    fallbacks: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    slots: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    archived_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
