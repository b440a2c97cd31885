"""The chain: what happened at opens, and who changed or looked at what, tied together by hashes.

Whoever writes a row leaves its leaf in `unchained`, in the same transaction; the recorder ties what waits to the chain,
an entry for each kind of row. An entry's hash covers its leaves and the entry before, so no row can be changed, taken
away or put in afterwards unless every later entry is made anew, and then the roots differ that were kept elsewhere. The
*root* of a day (UTC) is the hash of its last entry.

A record's leaf is the SHA-256 of its canonical bytes and of the SHA-256 of its sealed part: it can be computed without
a key and without a database, stays the same when a person is erased, and says nothing of them. Rows that expire leave
their numbers in the chain as well, so that what expired is told from what was taken away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal, get_args

import msgspec
from sqlalchemy import BigInteger, DateTime, Identity, Index, Integer, LargeBinary, Text, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model

RecordKind = Literal["decision", "fetch", "click"]
LogKind = Literal["admin_log", "access_log"]
RECORDS: Final[tuple[RecordKind, ...]] = get_args(RecordKind)
LOGS: Final[dict[LogKind, str]] = {
    "admin_log": "id, extract(epoch FROM at), user_id, actor, action, object_type, object_id, before, after, remote",
    "access_log": "id, extract(epoch FROM at), user_id, actor, action, profile_id, detail, remote",
}
"""What the leaf of a log's entry is made of; the triggers of migration 0029 say the same."""
EXPIRED: Final = "expired "
"""Before a record's kind: an entry that says which rows expired. Their leaves are empty."""
FIRST: Final = bytes(32)
"""What the first entry is tied to."""
AT_ONCE: Final = 5_000
MAX_DAYS: Final = 100_000
SHOWN_DAYS: Final = 31
LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtext('latebind chain'))"

Leaves = list[tuple[str, bytes]]
"""Rows by their number, with their leaves."""
encode_leaves: Final = msgspec.msgpack.Encoder().encode
decode_leaves: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode
_header: Final = msgspec.json.Encoder(order="sorted").encode


