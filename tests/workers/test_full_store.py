"""A store that takes nothing more: what waits in it is recorded all the same, which is what makes room."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import OutOfMemoryError

from base import stores
from base.stores import Store
from tests.streams import lengths
from tests.workers.opens import Opens
from tests.workers.test_recorder import click
from workers.recorder import Recorder, run
from workers.recording import Written


@contextmanager
def full(store: Store) -> Iterator[None]:
    """No server of the store takes a write that needs room."""
    masters = list(stores.servers(store).values())
    for server in masters:
        server.config_set("maxmemory", 1)
    try:
        yield
    finally:
        for server in masters:
            server.config_set("maxmemory", 0)


def ids(opens: Opens) -> list[str]:
    return [row.id for row in opens.rows("SELECT id FROM click ORDER BY id")]


def test_a_recorder_that_starts_then_stores_what_waits(opens: Opens) -> None:
    opens.send("ann")
    for number in (1, 2, 3):
        opens.put(click(number))
    with full(opens.shop.store):
        fresh = Recorder(opens.parts, opens.following)
        fresh.prepare()
        assert sum(fresh.step(block_ms=1) for _ in range(2)) == 3
    assert (ids(opens), lengths(opens.shop.store)) == ([f"{n:032x}" for n in (1, 2, 3)], {})


def test_a_record_of_a_capped_offer_is_stored_then(opens: Opens) -> None:
    opens.look(opens.send("ann", discount={"cap_total": 10})["ann"])
    with full(opens.shop.store):
        assert opens.recorder.step(block_ms=1) > 0
    assert (opens.count("decision"), opens.recorder.lag()) == (1, 0)


def test_what_is_refused_between_batches_keeps_no_record_waiting(opens: Opens) -> None:
    opens.send("ann")
    stop, prepared, refused = threading.Event(), [0], [0]

    class Refused:
        """What follows from records; between batches it is refused, thrice, each time with a record behind it."""

        def __call__(self, written: Written) -> None:
            opens.following(written)

        def idle(self) -> None:
            if refused[0] == 3:
                stop.set()
                return
            refused[0] += 1
            opens.put(click(refused[0]))
            raise OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")

    class Counted(Recorder):
        def prepare(self) -> None:
            prepared[0] += 1
            super().prepare()

    run(Counted(opens.parts, Refused()), stop, pause_seconds=0.01)
    assert (ids(opens), prepared[0]) == ([f"{n:032x}" for n in (1, 2, 3)], 1)
