"""When a row may have been tied to the chain: within minutes of when it happened, unless nothing was tied meanwhile.

A row that is tied long afterwards was put in, or written over, later. Honest delays are told from the chain itself: a
time in which no entry was made at all (the recorder was away, or nothing happened), and its beginning, when what was
there already was tied as a whole.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from typing import Final

LATE: Final = timedelta(minutes=15)
"""The recorder ties once a minute; clocks of hosts differ by seconds."""
AHEAD: Final = timedelta(minutes=10)
"""A row may be dated so long after its entry: the clock of its host was ahead."""
BACKLOG: Final = timedelta(days=1)
"""What was there before the chain began is tied within this time of its beginning."""
CATCHING_UP: Final = timedelta(hours=1)
"""What waited while nothing was tied is tied within this time, or as long as that took."""


class Tying:
    """The times of the chain's entries, noted in order; `begun` is when its first was made, if that is known."""

    def __init__(self, begun: datetime | None = None) -> None:
        self.begun = begun
        self._last: datetime | None = None
        self._starts: list[datetime] = []
        self._ends: list[datetime] = []

    def note(self, at: datetime) -> None:
        """The next entry was made at this moment."""
        if self._last is not None and at - self._last > LATE:
            self._starts.append(self._last)
            self._ends.append(at)
        self._last = at

    def is_first(self, tied: datetime) -> bool:
        """Whether this is a time at which what was there before the chain was tied."""
        return self.begun is not None and tied <= self.begun + BACKLOG

    def fault(self, happened: datetime, tied: datetime) -> str | None:
        """What is wrong with when a row was tied, in words; None where nothing is."""
        if happened - tied > AHEAD:
            return f"is dated {happened.isoformat()}, after it was tied to the chain ({tied.isoformat()})"
        if tied - happened <= LATE or self._is_explained(happened, tied):
            return None
        return f"is dated {happened.isoformat()}, and was tied to the chain long afterwards ({tied.isoformat()})"

    def _is_explained(self, happened: datetime, tied: datetime) -> bool:
        if self.begun is not None and happened < self.begun and self.is_first(tied):
            return True
        number = bisect_right(self._starts, happened + LATE) - 1
        if number < 0:
            return False
        start, end = self._starts[number], self._ends[number]
        return happened <= end <= tied <= end + min(end - start, CATCHING_UP) + LATE
