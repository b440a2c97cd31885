"""The recorder: moves records from their streams to PostgreSQL, and does what follows from them.

Any number of recorders share one consumer group. An entry is acknowledged and removed only after the transaction that
holds its rows has committed and what follows from it is done; a recorder that dies leaves its entries to the others,
who take them over after a while. Rows are idempotent, so an entry that is seen twice changes nothing. An entry that no
database would take is set aside with a log line, after all others of its batch are done, so that it never stands in the
way of those behind it, also where the store has no room for it: then it stays ours and is tried again later. Many such
mean that a render process seals with another key than the recorder's. None is dropped: they take the room in the store
that they had on their stream.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec
from redis import RedisError
from redis.exceptions import OutOfMemoryError
from sqlalchemy.exc import DataError, IntegrityError

from base import keys
from base.blobs import FolderBlobs
from base.clock import Clock, monotonic
from base.db import Sessions, transaction
from base.errors import InvalidInput, Unavailable
from base.logs import logger
from base.recordstreams import Entry, RecordStreams
from base.sealing import Sealer, Unsealable
from base.settings import Settings
from base.stores import Store
from campaigns.instance import Guard
from render import record
from render.record import Record
from render.spool import Spool
from workers.recording import Written, write

GROUP = "recorder"
BATCH = 200
BLOCK_MS = 500
TAKE_OVER_MS = 5_000
"""An entry that another recorder has held for so long is taken over; if it was slow and not dead, no harm is done."""
DRAIN_SECONDS = 1.0
"""How often one looks for a spool to drain, however many records come."""
FORGOTTEN_MS = 3_600_000
"""A recorder that was not heard of for an hour and holds nothing is struck off the group."""
KEPT_SECONDS = 5.0
"""How often it is asked whether the database is still this installation's."""
UNFIT = (DataError, IntegrityError, InvalidInput, Unsealable, msgspec.MsgspecError, ValueError, OverflowError)
"""What a record's own content can raise, or what is stored of whom it tells, where that is damaged. Anything else is
the fault of this program and stops it."""
Unfit = tuple[Entry, Exception]
"""An entry that is to be set aside, and why."""
log = logger(__name__)


@dataclass(frozen=True)
class RecorderParts:
    """What a recorder works with."""

    settings: Settings
    sessions: Sessions
    store: Store
    blobs: FolderBlobs
    clock: Clock


class Follower(Protocol):
    """What follows from a recorded batch, and what is done between batches."""

    def __call__(self, written: Written) -> None: ...
    def idle(self) -> None: ...


