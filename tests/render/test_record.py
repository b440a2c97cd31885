"""The byte forms of records, and how they are handed over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from base import stores
from base.clock import monotonic
from base.ids import Delivery
from base.processes import free_port
from base.sealing import Sealer, Unsealable, new_key
from base.stores import Store
from render.commit import Recorder
from render.hotcluster import hot_store
from render.metrics import Metrics
from render.record import (
    MAX_RECORDS_PER_ENTRY,
    STREAM_FIELD,
    CandidateRecord,
    ConsentRecord,
    DecisionFacts,
    DecisionRecord,
    FetchRecord,
    SlotRecord,
    canonical,
    decision_id,
    pack,
    personal,
    read_personal,
    seal,
    unpack,
    unseal,
)
from render.spool import Spool
from render.wire import HotStore
from tests.streams import entries

DECISION = DecisionRecord(
    id="d1",
    at_ms=1,
    profile=4711,
    campaign=7,
    occurrence=1,
    lane="live",
    open_number=1,
    plan="p",
    seed=2**63 - 1,
    slots=(
        SlotRecord(0, 1, 1, 1.0, (CandidateRecord(1, None, None, 0.25, 12.5), CandidateRecord(2, "legal", "ended"))),
    ),
    products={"tights": b"\x01"},
    caps=((1, 5),),
    personal=DecisionFacts(state=b"Ada", used=b"u", fields=({"profile.first_name": "Ada"},)),
)
FETCH = FetchRecord(
    id="f1",
    at_ms=2,
    profile=4711,
    campaign=7,
    occurrence=1,
    decision="d1",
    slot=0,
    kind="picture",
    lane="live",
    fetch_class="person",
    evidence={"agent": "browser"},
    sha256="00",
    size=3,
    content_type="image/png",
    body=b"abc",
)


def consent(number: int) -> ConsentRecord:
    return ConsentRecord(
        id=f"c{number}", at_ms=number, profile=1, campaign=1, occurrence=1, purpose="email", granted=False, via="page"
    )


def test_it_reads_back_what_it_packed() -> None:
    assert unpack(pack((DECISION, FETCH, consent(1)))) == (DECISION, FETCH, consent(1))


def test_it_opens_an_entry_only_with_its_key_and_untouched() -> None:
    sealer = Sealer(new_key())
    entry = seal((FETCH,), sealer)
    assert unseal(entry, sealer) == (FETCH,)
    assert b"4711" not in entry
    for other, data in ((Sealer(new_key()), entry), (sealer, entry[:-1] + bytes([entry[-1] ^ 1]))):
        with pytest.raises(Unsealable):
            unseal(data, other)


@pytest.mark.parametrize("count", [0, MAX_RECORDS_PER_ENTRY + 1])
def test_it_refuses_entries_without_records_and_with_too_many(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 16"):
        pack((FETCH,) * count)


def test_it_keeps_the_person_out_of_the_public_part() -> None:
    for made in (DECISION, FETCH):
        public = canonical(made, "subject-1")
        assert json.loads(public)["subject"] == "subject-1"
        for secret in (b"4711", b"Ada", b"QWRh", b"abc", b"YWJj"):
            assert secret not in public


def test_it_gives_equal_records_equal_public_bytes() -> None:
    again = msgspec.json.decode(msgspec.json.encode(DECISION), type=DecisionRecord)
    assert canonical(again, "s") == canonical(DECISION, "s")
    assert list(json.loads(canonical(DECISION, "s"))) == sorted(json.loads(canonical(DECISION, "s")))


def test_it_reads_the_personal_part_back() -> None:
    data = personal(DECISION)
    assert data is not None
    assert read_personal(data) == DECISION.personal
    assert personal(FETCH) is None


def test_it_names_an_open_the_same_everywhere_and_no_two_alike() -> None:
    first = decision_id(Delivery(5, 7, 1), "live", 1, 1000)
    assert first == decision_id(Delivery(5, 7, 1), "live", 1, 1000)
    others = {
        decision_id(Delivery(6, 7, 1), "live", 1, 1000),
        decision_id(Delivery(5, 7, 2), "live", 1, 1000),
        decision_id(Delivery(5, 7, 1), "machine", 1, 1000),
        decision_id(Delivery(5, 7, 1), "live", 2, 1000),
        decision_id(Delivery(5, 7, 1), "live", 1, 1001),
    }
    assert len(others | {first}) == 6
    assert len(first) == 32


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(new_key())


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[Metrics]:
    made = Metrics(tmp_path / "metrics")
    yield made
    made.close()


def stream(store: Store, sealer: Sealer) -> list[str]:
    """The ids of all records on the stream."""
    return [made.id for _, fields in entries(store) for made in unseal(fields[STREAM_FIELD.encode()], sealer)]


def test_it_accepts_many_threads_records_in_few_flights(
    valkey: Store, valkey_url: str, sealer: Sealer, metrics: Metrics, tmp_path: Path
) -> None:
    hot = hot_store(valkey_url)
    recorder = Recorder(hot, sealer, Spool(tmp_path / "spool"), metrics)
    accepted: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: accepted.append(recorder.accept((consent(n),), monotonic() + 5)))
        for n in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted == [True] * 100
    assert sorted(stream(valkey, sealer)) == sorted(f"c{number}" for number in range(100))
    hot.close()


def test_it_keeps_records_on_disk_while_the_store_is_away_and_moves_them_when_it_is_back(
    valkey: Store, valkey_url: str, sealer: Sealer, metrics: Metrics, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool")
    away = Recorder(HotStore(f"redis://127.0.0.1:{free_port()}/0"), sealer, spool, metrics)
    for number in range(3):
        assert away.accept((consent(number),), monotonic() + 1)
    assert metrics.total("spooled") == 3
    away.stop()

    hot = hot_store(valkey_url)
    back = Recorder(hot, sealer, Spool(tmp_path / "spool"), metrics)
    back.start()
    deadline = monotonic() + 10
    while metrics.total("unspooled") < 3 and monotonic() < deadline:
        assert back.accept((consent(9),), monotonic() + 1)
    back.stop()
    hot.close()
    assert set(stream(valkey, sealer)) == {"c0", "c1", "c2", "c9"}
    assert list((tmp_path / "spool").glob("*.spool")) == []


def test_it_says_so_when_neither_stream_nor_disk_takes_a_record(
    sealer: Sealer, metrics: Metrics, tmp_path: Path
) -> None:
    (tmp_path / "spool").write_bytes(b"a file where the folder should be")
    recorder = Recorder(HotStore(f"redis://127.0.0.1:{free_port()}/0"), sealer, Spool(tmp_path / "spool"), metrics)
    assert not recorder.accept((consent(1),), monotonic() + 1)
    assert metrics.total("unrecorded") == 1


def test_it_puts_down_what_was_answered_instead_once_records_are_taken_again(
    valkey: Store, valkey_url: str, sealer: Sealer, metrics: Metrics, tmp_path: Path
) -> None:
    (tmp_path / "spool").write_bytes(b"a file where the folder should be")
    hot = hot_store(valkey_url)
    recorder = Recorder(hot, sealer, Spool(tmp_path / "spool"), metrics)
    servers = stores.servers(valkey).values()
    for server in servers:
        server.config_set("maxmemory", 1)
    try:
        assert not recorder.accept((consent(1),), monotonic() + 5)
        recorder.correct((consent(2),))
    finally:
        for server in servers:
            server.config_set("maxmemory", 0)
    recorder.start()
    recorder.stop()
    hot.close()
    assert stream(valkey, sealer) == ["c2"]
    assert metrics.total("unrecorded") == 1, "who was refused is counted once, and its correction not at all"
