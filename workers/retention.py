"""The retention loop: what was kept long enough goes, a bounded piece at a time.

Rows are walked by time, a slice after another, and deleted by class as `campaigns.retention.Policy` says; what
they counted is added to `expired_count` in the same transaction. Each walk notes how far it came, so that no row is
looked at twice for nothing. A monthly partition that is over and empty is dropped; rows that came late into one send
its walk back to it. Bytes go when they were served to nobody for long and nothing else names them. Any number of these
loops may run: a lock of the database lets one work at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base import logs
from base.blobs import FolderBlobs
from base.db import Sessions, transaction
from campaigns import chain, expired
from campaigns.cursors import LoopCursor
from campaigns.expired import Counts
from campaigns.opens import PARTITIONED
from campaigns.retention import GRACE, HOLD, Policy, months
from campaigns.served import ServedBytes
from signals.moments import unix_ms
from workers import expiry
from workers.recording import moment

ROWS: Final = 2_000
"""Rows a step deletes at most."""
SLICE: Final = timedelta(days=1)
"""The first time that a step looks at, so that what it deletes lies close together."""
BLOBS: Final = 100
"""Served bytes a step lets go of, of those that only machines were sent and of the others each."""
IDLE: Final = timedelta(days=1)
"""A blob that was kept, or kept again, within a day of the machine's clock is left alone, whatever names it."""
LOCK_MS: Final = 900
"""A partition is dropped only if nobody is in the way; whoever waits behind us waits no longer than this."""
_NONE: Final[Sequence[Any]] = ()
_log = logs.logger(__name__)


@dataclass(frozen=True)
class Walk:
    """Rows of one table that go at one age: those where `column` is one of `members`, or all."""

    table: str
    age: timedelta
    column: str = ""
    members: tuple[str, ...] = ()

    @property
    def cursor(self) -> str:
        """The name under which it notes how far it came."""
        return "retention " + " ".join((self.table, *self.members))


COLUMNS: Final = {
    "fetch": "id, campaign_id, occurrence, profile_id, subject_id, fetch_class, slot, rung, decision_id, decision_at",
    "click": "id, campaign_id, occurrence, fetch_class, offer_id, ambiguous, unseen, unresolved, outcome",
    "decision": "id, campaign_id, occurrence, lane, slots, shadow, public",
    "anonymous_fetch": "campaign_id, occurrence, kind, fetch_class, offer_id",
    "sent_facts": "shared_hash",
}
KEYS: Final = {"sent_facts": ("delivery_id",)}
MACHINES: Final = ("prefetch", "scanner")
TESTS: Final = ("test", "staff")


def walks(policy: Policy) -> Iterator[Walk]:
    """In the order in which they are done: a fetch is counted while its decision is there."""
    for members, age in ((MACHINES, policy.machine), (TESTS, policy.test)):
        yield Walk("fetch", age, "fetch_class", members)
        yield Walk("click", age, "fetch_class", members)
        yield Walk("anonymous_fetch", age, "fetch_class", members)
    yield Walk("decision", policy.machine + HOLD, "lane", ("machine",))
    yield Walk("decision", policy.test + HOLD, "lane", ("test",))
    yield Walk("fetch", policy.people)
    yield Walk("click", policy.people)
    yield Walk("anonymous_fetch", policy.people)
    yield Walk("decision", policy.people + HOLD)
    yield Walk("sent_facts", policy.people)