class Recorder:
    """One consumer of the record stream."""

    def __init__(self, parts: RecorderParts, follow: Follower) -> None:
        self._parts = parts
        self._follow = follow
        self.streams = RecordStreams(parts.store)
        self._sealer = Sealer(parts.settings.record_key)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._spool = Spool(parts.settings.var / "spool")
        self._guard = Guard(parts.settings, "recorder", claims=False)
        self._asked_at = -KEPT_SECONDS
        self._took_over_at = 0.0
        self._held: list[Entry] = []

    def prepare(self) -> None:
        """Make the consumer group where it is missing; repeatable. Raises redis.RedisError while the store is away."""
        self.streams.prepare(GROUP, FORGOTTEN_MS)

    def is_kept_from_it(self) -> bool:
        """Whether the database is not ours: the recorder of a copy must not take the records of the other.

        Asked now and then. Raises Unavailable.
        """
        if monotonic() - self._asked_at < KEPT_SECONDS:
            return False
        with transaction(self._parts.sessions) as session:
            why = self._guard.blocked(session, self._parts.clock.now())
        if why is not None:
            log.error("nothing is recorded", why=why)
            return True
        self._asked_at = monotonic()
        return False

    def step(self, block_ms: int = BLOCK_MS) -> int:
        """Store what waits, at most one batch, and return how many entries that were; 0 when nothing waited.

        Raises redis.RedisError or Unavailable while a server is away; nothing is lost by that, the entries stay and are
        tried again by the next step.
        """
        entries = self._held or self._orphans() or self._next(block_ms)
        if entries:
            self._held = entries
            read, unfit = self._read(entries)
            unfit += self._take(read)
            aside = {(entry.stream, entry.number) for entry, _ in unfit}
            self.streams.release(GROUP, [entry for entry in entries if (entry.stream, entry.number) not in aside])
            self._held = [entry for entry, _ in unfit]
            for entry, error in unfit:
                self._set_aside(entry, error)
        return len(entries)

    def _take(self, read: Sequence[tuple[Entry, tuple[Record, ...]]]) -> list[Unfit]:
        """Store entries and do what follows, each by itself if one of them is unfit; those that are."""
        if not read:
            return []
        try:
            with transaction(self._parts.sessions) as session:
                records = [record for _, records in read for record in records]
                now = self._parts.clock.now()
                written = write(session, self._parts.blobs, self._parts.settings.subject_key, records, now)
            self._follow(written)
        except UNFIT as error:
            if len(read) == 1:
                return [(read[0][0], error)]
            return [unfit for one in read for unfit in self._take([one])]
        return []

    def drain_spool(self) -> int:
        """Put what dead render processes of this machine left on disk onto the stream; how many entries."""
        return self._spool.drain(self._append) if self._spool.waiting() else 0

    def idle(self) -> None:
        """What is done between batches, now and then: under steady traffic nothing would ever be idle."""
        self._follow.idle()

    def lag(self) -> int:
        """How many entries wait on the streams. Raises redis.RedisError when one of them cannot be asked."""
        return self.streams.length()

    def _append(self, entries: Any) -> bool:
        return self.streams.append(record.STREAM_FIELD, entries)

    def _orphans(self) -> list[Entry]:
        """Entries that another recorder took and did not finish. Asked for now and then, not each time."""
        if monotonic() - self._took_over_at < TAKE_OVER_MS / 3000:
            return []
        self._took_over_at = monotonic()
        return self.streams.orphans(GROUP, self._name, TAKE_OVER_MS, BATCH)

    def _next(self, block_ms: int) -> list[Entry]:
        return self.streams.fresh(GROUP, self._name, BATCH, block_ms)

    def _read(self, entries: Sequence[Entry]) -> tuple[list[tuple[Entry, tuple[Record, ...]]], list[Unfit]]:
        """The entries with their records, and those that cannot be read."""
        read: list[tuple[Entry, tuple[Record, ...]]] = []
        unfit: list[Unfit] = []
        for entry in entries:
            try:
                read.append((entry, record.unseal(entry.fields.get(record.STREAM_FIELD.encode(), b""), self._sealer)))
            except (Unsealable, msgspec.DecodeError) as error:
                unfit.append((entry, error))
        return read, unfit

    def _set_aside(self, entry: Entry, error: Exception) -> None:
        """Keep an unfit entry where a person can look at it, and say so."""
        try:
            self._parts.store.xadd(keys.refused(entry.stream), cast("dict[Any, Any]", entry.fields))
        except OutOfMemoryError:
            # It stays with this consumer, unacknowledged, and comes back as an orphan.
            self._held = [one for one in self._held if one is not entry]
            log.error("the store has no room to set a record aside", entry=entry.number.decode())
            return
        # At once: should a server go away now, all that is held is taken again.
        self.streams.release(GROUP, [entry])
        self._held = [one for one in self._held if one is not entry]
        is_closed = isinstance(error, Unsealable) and not error.place
        hint = " Has every render process the LATEBIND_RECORD_KEY of the recorders?" if is_closed else ""
        log.error(
            "a record was set aside", entry=entry.number.decode(), error=type(error).__name__,
            reason=str(error)[:200] + hint,
        )  # fmt: skip


def run(recorder: Recorder, stop: threading.Event, pause_seconds: float = 0.5) -> None:
    """Record until told to stop. A server that is away is waited for; the streams keep the records meanwhile."""
    prepared, drained_at = False, 0.0
    while not stop.is_set():
        try:
            if recorder.is_kept_from_it():
                stop.wait(KEPT_SECONDS)
                continue
            if not prepared:
                recorder.prepare()
                prepared = True
            recorder.step()
            if monotonic() - drained_at > DRAIN_SECONDS:
                drained_at = monotonic()
                recorder.drain_spool()
            recorder.idle()
        except (RedisError, Unavailable, OSError) as error:
            log.warning("the recorder waits", error=type(error).__name__)
            # A store that is full has lost nothing.
            prepared = prepared and isinstance(error, OutOfMemoryError)
            stop.wait(pause_seconds)
