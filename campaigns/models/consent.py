"""What people said of consent by the links of a mail, with the mail; what then holds is kept by signals/consent.py."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, DateTime, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class MailConsent(Model):
    """One word by the unsubscribe link or the one-click header of a mail; `id` is that of its record."""

    __tablename__ = "mail_consent"
    __table_args__ = (
        Index("mail_consent_campaign", "campaign_id", "occurrence", "at"),
        Index("mail_consent_profile", "profile_id"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    profile_id: Mapped[int | None] = mapped_column(BigInteger)
    purpose: Mapped[str] = mapped_column(Text)
    granted: Mapped[bool] = mapped_column(Boolean)
    via: Mapped[str] = mapped_column(Text)  # one-click | page
