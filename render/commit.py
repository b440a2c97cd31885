"""Handing records over before the picture leaves: onto the stream, and onto local disk when that fails.

Each thread appends to the stream by itself: waiting for one another costs more than the trips it spares. Disks are
slower: there the first thread that comes writes and syncs what all have put down by then, and the others find their
entries accepted (group commit).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import hiredis

from base import keys
from base.clock import monotonic
from base.errors import Unavailable
from base.sealing import Sealer
from render import record
from render.metrics import Metrics
from render.record import AnonymousRecord, Record
from render.spool import Spool
from render.wire import Hot

MAX_FLIGHT: Final = 64
"""Entries sent at once; pictures travel in them, so a flight stays within the reply time-out."""
DRAIN_SECONDS: Final = 0.5


class _Entry:
    """A sealed entry on its way: `accepted` is None until its flight has landed. A correction is of an entry before."""

    __slots__ = ("accepted", "data", "is_correction")

    def __init__(self, data: bytes, *, is_correction: bool = False) -> None:
        self.data = data
        self.is_correction = is_correction
        self.accepted: bool | None = None


class Recorder:
    """Accepts records for a process: into the stream, else onto local disk. For many threads."""

    def __init__(self, hot: Hot, sealer: Sealer, spool: Spool, metrics: Metrics) -> None:
        self._hot = hot
        self._sealer = sealer
        self._spool = spool
        self._metrics = metrics
        self._waiting: deque[_Entry] = deque()
        self._flight = threading.Lock()
        self._stopped = threading.Event()
        self._drainer: threading.Thread | None = None

    def accept(self, records: tuple[Record, ...], deadline: float) -> bool:
        """Whether the records are safe; returns by the deadline (monotonic seconds), then with False.

        False means that the caller must not claim anything was recorded. A late flight may still land: whoever then
        answers otherwise than the records say tells so by `correct`.
        """
        entry = _Entry(record.seal(records, self._sealer))
        if self._append([entry.data], _near(records)):
            return True
        self._waiting.append(entry)
        if not self._flight.acquire(timeout=max(0.0, deadline - monotonic())):
            return entry.accepted is True
        try:
            while entry.accepted is None:
                self._fly(self._keep)
        finally:
            self._flight.release()
        return entry.accepted

    def sealed(self, records: tuple[Record, ...]) -> bytes:
        """One entry with these records, for a write that takes it along."""
        return record.seal(records, self._sealer)

    def correct(self, records: tuple[Record, ...]) -> None:
        """Put down what was answered instead, behind the records that may be late; waits for nothing."""
        self._waiting.append(_Entry(record.seal(records, self._sealer), is_correction=True))

    def start(self) -> None:
        """Begin the background work: what was left waiting flies, and the spool goes to the stream when it is there."""
        self._drainer = threading.Thread(target=self._drain_forever, name="spool-drain", daemon=True)
        self._drainer.start()

    def stop(self) -> None:
        """End the background work and let go of the spool."""
        self._stopped.set()
        if self._drainer is not None:
            self._drainer.join(timeout=5)
        self._fly_leftovers()
        self._spool.close()

    def _fly(self, take: Callable[[Sequence[bytes]], bool]) -> None:
        """Hand over what waits. Called by the thread that holds the flight lock."""
        flight = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_FLIGHT))]
        entries = [entry.data for entry in flight]
        accepted = False
        try:
            accepted = take(entries)
        finally:
            for entry in flight:
                entry.accepted = accepted
        if not accepted:
            self._metrics.count("unrecorded", sum(not entry.is_correction for entry in flight))

    def _fly_leftovers(self) -> None:
        """Send what was put down by threads that could not wait, unless another is about to."""
        if not self._waiting or not self._flight.acquire(blocking=False):
            return
        try:
            while self._waiting:
                self._fly(lambda entries: self._append(entries) or self._keep(entries))
        finally:
            self._flight.release()

    def _append(self, entries: Sequence[bytes], near: str = "") -> bool:
        """Put entries on a stream, that of a key's node where it is there; False when it cannot take them now."""
        try:
            stream = self._hot.stream(near)
            self._hot.call(*[("XADD", stream, "*", record.STREAM_FIELD, data) for data in entries])
        except (Unavailable, hiredis.ReplyError):
            # A refusal ("OOM command not allowed") is no loss: the spool takes the whole flight.
            return False
        return True

    def _keep(self, entries: Sequence[bytes]) -> bool:
        kept = self._spool.append(entries)
        self._metrics.count("spooled", len(entries) if kept else 0)
        return kept

    def _drain_forever(self) -> None:
        while not self._stopped.wait(DRAIN_SECONDS):
            self._fly_leftovers()
            if not self._hot.is_away and self._spool.waiting():
                self._metrics.count("unspooled", self._spool.drain(self._append))


def _near(records: Sequence[Record]) -> str:
    """A key of the person whom records tell of; empty where they name nobody."""
    profile = next((one.profile for one in records if not isinstance(one, AnonymousRecord) and one.profile), 0)
    return keys.state(profile) if profile else ""
