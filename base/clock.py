"""Time. The only module that reads the system's clocks; everyone else is given a `Clock` or a `now`.

All moments are aware datetimes in UTC. Durations (deadlines, caches, latencies) use `monotonic()`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from base.errors import InvalidInput
from base.settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = struct.Struct("=q")
YEARS: Final = range(2000, 2200)
"""The years of the moments and dates that people and programs may set: no zone leads from them out of the calendar, and
the database's driver reads what it has kept."""


class Clock(Protocol):
    """Tells what time it is."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock of one process that moves only when told to; for tests."""

    def __init__(self, moment: datetime) -> None:
        self._moment = _aware(moment)

    def now(self) -> datetime:
        return self._moment

    def set(self, moment: datetime) -> None:
        """Move to `moment`, forward or back."""
        self._moment = _aware(moment)

    def advance(self, by: timedelta) -> datetime:
        """Move by a duration and return the new moment."""
        self._moment += by
        return self._moment


class SteppedClock:
    """A clock shared by all processes that map the same 8-byte file (microseconds since 1970, native order).

    It stands still between steps, so one open sees one moment. Steps of several processes do not get lost: each holds
    a lock on the file. The file is made at `start` when it does not exist.
    """

    def __init__(self, path: Path, start: datetime = EPOCH) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.fstat(descriptor).st_size < _MICROSECONDS.size:
                os.pwrite(descriptor, _MICROSECONDS.pack(_microseconds(start)), 0)
            self._map = mmap.mmap(descriptor, _MICROSECONDS.size)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        self._descriptor = descriptor

    def now(self) -> datetime:
        return EPOCH + timedelta(microseconds=self._read())

    def set(self, moment: datetime) -> None:
        """Move every process's clock to `moment`, forward or back."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            _MICROSECONDS.pack_into(self._map, 0, _microseconds(moment))
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def advance(self, by: timedelta) -> datetime:
        """Move every process's clock by a duration and return the new moment."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            _MICROSECONDS.pack_into(self._map, 0, self._read() + by // timedelta(microseconds=1))
            return self.now()
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        os.close(self._descriptor)

    def _read(self) -> int:
        return int(_MICROSECONDS.unpack_from(self._map, 0)[0])


def clock_from(settings: Settings) -> Clock:
    """The stepped clock when LATEBIND_CLOCK_FILE names its file, else the machine's."""
    if settings.clock_file is None:
        return SystemClock()
    return SteppedClock(settings.clock_file)


def check_year(at: date, field: str, years: range = YEARS) -> None:
    """Raises InvalidInput for the field where a date, or a moment as it is written or in UTC, is in none of `years`."""
    is_told = at.year in years
    if is_told and isinstance(at, datetime) and at.tzinfo is not None:
        is_told = at.astimezone(UTC).year in years
    if not is_told:
        raise InvalidInput(field, f"must be in the years {years.start} to {years.stop - 1}")


def monotonic() -> float:
    """Seconds on a clock that never steps; only differences mean anything."""
    return time.monotonic()


def pause(seconds: float) -> None:
    """Sleep in real time, whatever the clock in use says."""
    time.sleep(seconds)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(UTC)


def _microseconds(moment: datetime) -> int:
    return (_aware(moment) - EPOCH) // timedelta(microseconds=1)