class Retention:
    """One loop. `sessions` should have no limit on the time of a statement."""

    def __init__(self, sessions: Sessions, blobs: FolderBlobs, policy: Policy) -> None:
        self._sessions = sessions
        self._blobs = blobs
        self._policy = policy
        self._walks = tuple(walks(policy))

    def step(self, now: datetime) -> bool:
        """Let go of one bounded piece; whether there was any, so that it is worth asking again.

        Raises Unavailable while the database is away; what was not finished comes round again.
        """
        parts: list[Callable[[Session, datetime], bool]] = [self._walk_one, self._drop_month, self._sweep]
        for part in parts:
            with transaction(self._sessions) as session:
                if not session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtext('latebind retention'))")):
                    return False
                if part(session, now):
                    return True
        return False

    def _walk_one(self, session: Session, now: datetime) -> bool:
        return any(self._walk(session, walk, now - walk.age) for walk in self._walks)

    def _walk(self, session: Session, walk: Walk, before: datetime) -> bool:
        start = _position(session, walk)
        if start is None:
            start = _oldest(session, walk) or before
            _note(session, walk, start)
        if start >= before:
            return False
        slice_, rows = SLICE, _NONE
        while start < before and not rows:
            upto = min(start + slice_, before)
            rows = _delete(session, walk, start, upto)
            if len(rows) < ROWS:
                start = upto
            slice_ *= 2  # Times in which nothing happened are passed in ever longer steps.
        _note(session, walk, start)
        if rows:
            expired.add(session, self._counted(session, walk, rows))
            if walk.table in chain.RECORDS:
                chain.expire(session, walk.table, [row.id for row in rows])
            _log.info("expired", table=walk.table, classes=walk.members, rows=len(rows))
        return bool(rows)

    def _counted(self, session: Session, walk: Walk, rows: Sequence[Any]) -> Counts:
        if walk.table == "fetch":
            return expiry.fetches(session, rows)
        if walk.table == "click":
            return expiry.clicks(rows)
        if walk.table == "anonymous_fetch":
            return expiry.anonymous(rows)
        if walk.table == "decision":
            return expiry.decisions(rows)
        self._forget_shared(session, {row.shared_hash for row in rows})
        return Counts()

    def _forget_shared(self, session: Session, digests: set[str]) -> None:
        """Sweep the shared parts of sent facts that no mail's facts name any more."""
        for digest in sorted(digests - _named(session, digests)):
            self._blobs.sweep(digest, IDLE)

    def _drop_month(self, session: Session, _now: datetime) -> bool:
        """Drop the oldest partition that is over and empty; one that is not empty is walked again."""
        for walk in self._walks:
            if walk.members or walk.table not in PARTITIONED:
                continue
            come = _position(session, walk)
            if come is None:
                continue
            over = [name for name in months(session, walk.table) if _end(name) <= come]
            if over:
                return self._drop(session, walk, over[0])
            # Rows that came before their month had a partition are elsewhere, a few at most.
            strayed = _oldest(session, walk, f"{walk.table}_default")
            if strayed is not None and strayed < come:
                _note(session, walk, strayed)
                return True
        return False

    def _drop(self, session: Session, walk: Walk, name: str) -> bool:
        session.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
        held = text(f"SELECT EXISTS (SELECT FROM {name})")  # noqa: S608 - a name from the catalogue of tables
        if not session.scalar(held):
            session.execute(text(f'LOCK TABLE ONLY "{walk.table}", ONLY {name} IN ACCESS EXCLUSIVE MODE'))
        if session.scalar(held):
            _note(session, walk, _first(name))
            return True
        session.execute(text(f"DROP TABLE {name}"))
        _log.info("a month's partition was dropped", partition=name)
        return True

    def _sweep(self, session: Session, now: datetime) -> bool:
        """Let go of bytes that were served to nobody for long, with their rows."""
        found = session.execute(
            _UNSERVED,
            {
                "seen": now - max(self._policy.people, GRACE),
                "served": now - max(self._policy.machine, GRACE),
                "most": BLOBS,
            },
        ).all()
        named = _named(session, {row.blob for row in found})
        gone = [row for row in found if row.blob in named or self._blobs.sweep(row.blob, IDLE)]
        for row in gone:
            session.execute(delete(ServedBytes).where(ServedBytes.sha256 == row.sha256, ServedBytes.owner == row.owner))
        if gone:
            _log.info("served bytes expired", count=len(gone))
        return bool(gone)


