"""Gateways: who is told of text and push messages to pass on, and how fast they may be told."""

from datetime import datetime

from sqlalchemy import DateTime, Identity, Integer, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class Gateway(Model):
    """A provider that takes messages by signed calls. While it is off nothing is handed to it."""

    __tablename__ = "gateway"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)  # sms | push, for good: it is the channel of its campaigns
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[bytes] = mapped_column(LargeBinary)  # signs the calls; sealed with the subject key
    state: Mapped[str] = mapped_column(Text, server_default="on")
    per_second: Mapped[int | None] = mapped_column(Integer)
    per_hour: Mapped[int | None] = mapped_column(Integer)
    per_day: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
