"""What timing needs of the database: open hours, audiences as they were, and who has joined a campaign."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, DateTime, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class OpenHours(Model):
    """The stretch of time in which mails of a campaign may leave: the present one, or the next.

    `zone` is "" where the hours are those of the campaign's zone, else the zone of the recipients they hold for. A
    sender asks this row, so mails stop at the instant it ends, whether or not a schedule loop runs.
    """

    __tablename__ = "open_hours"
    __table_args__ = (Index("open_hours_closes", "closes_at"),)

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    zone: Mapped[str] = mapped_column(Text, primary_key=True)
    opens_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    closes_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class SnapshotMember(Model):
    """Somebody who fitted a campaign's audience when it was scheduled, where that is what counts."""

    __tablename__ = "snapshot_member"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class JoinEntry(Model):
    """Somebody who joined the audience of a campaign that goes on taking people in.

    `taken` once they are mailed or held out, which is for good; before, the ledger says why they were not yet.
    """

    __tablename__ = "join_entry"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    taken: Mapped[bool] = mapped_column(Boolean)
    entered_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
