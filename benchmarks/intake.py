"""Signals: batches of 100 over HTTP against a bare COPY of the same rows, and from a signal to its effect."""

from __future__ import annotations

import base64
import http.client
import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import msgspec
import psycopg

from base import db
from base.clock import monotonic
from benchmarks import load, world
from benchmarks.open import address_of, on_server_core
from benchmarks.report import Report
from signals.sources import create_source
from tests.serving import Served

PEOPLE = 1_000
BATCHES = 60
BATCH = 100
SIGNALS = 300
BESIDE, BESIDE_SECONDS = 10, 20
KEY = "benchmark"


def main() -> None:
    """Run it and print the report."""
    report = Report("intake")
    with world.world(database=True) as place:
        engine = db.connect(place.settings.database_url)
        with db.sessions(engine).begin() as session:
            create_source(session, "benchmark", "server", world.now(), write_key=KEY)
        with on_server_core():
            served = Served.start("signals", place.settings, place.folder / "signals.log")
        try:
            _batches(report, place, served.url)
            _delay(report, served.url, "a signal, sent to in effect for the next open", 1_000_000)
            with _beside(served.url):
                _delay(report, served.url, f"  the same beside {BESIDE * BATCH:,} events/s in batches", 2_000_000)
        finally:
            served.stop()
            engine.dispose()
    report.show()


def _event(number: int, person: int, random_: random.Random) -> dict[str, object]:
    # Signals come in the order in which they happened, as they do from a shop that sends them as it goes.
    at = world.now() - timedelta(days=30) + timedelta(seconds=number % 1_000_000)
    products = [
        {"product_id": f"p{random_.randint(1, 900)}", "category": f"Category {random_.randint(1, 120)}", "price": 3.5}
        for _ in range(5)
    ]
    return {
        "type": "track", "event": "Order Completed", "userId": f"u{person}", "messageId": f"m-{number}",
        "timestamp": at.isoformat(), "properties": {"order_id": f"o-{number}", "total": 17.5, "products": products},
    }  # fmt: skip


def _post(url: str, path: str, content: object) -> bytes:
    host, port = address_of(url)
    secret = base64.b64encode(f"{KEY}:".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {secret}"}
    return load.post(host, port, path, msgspec.json.encode(content), headers)


def _batches(report: Report, place: world.World, url: str) -> None:
    random_ = random.Random(3)
    events = [_event(number, random_.randint(1, PEOPLE), random_) for number in range((BATCHES + 5) * BATCH)]
    requests = [
        _post(url, "/v1/batch", {"batch": events[start : start + BATCH]}) for start in range(0, len(events), BATCH)
    ]
    load.run(*address_of(url), requests[:5], 2, 60)
    result = load.run(*address_of(url), requests[5:], 4, 120)
    if set(result.statuses) != {200}:
        raise SystemExit(f"answers were {result.statuses}")
    ours = BATCHES * BATCH / result.seconds
    copied = _copy(place, events[5 * BATCH :])
    report.add(
        "events/s, batches of 100 over HTTP", f"{ours:,.0f}", f"bare COPY {copied:,.0f}", ours / copied, "≥ 0.15",
        ours / copied >= 0.15,
    )  # fmt: skip


def _copy(place: world.World, events: list[dict[str, object]]) -> float:
    """Rows a second of a COPY of the same content into a table with a key and one index."""
    rows = io.BytesIO()
    for number, event in enumerate(events):
        body = msgspec.json.encode(event).decode().replace("\\", "\\\\")
        rows.write(f"{number}\t{event['messageId']}\t{event['timestamp']}\t{body}\n".encode())
    address = place.settings.database_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address) as connection:
        connection.execute(
            "CREATE TABLE bare (id bigint PRIMARY KEY, message_id text UNIQUE, at timestamptz, body json)"
        )
        connection.commit()
        began = monotonic()
        with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as copy:
            copy.write(rows.getvalue())
        connection.commit()
        return len(events) / (monotonic() - began)


@contextmanager
def _beside(url: str) -> Iterator[None]:
    """Let others send BESIDE batches a second meanwhile, for BESIDE_SECONDS; leaving waits for their answers."""
    random_ = random.Random(5)
    events = [
        _event(3_000_000 + number, random_.randint(1, PEOPLE), random_)
        for number in range(BESIDE * BESIDE_SECONDS * BATCH)
    ]
    requests = [
        _post(url, "/v1/batch", {"batch": events[start : start + BATCH]}) for start in range(0, len(events), BATCH)
    ]
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(load.run, *address_of(url), requests, 8, 2 * BESIDE_SECONDS, BESIDE)
        yield
    result = others.result()
    if set(result.statuses) != {200} or len(result.latencies) < len(requests):
        raise SystemExit(f"of {len(requests)} batches beside, answers were {result.statuses}")


def _delay(report: Report, url: str, name: str, first: int) -> None:
    """Request sent to 200 received, one signal at a time: when it is answered, the next open uses it."""
    random_ = random.Random(4)
    connection = http.client.HTTPConnection(*address_of(url), timeout=30)
    secret = base64.b64encode(f"{KEY}:".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {secret}"}
    took = []
    for number in range(SIGNALS):
        body = msgspec.json.encode(_event(first + number, random_.randint(1, PEOPLE), random_))
        began = monotonic()
        connection.request("POST", "/v1/track", body, headers)
        answer = connection.getresponse()
        answer.read()
        took.append(1000 * (monotonic() - began))
        if answer.status != 200:
            raise SystemExit(f"a signal was answered {answer.status}")
    took.sort()
    p50, p99 = took[len(took) // 2], took[int(0.99 * len(took))]
    report.add(
        name, f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", aim="p99 ≤ 100 ms",
        met=p99 <= 100,
    )  # fmt: skip


if __name__ == "__main__":
    main()