class Unchained(Model):
    """A leaf that waits to be tied to the chain; a moment, as long as a recorder runs."""

    __tablename__ = "unchained"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    row_id: Mapped[str] = mapped_column(Text)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class ChainEntry(Model):
    """Leaves of one kind (MessagePack), tied to the entry before. Kept for good."""

    __tablename__ = "chain_entry"
    __table_args__ = (Index("ix_chain_entry_at", "at"),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    kind: Mapped[str] = mapped_column(Text)
    rows: Mapped[int] = mapped_column(Integer)
    leaves: Mapped[bytes] = mapped_column(LargeBinary)
    previous: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class Link(msgspec.Struct, frozen=True):
    """An entry without its leaves: enough to follow the chain. Hashes are hexadecimal."""

    number: int
    at: str
    kind: str
    rows: int
    leaves: str
    previous: str
    hash: str


@dataclass(frozen=True)
class Root:
    """The hash that a day ended with, and how many rows were tied to the chain in it."""

    day: date
    hash: str
    rows: int


def leaf_of(public: bytes, sealed_sha256: bytes) -> bytes:
    """A record's leaf, from its canonical bytes and the SHA-256 of its sealed part (of nothing where it has none)."""
    return hashlib.sha256(public + sealed_sha256).digest()


def leave(session: Session, kind: str, leaves: Leaves) -> None:
    """Leave the leaves of rows that were just written, in their transaction, to be tied to the chain."""
    if leaves:
        ids, made = [row_id for row_id, _ in leaves], [leaf for _, leaf in leaves]
        session.execute(_LEAVE, {"kind": kind, "ids": ids, "leaves": made})


def record_leaf(public: bytes, sealed: bytes | None) -> bytes:
    """The leaf of a record that is being written."""
    return leaf_of(public, hashlib.sha256(sealed or b"").digest())


def expire(session: Session, kind: str, ids: Iterable[str]) -> None:
    """Leave the numbers of rows that expired, to be tied to the chain."""
    leave(session, EXPIRED + kind, [(one, b"") for one in ids])


def tie(session: Session, now: datetime) -> int:
    """Tie what waits to the chain, at most AT_ONCE leaves, in the caller's transaction; how many. One at a time."""
    if not session.scalar(text(LOCK)):
        return 0
    waiting = session.execute(_TAKE, {"most": AT_ONCE}).all()
    if not waiting:
        return 0
    kinds: dict[str, Leaves] = {}
    for row in sorted(waiting, key=lambda row: row.seq):
        kinds.setdefault(row.kind, []).append((row.row_id, row.leaf))
    last = session.execute(
        select(ChainEntry.number, ChainEntry.at, ChainEntry.hash).order_by(ChainEntry.number.desc()).limit(1)
    ).one_or_none()
    number, previous = (last.number, last.hash) if last is not None else (0, FIRST)
    # A clock that was set back dates no entry before the one it is tied to: a day that is over stays as it is.
    at = max(now, last.at) if last is not None else now
    for kind, leaves in sorted(kinds.items()):
        number += 1
        content = encode_leaves(leaves)
        link = linked(number, at, kind, len(leaves), content, previous)
        session.add(
            ChainEntry(
                number=number, at=at, kind=kind, rows=len(leaves), leaves=content, previous=previous,
                hash=bytes.fromhex(link.hash),
            )
        )  # fmt: skip
        previous = bytes.fromhex(link.hash)
    session.flush()
    return len(waiting)


def linked(number: int, at: datetime, kind: str, rows: int, leaves: bytes, previous: bytes) -> Link:
    """An entry's link, its hash computed."""
    link = Link(number, utc(at), kind, rows, hashlib.sha256(leaves).hexdigest(), previous.hex(), "")
    return msgspec.structs.replace(link, hash=hash_of(link))


def hash_of(link: Link) -> str:
    """The hash that a link must have, in hexadecimal: of its other fields as sorted JSON."""
    return hashlib.sha256(_header(msgspec.structs.replace(link, hash=""))).hexdigest()


def links(session: Session, after: int, upto: int | None = None) -> Iterator[Link]:
    """The links after an entry, in order, as they are stored."""
    columns = (ChainEntry.number, ChainEntry.at, ChainEntry.kind, ChainEntry.rows, ChainEntry.previous, ChainEntry.hash)
    query = select(*columns, func.sha256(ChainEntry.leaves).label("leaves")).where(ChainEntry.number > after)
    if upto is not None:
        query = query.where(ChainEntry.number <= upto)
    for row in session.execute(query.order_by(ChainEntry.number), execution_options={"yield_per": 1_000}):
        yield Link(
            row.number, utc(row.at), row.kind, row.rows, row.leaves.hex(), row.previous.hex(), row.hash.hex()
        )  # fmt: skip


def roots(session: Session, days: int = MAX_DAYS) -> list[Root]:
    """The root of each of the last days that have one, the newest first. Today's is not final."""
    rows = session.execute(_ROOTS, {"days": days})
    return [Root(row.day, row.hash.hex(), row.rows) for row in rows]


def has(session: Session, day: date, root: str) -> bool:
    """Whether an entry of this day (UTC) has this hash: the day's root, or what it was while the day was not over."""
    start = datetime.combine(day, time(), UTC)
    of_day = (ChainEntry.at >= start, ChainEntry.at < start + timedelta(days=1))
    return session.scalar(select(ChainEntry.number).where(*of_day, ChainEntry.hash == bytes.fromhex(root))) is not None


def waiting(session: Session) -> int:
    """How many leaves wait to be tied, at most AT_ONCE and one."""
    found = select(Unchained.seq).limit(AT_ONCE + 1).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def utc(moment: datetime) -> str:
    """The one spelling of a moment, whatever zone the session has."""
    return moment.astimezone(UTC).isoformat()


_LEAVE: Final = text("""
    INSERT INTO unchained (kind, row_id, leaf)
    SELECT :kind, * FROM unnest(CAST(:ids AS text[]), CAST(:leaves AS bytea[]))
""")
_TAKE: Final = text("""
    WITH piece AS MATERIALIZED (SELECT seq FROM unchained ORDER BY seq LIMIT :most FOR UPDATE SKIP LOCKED)
    DELETE FROM unchained u USING piece w WHERE u.seq = w.seq RETURNING u.seq, u.kind, u.row_id, u.leaf
""")
_ROOTS: Final = text("""
    SELECT d.day, d.rows, e.hash FROM (
        SELECT CAST(at AT TIME ZONE 'UTC' AS date) AS day, max(number) AS number, sum(rows) AS rows
        FROM chain_entry WHERE at > (SELECT max(at) FROM chain_entry) - make_interval(days => :days) GROUP BY 1
    ) d JOIN chain_entry e USING (number) ORDER BY d.day DESC
""")
