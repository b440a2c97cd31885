"""The record streams as tests look into them: one of one server, or those of a cluster taken together."""

from __future__ import annotations

from typing import Any

from base.recordstreams import RecordStreams
from base.stores import Store


def a_stream(store: Store) -> str:
    """A record stream to put entries on."""
    return RecordStreams(store).names[0]


def entries(store: Store) -> list[Any]:
    """The entries of all record streams, pairs of id and fields, in the order of their ids."""
    found: list[Any] = []
    for name in RecordStreams(store).names:
        told: Any = store.xrange(name)
        found += told
    return sorted(found, key=lambda entry: tuple(map(int, entry[0].split(b"-"))))


def lengths(store: Store) -> dict[str, int]:
    """How many entries wait on each stream that holds any."""
    found = {name: int(store.xlen(name)) for name in RecordStreams(store).names}
    return {name: length for name, length in found.items() if length}
