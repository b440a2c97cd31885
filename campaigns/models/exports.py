"""Audiences that are handed to other tools: to whom, in which form, and who of them was told."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class AudienceExport(Model):
    """A segment that a receiver is kept told of. Without `url` it is fetched as a file.

    `state` is active or one of these. paused: nobody is added, whoever leaves is still removed. ending: everybody is
    removed, then it has ended.
    """

    __tablename__ = "audience_export"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    segment_id: Mapped[int] = mapped_column(ForeignKey("segment.id"))
    format: Mapped[str] = mapped_column(Text)  # a key of campaigns.matchkeys.FORMATS
    url: Mapped[str | None] = mapped_column(Text)
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)  # signs the calls; sealed with the subject key
    state: Mapped[str] = mapped_column(Text, server_default="active")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")  # in vain, since the last that was taken
    not_before: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    fault: Mapped[str | None] = mapped_column(Text)
    synced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    told_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class ExportMember(Model):
    """A person of an export, by the hashed names that the receiver is given. Another name is another row.

    `told` is what the receiver knows: no, maybe (it was asked and has not answered), yes, lost (maybe or yes, of
    somebody erased whose names are dropped). A row that is not wanted and
    may be known is a removal to be told; after it the row is gone.
    """

    __tablename__ = "export_member"
    __table_args__ = (
        PrimaryKeyConstraint("export_id", "profile_id", "digest"),
        Index("export_member_digest", "export_id", "digest"),
        Index(
            "export_member_open", "export_id", "profile_id", postgresql_where=text("NOT wanted OR told <> 'yes'")
        ),
    )  # fmt: skip

    export_id: Mapped[int] = mapped_column(ForeignKey("audience_export.id"))
    profile_id: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    names: Mapped[dict[str, str]] = mapped_column(JSONB)
    wanted: Mapped[bool]
    told: Mapped[str] = mapped_column(Text, server_default="no")
