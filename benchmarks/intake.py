"""Signals: batches of 100 over HTTP against a bare COPY of the same rows, and one signal beside others' batches.

The shop knows PEOPLE customers before it begins, each with so many orders that some thirty categories stand in the
state: a state costs by its size, and an empty one would flatter. Events fall on customers evenly, so nearly each one of
a batch has another state to be read, folded and written. The figures:

- *events/s, orders*: every event an order of five products, the dearest kind; four connections that send again as soon
  as they are answered, to one process. The peer is a COPY of these rows into a table with two keys, in the same run.
- *events/s, a shop's mix*: of ten events, six look at a product, two put one into the cart, one reads a page of the
  shop, one is an order.
- *processor time of an event*: what the process of the intake, all of PostgreSQL and Valkey used.
  A million divided by the first is what one core of the intake could take if the database had cores of its own.
- *a signal*: sent alone, and beside batches that leave evenly, 1,000 events a second, as a shop's mix. Each leaves at
  its moment whether or not others were answered, and its time counts from that moment. All come from one loop, which
  sends some fifty requests a second and so is never what is waited for. When it is answered, the next open uses it.
"""

from __future__ import annotations

import base64
import io
import os
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from base import db
from base.clock import monotonic
from base.vault import Vault
from benchmarks import load, world
from benchmarks.open import address_of, on_server_core
from benchmarks.report import Report
from signals.intake import Intake, take
from signals.sources import create_source
from signals.sources import sender as sender_of
from tests.serving import Served

PEOPLE = 10_000
ORDERS, LINES = 4, 8
"""What each customer bought before."""

CATEGORIES = 120
BATCHES, WARM, BATCH = 100, 10, 100
CONNECTIONS = 4
COPIES = 3
SECONDS = 30
SIGNALS, BESIDE = 40, 10
"""Signals and batches a second."""

KEY = "benchmark"
TICK = os.sysconf("SC_CLK_TCK")
Event = dict[str, Any]


def main() -> None:
    """Run it and print the report."""
    report = Report("intake")
    with world.world(database=True) as place:
        known(place)
        with on_server_core():
            served = Served.start("signals", place.settings, place.folder / "signals.log")
        try:
            _batches(report, place, served)
            _mixed(report, place, served)
            _signals(report, served.url, "a signal, sent to in effect for the next open", beside=0)
            name = f"  the same beside {BESIDE * BATCH:,} events/s in batches"
            _signals(report, served.url, name, beside=BESIDE)
        finally:
            served.stop()
    report.show()


def known(place: world.World) -> None:
    """Customers with a year behind them, taken in by the intake itself."""
    engine = db.connect(place.settings.database_url, vault=Vault.of(place.settings))
    try:
        with db.sessions(engine).begin() as session:
            source, _ = create_source(session, "benchmark", "server", world.now(), write_key=KEY)
            sender = sender_of(source)
        intake = Intake(db.sessions(engine), place.store, place.settings.hash_key)
        random_ = random.Random(2)
        for order in range(ORDERS):
            for first in range(0, PEOPLE, 1_000):
                bodies = [
                    msgspec.json.encode(
                        _order(f"before-{order}-{person}", person, (order + 1) * 90 - 400, LINES, random_)
                    )
                    for person in range(first, first + 1_000)
                ]
                take(intake, sender, bodies, world.now())
    finally:
        engine.dispose()


def _product(random_: random.Random) -> Event:
    return {
        "product_id": f"p{random_.randint(1, 900)}",
        "category": f"Category {random_.randint(1, CATEGORIES)}",
        "price": 3.5,
    }


def _call(name: str, person: int, seconds: float, event: str, properties: Event) -> Event:
    # Signals come in the order in which they happened, as they do from a shop that sends them as it goes.
    at = world.now() - timedelta(days=30) + timedelta(seconds=seconds)
    return {
        "type": "track", "event": event, "userId": f"u{person}", "messageId": f"m-{name}",
        "timestamp": at.isoformat(), "properties": properties,
    }  # fmt: skip


def _order(name: str, person: int, days: int, lines: int, random_: random.Random) -> Event:
    properties = {"order_id": f"o-{name}", "total": 17.5, "products": [_product(random_) for _ in range(lines)]}
    return _call(name, person, days * 86_400, "Order Completed", properties)


