"""Stores that die under the intake: it says 503 and when to come again, and nothing it acknowledged is lost."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from base import db, stores
from base.clock import monotonic, pause
from base.embedded import PostgresServer, ValkeyServer
from base.processes import free_port
from base.settings import Settings
from tests.databases import HASH_KEY, VAULT
from tests.serving import Serve
from tests.signals.sending import Desk, order
from workers.migration import migrate

PATIENCE_SECONDS = 60
SENDERS = 3


@dataclass
class Ground:
    """Servers of the test's own, which it may kill, and an intake on them."""

    postgres: PostgresServer
    valkey: ValkeyServer
    desk: Desk
    url: str


@pytest.fixture
def ground(server_folder: Path, tmp_path: Path, settings: Settings, serve: Serve) -> Iterator[Ground]:
    folder = server_folder / tmp_path.name
    folder.mkdir(mode=0o755)
    postgres = PostgresServer(folder / "postgres", free_port(), folder / "postgres.log")
    valkey = ValkeyServer(folder / "valkey", free_port(), folder / "valkey.log")
    postgres.start()
    valkey.start()
    engine, store = db.connect(postgres.url, vault=VAULT), stores.connect(valkey.url)
    try:
        migrate(postgres.url, VAULT, HASH_KEY)
        desk = Desk(db.sessions(engine), store)
        own = replace(settings, database_url=postgres.url, redis_url=valkey.url, hash_key=desk.intake.hash_key)
        yield Ground(postgres, valkey, desk, serve("signals", own).url)
    finally:
        engine.dispose()
        store.close()
        postgres.stop()
        valkey.stop()


def send(url: str, body: Any) -> tuple[int, str | None]:
    """POST a batch; the status and what Retry-After says. 0 when there was no answer."""
    request = urllib.request.Request(
        f"{url}/v1/batch",
        data=json.dumps(body).encode(),
        headers={"Authorization": "Basic " + b64encode(b"shop:").decode(), "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Retry-After"]


class Stream:
    """Senders that go on through faults, as a stock SDK does: what was not acknowledged is sent again."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.acknowledged: list[str] = []
        self.refused: list[tuple[int, str | None]] = []
        self.stop = Event()

    def run(self, sender: int) -> None:
        """Send orders of one person, one batch of three after the other, until told to stop."""
        number = 0
        while not self.stop.is_set():
            batch = [order(f"u{sender}", f"o{sender}-{number + n}", ("p", "Shoes", 1.0)) for n in range(3)]
            self._deliver(batch)
            self.acknowledged += [event["properties"]["order_id"] for event in batch]
            number += 3

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        deadline = monotonic() + PATIENCE_SECONDS
        while (answer := send(self.ground.url, {"batch": batch}))[0] != 200:
            assert monotonic() < deadline, f"still {answer}"
            self.refused.append(answer)
            pause(0.1)


def run_through(ground: Ground, server: PostgresServer | ValkeyServer) -> Stream:
    """Send while the server is killed and started again twice."""
    stream = Stream(ground)
    with ThreadPoolExecutor(SENDERS) as pool:
        senders = [pool.submit(stream.run, number) for number in range(SENDERS)]
        for _ in range(2):
            pause(1.0)
            server.kill()
            pause(1.0)
            server.start()
        pause(1.0)
        stream.stop.set()
        for sender in senders:
            sender.result()
    return stream


@pytest.mark.slow
@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_it_loses_nothing_it_acknowledged_when_a_store_is_killed(name: str, ground: Ground) -> None:
    stream = run_through(ground, getattr(ground, name))

    assert {status for status, _ in stream.refused} == {503}
    assert all(retry_after == "1" for _, retry_after in stream.refused)
    desk = ground.desk
    stored = {order_id for (order_id,) in desk.rows("SELECT order_id FROM event")}
    assert stored == set(stream.acknowledged)
    states = [desk.state(desk.root("user_id", f"u{number}")) for number in range(SENDERS)]
    assert sum(state.orders for state in states) == len(stream.acknowledged)
    assert desk.rebuilt().different == 0


@pytest.mark.slow
def test_it_says_when_to_come_again_and_finishes_what_it_had_stored(ground: Ground) -> None:
    event = order("u1", "o1", ("p", "Shoes", 1.0))
    ground.valkey.kill()
    assert send(ground.url, {"batch": [event]}) == (503, "1")
    assert ground.desk.rows("SELECT count(*) FROM event") == [(1,)]
    ground.valkey.start()

    assert send(ground.url, {"batch": [event]}) == (200, None)
    assert ground.desk.rows("SELECT count(*) FROM event") == [(1,)]
    assert ground.desk.state(ground.desk.root("user_id", "u1")).orders == 1

    ground.postgres.kill()
    assert send(ground.url, {"batch": [event]}) == (503, "1")
    with urllib.request.urlopen(f"{ground.url}/healthz", timeout=5) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{ground.url}/readyz", timeout=30)
    with refused.value:
        assert refused.value.code == 503
    ground.postgres.start()
    assert send(ground.url, {"batch": [event]}) == (200, None)
