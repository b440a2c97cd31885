"""The streams of sealed records as who stores them reads them: one of one server, or those of a cluster.

A cluster's streams lie on all its nodes, so each is asked by itself, in one flight a node, and none is waited for: they
are looked at every `POLL_SECONDS`. A node that does not answer is left alone for `REST_SECONDS`; its streams wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from redis import RedisError, ResponseError

from base import keys
from base.clock import monotonic, pause
from base.stores import NOT_TO_BE_READ, Store, ask_each, is_clustered

POLL_SECONDS: Final = 0.05
REST_SECONDS: Final = 2.0
TRIES: Final = 4
"""Streams that are tried for an append, and into how many parts a batch is cut."""


class Entry(NamedTuple):
    """An entry of a stream, as it was taken."""

    stream: str
    number: bytes
    fields: dict[bytes, bytes]


class RecordStreams:
    """All record streams of a store. Every method raises redis.RedisError when nothing at all can be asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_one = not is_clustered(store)
        self.names: tuple[str, ...] = (keys.RECORDS,) if self._is_one else keys.record_streams()
        self._resting: dict[str, float] = {}

    def prepare(self, group: str, forgotten_ms: int) -> None:
        """Make the consumer group where it is missing, and strike off consumers that hold nothing and were not heard
        of for so long. Repeatable."""
        self._make(group, self.names)
        found = self._each(lambda pipe, name: pipe.xinfo_consumers(name, group))
        for name, consumers in found.items():
            for one in consumers:
                if not one["pending"] and one["idle"] > forgotten_ms:
                    self._store.xgroup_delconsumer(name, group, one["name"])

    def fresh(self, group: str, consumer: str, count: int, block_ms: int) -> list[Entry]:
        """Entries that nobody took yet, of one server at most `count`; waits for the first as long as is said."""
        if self._is_one:
            answer = self._store.xreadgroup(group, consumer, {keys.RECORDS: ">"}, count=count, block=block_ms)
            return _entries(keys.RECORDS, answer)
        deadline = monotonic() + block_ms / 1000
        while True:
            found = self._taken(group, consumer, count)
            if found or monotonic() >= deadline:
                return found
            pause(POLL_SECONDS)

    def orphans(self, group: str, consumer: str, idle_ms: int, count: int) -> list[Entry]:
        """Entries that a consumer took and did not acknowledge for so long; they are this one's now."""
        answers = self._each(
            lambda pipe, name: pipe.xautoclaim(name, group, consumer, idle_ms, start_id="0-0", count=count),
            lambda names: self._make(group, names),
        )
        return [
            Entry(name, number, fields) for name, answer in answers.items() for number, fields in answer[1] if fields
        ]

    def release(self, group: str, entries: Iterable[Entry]) -> None:
        """Acknowledge entries and remove them. Those of a node that is away now will come once more."""
        by_stream: dict[str, list[bytes]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry.number)
        with self._store.pipeline(transaction=False) as pipe:
            for name, numbers in by_stream.items():
                pipe.xack(name, group, *numbers)
                pipe.xdel(name, *numbers)
            pipe.execute(raise_on_error=self._is_one)

    def append(self, field: str, entries: Sequence[bytes]) -> bool:
        """Put entries on a stream whose server answers; False when none takes them."""
        awake = self._awake()
        # Far apart, so that most lie on nodes of their own.
        for name in awake[:: max(1, len(awake) // TRIES)]:
            try:
                with self._store.pipeline(transaction=False) as pipe:
                    for data in entries:
                        pipe.xadd(name, {field: data})
                    pipe.execute()
                return True
            except RedisError:
                self._rest(name)
        return False

    def length(self) -> int:
        """How many entries wait, on all streams. Raises redis.RedisError when one of them cannot be asked."""
        return sum(self._all(lambda pipe, name: pipe.xlen(name)).values())

    def set_aside(self) -> int:
        """How many entries lie beside the streams, as no recorder could store them. Raises as `length`."""
        return sum(self._all(lambda pipe, name: pipe.xlen(keys.refused(name))).values())

    def oldest_ms(self) -> int | None:
        """When the entry was made that waits longest, in Unix ms; None when none waits. Raises as `length`."""
        firsts = self._all(lambda pipe, name: pipe.xrange(name, count=1)).values()
        return min((int(first[0][0].split(b"-")[0]) for first in firsts if first), default=None)

    def newest(self) -> dict[str, bytes]:
        """The id of each stream's last entry, b"" of one without any; those of a node that is away are left out."""
        lasts = self._told(self.names, lambda pipe, name: pipe.xrevrange(name, count=1))
        return {name: last[0][0] if last else b"" for name, last in lasts.items()}

    def holding(self, newest: Mapping[str, bytes]) -> dict[str, bool]:
        """Whether streams still hold anything up to these entries; those of a node that is away are left out."""
        asked = [name for name, last in newest.items() if last]
        held = self._told(asked, lambda pipe, name: pipe.xrange(name, "-", newest[name], count=1))
        return {name: bool(held[name]) if last else False for name, last in newest.items() if name in held or not last}

    def _told(self, names: Sequence[str], ask: Callable[[Any, str], object]) -> dict[str, Any]:
        """As `ask_each`; what is no stream is left out as well, and raises where there is nothing else."""
        told = ask_each(self._store, names, ask)
        streams = {name: entries for name, entries in told.items() if entries is not NOT_TO_BE_READ}
        if told and not streams:
            raise ResponseError("no record stream is one")
        return streams

    def _taken(self, group: str, consumer: str, count: int) -> list[Entry]:
        # Few streams of a cluster are written at a time, about one a node; should all hold something, it is not much.
        count = count if self._is_one else max(1, count // TRIES)
        answers = self._each(
            lambda pipe, name: pipe.xreadgroup(group, consumer, {name: ">"}, count=count),
            lambda names: self._make(group, names),
        )
        return [entry for name, answer in answers.items() for entry in _entries(name, answer)]

    def _make(self, group: str, names: Sequence[str]) -> None:
        # Asked first: a full store refuses to make even a group that is there.
        with self._store.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.xinfo_groups(name)
            told = pipe.execute(raise_on_error=False)
        missing = [name for name, groups in zip(names, told, strict=True) if not _has(groups, group)]
        if not missing:
            return
        with self._store.pipeline(transaction=False) as pipe:
            for name in missing:
                pipe.xgroup_create(name, group, id="0", mkstream=True)
            answers = pipe.execute(raise_on_error=False)
        failed = [error for error in answers if isinstance(error, Exception) and "BUSYGROUP" not in str(error)]
        if len(failed) == len(names):
            raise failed[0]

    def _all(self, ask: Callable[[Any, str], Any]) -> dict[str, Any]:
        with self._store.pipeline(transaction=False) as pipe:
            for name in self.names:
                ask(pipe, name)
            return dict(zip(self.names, pipe.execute(), strict=True))

    def _each(
        self, ask: Callable[[Any, str], Any], without_group: Callable[[Sequence[str]], None] | None = None
    ) -> dict[str, Any]:
        """The answers of the streams whose nodes answer; groups that a node lost with its keys are made anew."""
        names = self._awake()
        with self._store.pipeline(transaction=False) as pipe:
            for name in names:
                ask(pipe, name)
            answers = dict(zip(names, pipe.execute(raise_on_error=self._is_one), strict=True))
        failed = {name: error for name, error in answers.items() if isinstance(error, Exception)}
        groupless = [name for name, error in failed.items() if str(error).startswith("NOGROUP")]
        if groupless and without_group is not None:
            without_group(groupless)
        for name, error in failed.items():
            if not isinstance(error, ResponseError):
                self._rest(name)
        if failed and len(failed) == len(self.names):
            raise next(iter(failed.values()))
        return {name: answer for name, answer in answers.items() if name not in failed}

    def _awake(self) -> list[str]:
        """The streams that are asked now: all, when every one rests."""
        now = monotonic()
        return [name for name in self.names if self._resting.get(name, 0.0) <= now] or list(self.names)

    def _rest(self, name: str) -> None:
        if not self._is_one:
            self._resting[name] = monotonic() + REST_SECONDS


def _has(groups: Any, group: str) -> bool:
    """Whether an XINFO GROUPS answer tells of this group; of a stream that is not there it is an error."""
    return isinstance(groups, list) and any(one["name"] == group.encode() for one in groups)


def _entries(name: str, answer: Any) -> list[Entry]:
    """The entries of an XREADGROUP answer about one stream in either protocol: a list of streams, or a map of them."""
    if not answer:
        return []
    if isinstance(answer, dict):
        streams = [entries[0] if entries and isinstance(entries[0], list) else entries for entries in answer.values()]
    else:
        streams = [entries for _, entries in cast("list[Any]", answer)]
    return [Entry(name, number, fields) for entries in streams for number, fields in entries]