# A row that a recorder holds is about to be relied on: it is passed by.
_UNSERVED = text("""
    SELECT sha256, owner, blob FROM served_bytes
    WHERE (sha256, owner) IN (
        (SELECT sha256, owner FROM served_bytes WHERE seen_at IS NULL AND last_at < :served LIMIT :most)
        UNION ALL
        (SELECT sha256, owner FROM served_bytes WHERE seen_at < :seen AND last_at < :served LIMIT :most)
    )
    AND last_at < :served FOR UPDATE SKIP LOCKED
""")
# Everything but served bytes that names a blob and might name the same one; a sealed blob is like no other.
_NAMED = text("""
    SELECT hash FROM plan WHERE hash = ANY(:digests)
    UNION SELECT mail_hash FROM plan WHERE mail_hash = ANY(:digests)
    UNION SELECT hash FROM model WHERE hash = ANY(:digests)
    UNION SELECT kill_picture FROM campaign WHERE kill_picture = ANY(:digests)
    UNION SELECT digest FROM picture WHERE digest = ANY(:digests)
    UNION SELECT image_blob FROM product WHERE image_blob = ANY(:digests)
    UNION SELECT shared_hash FROM sent_facts WHERE shared_hash = ANY(:digests)
""")


def _named(session: Session, digests: set[str]) -> set[str]:
    """Those of the blobs that something else than served bytes names."""
    return set(session.scalars(_NAMED, {"digests": sorted(digests)})) if digests else set()


def _delete(session: Session, walk: Walk, start: datetime, upto: datetime) -> Sequence[Any]:
    """Delete rows of a slice and return what is counted of them."""
    keys = KEYS.get(walk.table, ("id", "at"))
    within = "t.at >= :start AND t.at < :upto"
    wanted = f" AND t.{walk.column} = ANY(:members)" if walk.members else ""
    if walk.members and walk.table == "decision":
        # Hindsight may have told a person's fetch in it: then it stays as long as that.
        wanted += " AND NOT EXISTS (SELECT FROM \"fetch\" f WHERE f.decision_id = t.id)"  # fmt: skip
    statement = f"""
        WITH old AS MATERIALIZED (
            SELECT {", ".join(keys)} FROM "{walk.table}" t WHERE {within}{wanted} LIMIT :rows
        )
        DELETE FROM "{walk.table}" t USING old
        WHERE {within} AND {" AND ".join(f"t.{key} = old.{key}" for key in keys)}
        RETURNING {", ".join(f"t.{column}" for column in COLUMNS[walk.table].split(", "))}
    """  # noqa: S608 - names of ours
    given = {"start": start, "upto": upto, "rows": ROWS}
    return session.execute(text(statement), given | ({"members": list(walk.members)} if walk.members else {})).all()


def _position(session: Session, walk: Walk) -> datetime | None:
    """How far the walk came; None before its first step."""
    position = session.scalar(select(LoopCursor.position).where(LoopCursor.name == walk.cursor))
    return None if position is None else moment(position)


def _oldest(session: Session, walk: Walk, only: str = "") -> datetime | None:
    """The moment of the oldest row of the table, or of one of its partitions; it looks at every row."""
    found: datetime | None = session.scalar(text(f'SELECT min(at) FROM "{only or walk.table}"'))  # noqa: S608 - our names
    return found


def _note(session: Session, walk: Walk, come: datetime) -> None:
    position = unix_ms(come)
    session.execute(
        insert(LoopCursor)
        .values(name=walk.cursor, position=position)
        .on_conflict_do_update(index_elements=[LoopCursor.name], set_={"position": position})
    )


def _first(name: str) -> datetime:
    """The first moment of a monthly partition."""
    year, month = name[-7:].split("_")
    return datetime(int(year), int(month), 1, tzinfo=UTC)


def _end(name: str) -> datetime:
    """The moment at which the month after a partition's begins."""
    return (_first(name) + timedelta(days=32)).replace(day=1)
