"""The bytes that were served, kept for the audit: by SHA-256, once where they name nobody, sealed where they do."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary, Text, select
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

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # of the bytes as they were served
    owner: Mapped[str] = mapped_column(Text, primary_key=True)
    blob: Mapped[str] = mapped_column(Text)  # digest in the blob store: of the bytes, or of their sealed form
    content_type: Mapped[str] = mapped_column(Text)
    first_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


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
    known = session.scalar(select(ServedBytes.blob).where(ServedBytes.sha256 == sha256, ServedBytes.owner == owner))
    if known is not None:
        return
    blob = blobs.put(subject.sealer.seal(body, PURPOSE) if subject else body)
    session.execute(
        insert(ServedBytes)
        .values(sha256=sha256, owner=owner, blob=blob, content_type=content_type, first_at=at)
        .on_conflict_do_nothing()
    )


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
