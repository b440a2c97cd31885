"""Lanes at the intake: who brings a few events must not stand behind those who bring them by the hundred.

One process takes in a few large requests at a time, and beside them as many small ones as it has connections for.
More at a time would not be faster, since large requests want the interpreter and the database all the while; it would
only hold more locks and let every request wait for all others. Of the threads, at most half may hold large requests
that wait: the others always find small ones. Who finds no room is told to come again, which is safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Final

from base.errors import Busy

SMALL: Final = 10
"""Events of a small request, at most: what an SDK in a browser flushes at once."""

SMALL_AT_ONCE: Final = 8
LARGE_AT_ONCE: Final = 2
"""One reads and folds while the database works for the other."""

FEEDS_AT_ONCE: Final = 4
"""Feeds that are read into memory at a time; slow lines hold nothing else up."""

CONNECTIONS: Final = SMALL_AT_ONCE + LARGE_AT_ONCE
"""Connections to the database that all lanes use together, one each."""

WAIT_SECONDS: Final = 10.0


class Lanes:
    """The lanes of one process with so many threads. Threads share it."""

    def __init__(self, threads: int) -> None:
        self._small = BoundedSemaphore(SMALL_AT_ONCE)
        self._large = BoundedSemaphore(LARGE_AT_ONCE)
        self._room = BoundedSemaphore(max(LARGE_AT_ONCE, threads // 2))
        self._feeds = BoundedSemaphore(FEEDS_AT_ONCE)

    @contextmanager
    def small(self) -> Iterator[None]:
        """A place for a request of a few events. Raises Busy when none is free for ten seconds."""
        with _place(self._small, WAIT_SECONDS):
            yield

    @contextmanager
    def large(self) -> Iterator[None]:
        """A place for any other request. Raises Busy, at once when too many wait already."""
        with _place(self._room, 0.0), _place(self._large, WAIT_SECONDS):
            yield

    @contextmanager
    def feed(self) -> Iterator[None]:
        """A place for a feed while it is read and taken. Raises Busy at once when there is none."""
        with _place(self._feeds, 0.0):
            yield


@contextmanager
def _place(places: BoundedSemaphore, seconds: float) -> Iterator[None]:
    if not places.acquire(timeout=seconds):
        raise Busy("The intake")
    try:
        yield
    finally:
        places.release()
