"""Sources: who may send us signals, with which key, and what their word is worth.

A *server* key is held by a shop's own systems and may say anything. A *browser* key is readable by every visitor, so it
may report what a browser sees (pages, products viewed, carts) but cannot tie a person to a strong identifier, set
consent or record orders.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import ARRAY, CheckConstraint, Text, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput, NotFound

SourceKind = Literal["server", "browser"]
KINDS: Final[tuple[SourceKind, ...]] = ("server", "browser")
TRUST: Final[dict[SourceKind, int]] = {"server": 100, "browser": 10}
"""What a source's word is worth until somebody says otherwise: where a trait goes by trust, the higher wins."""

MOST_TRUST: Final = 1000

INTERNAL: Final = "latebind"
"""The source of what we ourselves learn: unsubscribes, clicks and opens of our mails, corrections by support staff."""

_NAME_LENGTH: Final = 100


class Source(Model):
    """A sender of signals. The write key itself is never stored, only its SHA-256 (keys are long and random).

    `planned_only`: of its own events only those of the tracking plan are taken.
    """

    __tablename__ = "source"
    __table_args__ = (CheckConstraint("kind IN ('server', 'browser')", name="kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    write_key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    trust: Mapped[int]
    origins: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    planned_only: Mapped[bool] = mapped_column(server_default="false")


@dataclass(frozen=True)
class Sender:
    """A source as the intake needs it: plain values that may be cached and handed between threads.

    `origins` is the allow-list of a browser key; empty means any origin.
    """

    id: int
    name: str
    kind: SourceKind
    trust: int
    origins: frozenset[str] = frozenset()

    @property
    def is_server(self) -> bool:
        """Whether the key is held by a system of ours or the shop's, not by a browser."""
        return self.kind == "server"


def write_key_hash(write_key: str) -> bytes:
    """What of a write key is stored and looked up."""
    return hashlib.sha256(write_key.encode()).digest()


def create_source(
    session: Session,
    name: str,
    kind: SourceKind,
    now: datetime,
    *,
    write_key: str | None = None,
    origins: Sequence[str] = (),
) -> tuple[Source, str]:
    """A new source and its write key, which is shown this once. Raises InvalidInput naming the field."""
    check_theirs(name, "name")
    if kind not in KINDS:
        raise InvalidInput("kind", "must be server or browser")
    if session.scalar(select(Source.id).where(Source.name == name)) is not None:
        raise InvalidInput("name", "is taken by another source")
    key = write_key or secrets.token_urlsafe(24)
    source = Source(
        name=name,
        kind=kind,
        write_key_hash=write_key_hash(key),
        trust=TRUST[kind],
        origins=list(origins),
        created_at=now,
    )
    session.add(source)
    session.flush()
    return source, key


def check_theirs(name: str, field: str) -> None:
    """Whether others may send under a name. Raises InvalidInput naming the field: what we say ourselves is trusted."""
    if not 0 < len(name) <= _NAME_LENGTH or "\x00" in name:
        raise InvalidInput(field, f"must have 1 to {_NAME_LENGTH} characters")
    if name.strip().casefold() == INTERNAL:
        raise InvalidInput(field, "is the name under which Latebind itself speaks")


def disable_source(session: Session, source_id: int, now: datetime) -> Source:
    """End a source's write key; what it told stays. In effect at each intake process within a second.

    Raises NotFound, also for a source that has no key: what we learn ourselves comes from it.
    """
    source = session.get(Source, source_id, with_for_update=True)
    if source is None or source.write_key_hash is None:
        raise NotFound("source", str(source_id))
    source.disabled_at = source.disabled_at or now
    return source


def set_trust(session: Session, source_id: int, trust: int) -> tuple[Source, int]:
    """Say what a source's word is worth, 0 to 1000; the source and its trust before. Raises NotFound, InvalidInput."""
    if not 0 <= trust <= MOST_TRUST:
        raise InvalidInput("trust", f"must be 0 to {MOST_TRUST}")
    source = session.get(Source, source_id, with_for_update=True)
    if source is None:
        raise NotFound("source", str(source_id))
    before, source.trust = source.trust, trust
    return source, before


def sources(session: Session) -> list[Source]:
    """All sources that were given a write key, also disabled ones, by name."""
    return list(session.scalars(select(Source).where(Source.write_key_hash.is_not(None)).order_by(Source.name)))


def sender(source: Source) -> Sender:
    """The plain values of a stored source."""
    kind: SourceKind = "server" if source.kind == "server" else "browser"
    return Sender(source.id, source.name, kind, source.trust, frozenset(source.origins))


def sender_by_key(session: Session, write_key: str) -> Sender | None:
    """The source a write key belongs to; None when the key is unknown or disabled."""
    found = session.scalar(
        select(Source).where(Source.write_key_hash == write_key_hash(write_key), Source.disabled_at.is_(None))
    )
    return sender(found) if found else None


def sender_by_name(session: Session, name: str) -> Sender | None:
    """The source of that name, also a disabled one."""
    found = session.scalar(select(Source).where(Source.name == name))
    return sender(found) if found else None


def keyless_sender(session: Session, name: str, now: datetime) -> Sender:
    """The server source of that name, made without a write key when absent: for files and for our own facts."""
    found = sender_by_name(session, name)
    if found is not None:
        return found
    # Two processes may meet here: the second waits for the first, and finds what it made.
    made = insert(Source).values(name=name, kind="server", trust=TRUST["server"], origins=[], created_at=now)
    session.execute(made.on_conflict_do_nothing(index_elements=[Source.name]))
    return sender(session.scalars(select(Source).where(Source.name == name)).one())
