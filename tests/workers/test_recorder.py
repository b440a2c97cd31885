"""The recorder: every record once, whatever it dies of, and no record in the way of those behind it."""

from __future__ import annotations

from typing import Any

import pytest

from base import keys, stores
from base.errors import Unavailable
from base.recordstreams import TRIES
from base.sealing import Sealer, new_key
from base.stores import is_clustered
from render import record
from render.record import ClickRecord
from render.spool import Spool
from tests.promises.reader import SCANNER
from tests.streams import a_stream, entries, lengths
from tests.workers.opens import Opens
from workers import setaside
from workers.recorder import BATCH, GROUP, Recorder
from workers.recording import Written


def click(number: int = 1, **changes: Any) -> ClickRecord:
    """A click of profile 1."""
    fields: dict[str, Any] = {"at_ms": 1_772_452_800_000, "profile": 1, "campaign": 1, "occurrence": 1, "slot": 0}
    fields |= {"fetch_class": "person", "evidence": {}, "id": f"{number:032x}"}
    return ClickRecord(**(fields | changes))


class Failing:
    """What follows from records, failing as often as it is told to."""

    def __init__(self, opens: Opens, *errors: Exception) -> None:
        self.following = opens.following
        self.errors = list(errors)

    def __call__(self, written: Written) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.following(written)

    def idle(self) -> None:
        self.following.idle()


