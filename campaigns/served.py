"""The bytes that were served, kept for the audit: by SHA-256, once where they name nobody, sealed where they do.

A row says when its bytes were last served; the retention loop lets go of what was not served for long. Whoever is
about to rely on a row locks it, so that it does not go meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import DateTime, Index, LargeBinary, Text, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.blobs import FolderBlobs
from base.db import Model
from base.errors import NotFound
from campaigns.subjects import SubjectKey

EVERYBODY = "everybody"
"""The owner of bytes without personal fields."""

PURPOSE = b"served"


class ServedBytes(Model):
    """Where the bytes of a served picture or page lie. `owner` is a subject's id in hex, or "everybody"."""

    __tablename__ = "served_bytes"
    __table_args__ = (Index("served_bytes_unseen", "last_at", postgresql_where=text("seen_at IS NULL")),)

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # of the bytes as they were served
    owner: Mapped[str] = mapped_column(Text, primary_key=True)
    blob: Mapped[str] = mapped_column(Text)  # digest in the blob store: of the bytes, or of their sealed form
    content_type: Mapped[str] = mapped_column(Text)
    first_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    seen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), index=True)  # last served in a live lane
    last_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))  # last served to anybody


def keep(
    session: Session,
    blobs: FolderBlobs,
    body: bytes,
    sha256: bytes,
    content_type: str,
    subject: SubjectKey | None,
    at: datetime,
) -> None:
    """Store served bytes, sealed under the subject's key when one is given. A repeat costs one look."""
    owner = subject.subject_id.hex if subject else EVERYBODY
    known = select(ServedBytes.blob).where(ServedBytes.sha256 == sha256, ServedBytes.owner == owner)
    # The lock waits for a retention loop that is deleting the row, and then finds none.
    if session.scalar(known.with_for_update(read=True, key_share=True)) is not None:
        return
    blob = blobs.put(subject.sealer.seal(body, PURPOSE) if subject else body)
    session.execute(
        insert(ServedBytes)
        .values(sha256=sha256, owner=owner, blob=blob, content_type=content_type, first_at=at, last_at=at)
        .on_conflict_do_nothing()
    )


# Locked in one order, so that recorders that meet wait for each other. A day's difference is not worth a write.
_NOTE: Final = text("""
    WITH told AS (
        SELECT sha256, owner, max(at) AS at, max(at) FILTER (WHERE seen) AS seen_at
        FROM unnest(
            CAST(:sha256 AS bytea[]), CAST(:owners AS text[]), CAST(:moments AS timestamptz[]), CAST(:seen AS bool[])
        ) AS v(sha256, owner, at, seen) GROUP BY sha256, owner
    ), due AS MATERIALIZED (
        SELECT s.sha256, s.owner, t.at, t.seen_at FROM served_bytes s JOIN told t USING (sha256, owner)
        WHERE s.last_at < t.at - interval '1 day' OR s.seen_at < t.seen_at - interval '1 day'
           OR (s.seen_at IS NULL AND t.seen_at IS NOT NULL)
        ORDER BY s.sha256, s.owner FOR NO KEY UPDATE OF s
    )
    UPDATE served_bytes s SET last_at = greatest(s.last_at, d.at), seen_at = greatest(s.seen_at, d.seen_at)
    FROM due d WHERE s.sha256 = d.sha256 AND s.owner = d.owner
""")


def note(session: Session, served: Iterable[tuple[bytes, str, datetime, bool]]) -> None:
    """Note that bytes were served: SHA-256, owner, when, and whether in a live lane."""
    rows = list(served)
    if rows:
        sha256, owners, moments, seen = (list(column) for column in zip(*rows, strict=True))
        session.execute(_NOTE, {"sha256": sha256, "owners": owners, "moments": moments, "seen": seen})


def read(session: Session, blobs: FolderBlobs, sha256: bytes, subject: SubjectKey | None) -> tuple[bytes, str]:
    """The bytes that were served, and their content type. Raises NotFound: never handed over, expired or erased."""
    owners = [EVERYBODY, subject.subject_id.hex] if subject else [EVERYBODY]
    row = session.scalar(select(ServedBytes).where(ServedBytes.sha256 == sha256, ServedBytes.owner.in_(owners)))
    if row is None:
        raise NotFound("stored copy of these bytes", sha256.hex())
    stored = blobs.get(row.blob)
    if row.owner == EVERYBODY:
        return stored, row.content_type
    if subject is None:
        raise NotFound("stored copy of these bytes", sha256.hex())
    return subject.sealer.open(stored, PURPOSE), row.content_type
