"""Entries of the record streams that no recorder could store, and putting them back once they open.

They lie beside their stream. What goes back goes by a script, which the server runs whole or not at all: an entry is on
one of the two, whatever dies, and who runs the command twice, or two at once, puts back none of them twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from base import keys
from base.recordstreams import Entry, RecordStreams
from base.sealing import Sealer, Unsealable
from base.stores import Store
from render import record

AT_ONCE: Final = 50
"""Entries that are read and put back together: one may hold a picture."""
_FIELD: Final = record.STREAM_FIELD.encode()
# Added before it is taken away: a server without room refuses the first, and then nothing is gone.
_PUT_BACK: Final = """
    local number = 0
    for place = 2, #ARGV, 2 do
        if #redis.call('XRANGE', KEYS[1], ARGV[place], ARGV[place]) == 1 then
            redis.call('XADD', KEYS[2], '*', ARGV[1], ARGV[place + 1])
            redis.call('XDEL', KEYS[1], ARGV[place])
            number = number + 1
        end
    end
    return number
"""


@dataclass(frozen=True)
class Held:
    """How many entries of a stream are set aside, and how many of them open."""

    stream: str
    entries: int
    open: int


class SetAside:
    """What is set aside of all record streams of a store. Every method raises redis.RedisError.

    `sealed_with` opens entries, and `sealer` seals what goes back, where that is another key.
    """

    def __init__(self, store: Store, sealer: Sealer, sealed_with: Sealer | None = None) -> None:
        self._store = store
        self._sealer = sealer
        self._sealed_with = sealed_with
        self._streams = RecordStreams(store).names

    def held(self) -> list[Held]:
        """Of each stream that anything is set aside of, how much."""
        found = []
        for stream in self._streams:
            opened = [self._sealed(entry) is not None for batch in self._batches(stream) for entry in batch]
            if opened:
                found.append(Held(stream, len(opened), sum(opened)))
        return found

    def put_back(self) -> int:
        """Put every entry that opens on its stream again, for recorders to store; how many. The others stay.

        Entries that are set aside meanwhile are left for the next time.
        """
        number = 0
        for stream in self._streams:
            for batch in self._batches(stream):
                made = [(entry.number, data) for entry in batch if (data := self._sealed(entry)) is not None]
                if made:
                    told = [part for one in made for part in one]
                    moved: Any = self._store.eval(_PUT_BACK, 2, keys.refused(stream), stream, _FIELD, *told)
                    number += moved
        return number

    def _batches(self, stream: str) -> Iterator[Sequence[Entry]]:
        """What is set aside of a stream now, the oldest first."""
        name = keys.refused(stream)
        newest: Any = self._store.xrevrange(name, count=1)
        if not newest:
            return
        start, last = b"-", newest[0][0]
        while True:
            answer: Any = self._store.xrange(name, start, last, count=AT_ONCE)
            if not answer:
                return
            yield [Entry(name, number, fields) for number, fields in answer]
            start = b"(" + answer[-1][0]

    def _sealed(self, entry: Entry) -> bytes | None:
        """The entry as it goes back, under the key of the recorders; None where it does not open."""
        data = entry.fields.get(_FIELD, b"")
        try:
            records = record.unseal(data, self._sealed_with or self._sealer)
        except (Unsealable, msgspec.DecodeError):
            return None
        return data if self._sealed_with is None else record.seal(records, self._sealer)


def count(store: Store) -> int:
    """How many entries are set aside, of all streams. Raises redis.RedisError."""
    return sum(int(store.xlen(keys.refused(stream))) for stream in RecordStreams(store).names)