class Stream:
    """Events one after the other, a second apart, of customers at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._number = 0

    def order(self) -> Event:
        """An order of five products."""
        return self._next("Order Completed", 5)

    def mixed(self) -> Event:
        """What shops send: mostly what is looked at."""
        drawn = self._random.random()
        if drawn < 0.1:
            return self.order()
        if drawn < 0.2:
            return self._next("Store Page Read", 0)
        return self._next("Product Added" if drawn < 0.4 else "Product Viewed", 1)

    def _next(self, event: str, products: int) -> Event:
        self._number += 1
        name, person = f"{self._seed}-{self._number}", self._random.randint(0, PEOPLE - 1)
        properties: Event = _product(self._random) if products == 1 else {}
        if products > 1:
            listed = [_product(self._random) for _ in range(products)]
            properties = {"order_id": f"o-{name}", "total": 17.5, "products": listed}
        return _call(name, person, self._seed * 50_000 + self._number, event, properties)


def _post(url: str, path: str, content: object) -> bytes:
    host, port = address_of(url)
    secret = base64.b64encode(f"{KEY}:".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {secret}"}
    return load.post(host, port, path, msgspec.json.encode(content), headers)


def batch(url: str, draw: Callable[[], Event]) -> bytes:
    return _post(url, "/v1/batch", {"batch": [draw() for _ in range(BATCH)]})


def _batches(report: Report, place: world.World, served: Served) -> None:
    draw = Stream(1).order
    load.run(*address_of(served.url), [batch(served.url, draw) for _ in range(WARM)], CONNECTIONS, 60)
    events = [draw() for _ in range(BATCHES * BATCH)]
    requests = [
        _post(served.url, "/v1/batch", {"batch": events[start : start + BATCH]})
        for start in range(0, len(events), BATCH)
    ]
    ours, used = _measured(place, served, requests)
    copied = _copied(place, events)
    report.add(
        "events/s, batches of 100 orders over HTTP", f"{ours:,.0f}", f"bare COPY {copied:,.0f}", ours / copied,
        "≥ 0.15; ≥ 3,000", ours / copied >= 0.15 and ours >= 3_000,
    )  # fmt: skip
    report.add("  processor time of an event", used)


def _mixed(report: Report, place: world.World, served: Served) -> None:
    draw = Stream(2).mixed
    ours, used = _measured(place, served, [batch(served.url, draw) for _ in range(BATCHES)])
    report.add("events/s, a shop's mix", f"{ours:,.0f}")
    report.add("  processor time of an event", used)


def _measured(place: world.World, served: Served, requests: Sequence[bytes]) -> tuple[float, str]:
    """Events a second, and what each took of processors."""
    before = _used(place, served)
    ours = rate(served.url, requests)
    events = len(requests) * BATCH
    used = {part: 1e6 * (now - before[part]) / events for part, now in _used(place, served).items()}
    each = ", ".join(f"{part} {cost:,.0f} µs" for part, cost in used.items())
    return ours, f"{each}: {1e6 / used['intake']:,.0f} events/s of a core of intake"


def rate(url: str, requests: Sequence[bytes]) -> float:
    """Events a second over a few connections that are never idle."""
    result = load.run(*address_of(url), requests, CONNECTIONS, 120)
    if result.statuses != {200: len(requests)}:
        raise SystemExit(f"of {len(requests)} batches, answers were {result.statuses}")
    return len(requests) * BATCH / result.seconds


def _used(place: world.World, served: Served) -> dict[str, float]:
    """Processor seconds so far of the intake's process, of every process of PostgreSQL, and of Valkey."""
    postmaster = int((place.folder / "postgres" / "postmaster.pid").read_text().split()[0])
    return {
        "intake": sum(map(_seconds, _children(served.process.pid))),
        "PostgreSQL": sum(map(_seconds, _children(postmaster))),
        "Valkey": sum(float(place.store.info("cpu")[name]) for name in ("used_cpu_user", "used_cpu_sys")),
    }


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICK


def _copied(place: world.World, events: Sequence[Event]) -> float:
    """Rows a second of a COPY of the same content into a table with two keys: the middle one of a few."""
    rows = io.BytesIO()
    for number, event in enumerate(events):
        body = msgspec.json.encode(event).decode().replace("\\", "\\\\")
        rows.write(f"{number}\t{event['messageId']}\t{event['timestamp']}\t{body}\n".encode())
    address = place.settings.database_url.replace("postgresql+psycopg", "postgresql")
    took = []
    with psycopg.connect(address) as connection:
        for _ in range(COPIES):
            connection.execute("DROP TABLE IF EXISTS bare")
            connection.execute(
                "CREATE TABLE bare (id bigint PRIMARY KEY, message_id text UNIQUE, at timestamptz, body json)"
            )
            connection.commit()
            began = monotonic()
            with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as copy:
                copy.write(rows.getvalue())
            connection.commit()
            took.append(monotonic() - began)
    return len(events) / sorted(took)[COPIES // 2]


def _signals(report: Report, url: str, name: str, *, beside: int) -> None:
    """Request sent to 200 received, each at its moment; `beside` batches leave a second meanwhile."""
    # One stream for both: what leaves later happened later, so that nobody's history has to be folded again.
    stream = Stream(4 if beside else 3)
    # Half a step off, so that signals do not always leave with a batch.
    plan = [((number + 0.5) / SIGNALS, True) for number in range(SIGNALS * SECONDS)]
    plan += [(number / beside, False) for number in range(beside * SECONDS)]
    plan.sort()
    requests = [_post(url, "/v1/track", stream.order()) if is_one else batch(url, stream.mixed) for _, is_one in plan]
    result = load.run(*address_of(url), requests, 24, 2 * SECONDS, due=[at for at, _ in plan])
    took = sorted(
        1000 * seconds for number, seconds in zip(result.numbers, result.latencies, strict=True) if plan[number][1]
    )
    p50, p90, p99 = (took[int(share * len(took))] for share in (0.5, 0.9, 0.99))
    figure = f"p50 {p50:.1f} ms, p90 {p90:.1f}, p99 {p99:.1f}, most {took[-1]:.1f}"
    taken = result.statuses.get(200, 0) == len(requests)
    if not taken:
        figure += f"; {len(requests)} requests, answers {result.statuses}"
    report.add(name, figure, aim="p99 ≤ 100 ms", met=taken and p99 <= 100)


if __name__ == "__main__":
    main()
