"""What still waits on the record streams, as those ask who must not act before it is stored.

While a node of a cluster is away nobody can tell what its streams hold. The records of an open lie on its person's own
node, so this concerns the people of that node alone, and those whose records may lie elsewhere: who moved to another
node since all streams were last stored, and the people of nodes that were away since then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from base import keys, stores
from base.clock import monotonic
from base.recordstreams import RecordStreams
from base.slots import slot_of
from base.stores import Store


class Mark(NamedTuple):
    """What the streams held: their last entries (`RecordStreams.newest`), who held each slot, and when (monotonic)."""

    newest: dict[str, bytes]
    holders: tuple[str, ...]
    at: float


@dataclass(frozen=True)
class Absent:
    """People whose records may wait where nobody can look; untrue where there are none, as of one server.

    `before` and `now` are the nodes that hold each slot, `away` those of them whose streams could not be read.
    """

    before: tuple[str, ...] = ()
    now: tuple[str, ...] = ()
    away: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.away)

    def __contains__(self, profile: int) -> bool:
        if not self.away:
            return False
        slot = slot_of(keys.state(profile))
        return self.before[slot] != self.now[slot] or self.now[slot] in self.away


NOBODY = Absent()


class Backlog:
    """The record streams of a store. One per recorder: it remembers when it last saw all of them stored.

    Both methods raise redis.RedisError when nothing at all can be asked.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._streams = RecordStreams(store)
        self._whole: tuple[str, ...] | None = None
        self._away: frozenset[str] = frozenset()
        self._missed_at = 0.0

    def mark(self) -> Mark | None:
        """What the streams hold now; None where a node is away and this process has not yet seen them whole."""
        at, holders = monotonic(), stores.holders(self._store)
        newest = self._streams.newest()
        is_whole = len(newest) == len(self._streams.names)
        return Mark(newest, holders, at) if is_whole or self._whole is not None else None

    def absent(self, mark: Mark) -> Absent | None:
        """Of whom something that was there at the mark may not be stored; None while that is to be waited for."""
        holding = self._streams.holding(mark.newest)
        if any(holding.values()):
            return None
        unread = [name for name in self._streams.names if name not in holding]
        if not unread:
            if mark.at > self._missed_at:  # Else a node was away since.
                self._whole, self._away = mark.holders, frozenset()
            return NOBODY
        self._missed_at = monotonic()
        if self._whole is None:
            return None
        self._away |= {mark.holders[slot_of(name)] for name in unread}
        return Absent(self._whole, stores.holders(self._store), self._away)