def test_it_moves_everything_to_the_database_once(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    for mail in mails.values():
        opens.look(mail)
        opens.look(mail, 1)
        opens.look(mail, agent=SCANNER)
        opens.get(mail.clicks[0])
    assert opens.record() > 0
    assert (opens.count("decision"), opens.count("fetch"), opens.count("click")) == (4, 6, 2)
    assert opens.recorder.lag() == 0
    names = opens.recorder.streams.names
    assert all(opens.shop.store.xpending(name, GROUP)["pending"] == 0 for name in names)
    assert opens.recorder.step(block_ms=1) == 0


def test_it_changes_nothing_for_an_entry_that_comes_twice(opens: Opens) -> None:
    opens.look(opens.send("ann")["ann"])
    waiting = entries(opens.shop.store)
    opens.record()
    before = [opens.rows(f'SELECT * FROM "{table}"') for table in ("decision", "fetch", "served_bytes", "subject")]
    for _, fields in waiting:
        opens.shop.store.xadd(a_stream(opens.shop.store), fields)
    assert opens.record() == len(waiting)
    after = [opens.rows(f'SELECT * FROM "{table}"') for table in ("decision", "fetch", "served_bytes", "subject")]
    assert after == before


def test_it_takes_over_what_a_dead_recorder_had_taken(opens: Opens) -> None:
    opens.look(opens.send("ann")["ann"])
    dead = Recorder(opens.parts, Failing(opens, RuntimeError("killed")))
    with pytest.raises(RuntimeError):
        dead.step(block_ms=1)
    assert opens.record() == 0, "it is not dead for long"
    (stream,) = lengths(opens.shop.store)
    taken: Any = opens.shop.store.xpending_range(stream, GROUP, "-", "+", 10)
    numbers = [entry["message_id"] for entry in taken]
    opens.shop.store.xclaim(stream, GROUP, taken[0]["consumer"], 0, numbers, idle=10_000)
    other = Recorder(opens.parts, opens.following)
    assert other.step(block_ms=1) == len(numbers)
    assert (opens.count("fetch"), opens.recorder.lag()) == (1, 0)


def test_it_goes_on_at_once_when_a_server_is_back(opens: Opens) -> None:
    opens.look(opens.send("ann")["ann"])
    recorder = Recorder(opens.parts, Failing(opens, Unavailable("The database"), Unavailable("The database")))
    for _ in range(2):
        with pytest.raises(Unavailable):
            recorder.step(block_ms=1)
    assert recorder.lag() > 0
    assert recorder.step(block_ms=1) > 0
    assert (opens.count("fetch"), recorder.lag()) == (1, 0)


def test_it_sets_an_unfit_record_aside_and_stores_the_others(opens: Opens) -> None:
    opens.send("ann")
    opens.put(click(1))
    opens.put(click(2, landing="no text of the database\0"))
    opens.put(click(3, at_ms=10**18))
    stream = a_stream(opens.shop.store)
    opens.shop.store.xadd(stream, {record.STREAM_FIELD: b"no record"})
    opens.shop.store.xadd(stream, {record.STREAM_FIELD: record.seal((click(4),), Sealer(new_key()))})
    opens.put(click(5))
    assert opens.record() == 6
    assert [row.id for row in opens.rows("SELECT id FROM click ORDER BY id")] == [f"{n:032x}" for n in (1, 5)]
    assert (opens.shop.store.xlen(keys.refused(stream)), opens.recorder.lag()) == (4, 0)


def test_it_stores_what_opens_however_much_does_not(opens: Opens) -> None:
    opens.send("ann")
    stream, other = a_stream(opens.shop.store), Sealer(new_key())
    sealed = record.seal((click(1),), other)
    wrong = 3 * BATCH + 7
    for _ in range(wrong):
        opens.shop.store.xadd(stream, {record.STREAM_FIELD: sealed})
    opens.put(click(2))
    assert opens.record() == wrong + 1
    assert (opens.shop.store.xlen(keys.refused(stream)), opens.recorder.lag(), opens.count("click")) == (wrong, 0, 1)


def test_it_stores_what_opens_where_the_store_has_no_room_to_set_the_rest_aside(opens: Opens) -> None:
    opens.send("ann")
    store = opens.shop.store
    stream = a_stream(store)
    store.xadd(stream, {record.STREAM_FIELD: record.seal((click(1),), Sealer(new_key()))})
    for one in (click(2), click(3, landing="no text of the database\0"), click(4)):
        opens.put(one)
    opens.recorder.prepare()
    masters = stores.servers(store).values()
    for server in masters:
        server.config_set("maxmemory", 1)
    try:
        assert opens.recorder.step(block_ms=1) > 0
        assert opens.recorder.step(block_ms=1) == 0, "what has no room is in nobody's way"
    finally:
        for server in masters:
            server.config_set("maxmemory", 0)
    assert [row.id for row in opens.rows("SELECT id FROM click ORDER BY id")] == [f"{n:032x}" for n in (2, 4)]
    assert (sum(lengths(store).values()), setaside.count(store)) == (2, 0)
    for name in lengths(store):
        taken: Any = store.xpending_range(name, GROUP, "-", "+", 10)
        numbers = [entry["message_id"] for entry in taken]
        store.xclaim(name, GROUP, taken[0]["consumer"], 0, numbers, idle=10_000)
    assert Recorder(opens.parts, opens.following).step(block_ms=1) == 2
    assert (opens.recorder.lag(), setaside.count(store), opens.count("click")) == (0, 2, 2)


def test_it_hands_over_what_dead_processes_left_on_disk(opens: Opens) -> None:
    opens.send("ann")
    spool = Spool(opens.shop.settings.var / "spool")
    assert spool.append([record.seal((click(number),), opens.sealer) for number in range(3)])
    spool.close()
    assert opens.recorder.drain_spool() == 3
    assert opens.recorder.drain_spool() == 0
    opens.record()
    assert opens.count("click") == 3


def test_it_shares_the_stream_with_others(opens: Opens) -> None:
    opens.send("ann")
    others = [Recorder(opens.parts, opens.following) for _ in range(3)]
    for number in range(600):
        opens.put(click(number))
    # Of a cluster's streams a part of a batch is taken each, for there may be many.
    share = BATCH // TRIES if is_clustered(opens.shop.store) else BATCH
    assert [one.step(block_ms=1) for one in others] == [share] * 3
    opens.record()
    assert opens.count("click") == 600
