"""Bulk work: a year of a grocer's purchases imported, and many people's states made again beside opens.

- *Import*: as many purchases, orders and households as the Complete Journey data has (1,469,307 lines, 155,848 baskets,
  2,469 households; R package completejourney), drawn here, as JSON lines by `latebind import events`, from the start
  of the process to its end.
- *Rebuild*: `latebind rebuild` over people of two events each. In turns it is held, and opens at a rate are timed
  alone, beside a process that only counts, and beside it.

A small run: `python -m benchmarks.bulk --orders 15000 --people 50000`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from base.clock import monotonic
from base.environment import environment
from benchmarks import world
from benchmarks.load import Result
from benchmarks.open import Running, turn
from benchmarks.report import Report

ORDERS, LINES, HOUSEHOLDS, CATEGORIES, DAYS = 155_848, 1_469_307, 2_469, 300, 365
IMPORT_SECONDS, IMPORT_MB = 180.0, 2_000.0
PEOPLE = 200_000
MOST_SECONDS = 3_600.0
REBUILT, REBUILD_SECONDS = 1_000_000, 600.0
TURNS, TURN_REQUESTS, RATE = 4, 600, 60.0
READERS, FIRST = 2_000, 10_000_000
"""People whose mails are opened, far from those whose states are made again."""
WITHIN: Final = 1.2


def main(orders: int = ORDERS, people: int = PEOPLE) -> None:
    """Run it and print the report."""
    report = Report("bulk")
    with world.world(database=True) as place:
        _import(report, place, orders)
    with world.world(database=True) as place:
        # Several programs share the host, so none is pinned to a core (docs/deploy.md).
        place.settings = replace(place.settings, pin_cpus=False)
        _rebuild(report, place, people)
    report.show()


def _import(report: Report, place: world.World, orders: int) -> None:
    path = _written(place.folder / "orders.jsonl", _orders(orders))
    seconds, peak = _ran(place, "import", "events", str(path))
    lines = LINES * orders // ORDERS
    aim = IMPORT_SECONDS * orders / ORDERS
    what = f"{lines:,} purchases in {orders:,} orders imported, states built"
    report.add(what, f"{seconds:.0f} s", aim=f"≤ {aim:.0f} s", met=seconds <= aim)
    report.add("  orders a second", f"{orders / seconds:,.0f}")
    report.add("  memory of the import at most", f"{peak:,.0f} MB", aim=f"≤ {IMPORT_MB:,.0f} MB", met=peak <= IMPORT_MB)


def _orders(count: int) -> Iterator[dict[str, Any]]:
    """Orders in the order in which they happened; some households shop more often than others."""
    chance = random.Random(11)
    shares = [chance.gammavariate(1.5, 1.0) for _ in range(HOUSEHOLDS)]
    start = world.now() - timedelta(days=DAYS)
    left = LINES * count // ORDERS
    for number in range(count):
        at = start + timedelta(seconds=DAYS * 86_400 * number / count)
        household = chance.choices(range(HOUSEHOLDS), shares)[0] if number >= HOUSEHOLDS else number
        # One line at least is left for each order to come, and all are sold with the last.
        further = count - number - 1
        drawn = max(1, round(chance.expovariate((further + 1) / left)))
        sold = min(drawn, left - further) if further else left
        left -= sold
        products = [
            {"product_id": f"p{product}", "category": f"Category {product % CATEGORIES}", "price": 2.5, "quantity": 1}
            for product in (chance.randint(1, 20_000) for _ in range(sold))
        ]
        yield _call(
            f"h{household}", f"o{number}", at.isoformat(), "Order Completed",
            {"order_id": f"o{number}", "total": 2.5 * len(products), "products": products},
        )  # fmt: skip


def _call(user: str, name: str, at: str, event: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "track", "userId": user, "messageId": name, "timestamp": at, "event": event} | {
        "properties": properties
    }


def _written(path: Path, calls: Iterator[dict[str, Any]]) -> Path:
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for call in calls:
            file.write(encode(call) + b"\n")
    return path


def _command(place: world.World, *words: str) -> subprocess.Popen[bytes]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    command = [sys.executable, "-m", "workers.cli", *words]
    log = (place.folder / "command.log").open("wb")
    with log:
        return subprocess.Popen(command, env=outer | environment(place.settings), stdout=log, stderr=log)


def _ran(place: world.World, *words: str) -> tuple[float, float]:
    """Run a command to its end: seconds, and the most memory it had, in MB."""
    began = monotonic()
    process = _command(place, *words)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((place.folder / "command.log").read_text()[-2_000:])
    return monotonic() - began, used.ru_maxrss / 1024


def _rebuild(report: Report, place: world.World, people: int) -> None:
    path = _written(place.folder / "people.jsonl", _lives(people))
    _ran(place, "import", "events", str(path))
    world.publish(place, 20, 100)
    paths = world.opens(place, READERS, world.now(), FIRST)
    took: list[tuple[Result, Result, Result]] = []
    held = 0.0
    with Running(place) as url, world.emptied(place):
        turn(url, paths, TURN_REQUESTS, RATE / 2)
        began = monotonic()
        process = _command(place, "rebuild")
        try:
            for _ in range(TURNS):
                process.send_signal(signal.SIGSTOP)
                stopped = monotonic()
                alone = turn(url, paths, TURN_REQUESTS, RATE)
                with _counting(place):
                    counting = turn(url, paths, TURN_REQUESTS, RATE)
                process.send_signal(signal.SIGCONT)
                held += monotonic() - stopped
                beside = turn(url, paths, TURN_REQUESTS, RATE)
                if process.poll() is not None:
                    break  # For a part of these opens nothing was beside them.
                took.append((alone, counting, beside))
            process.wait(MOST_SECONDS)
        finally:
            process.kill()
        seconds = monotonic() - began - held
    if not took:
        raise SystemExit("the rebuild ended before the first opens did: take more people")
    if process.returncode or ", 0 different," not in (place.folder / "command.log").read_text():
        raise SystemExit((place.folder / "command.log").read_text()[-2_000:])
    whole = seconds * REBUILT / people
    report.add(
        f"{REBUILT:,} people rebuilt, by what {people:,} took beside opens", f"{whole:,.0f} s",
        aim=f"≤ {REBUILD_SECONDS:.0f} s", met=whole <= REBUILD_SECONDS,
    )  # fmt: skip
    for share in (0.5, 0.99):
        alone_ms, counting_ms, beside_ms = (
            median(result.percentile(share) for result in results) for results in zip(*took, strict=True)
        )
        ratio = beside_ms / alone_ms
        report.add(
            f"open at {RATE:.0f}/s beside it: p{share * 100:.0f}", f"{beside_ms:.1f} ms", f"alone {alone_ms:.1f} ms",
            ratio, f"≤ {WITHIN}", ratio <= WITHIN,
        )  # fmt: skip
        report.add(
            "  beside a process that only counts, and gives way as much", f"{counting_ms:.1f} ms",
            f"alone {alone_ms:.1f} ms", counting_ms / alone_ms,
        )  # fmt: skip


@contextmanager
def _counting(place: world.World) -> Iterator[None]:
    """Beside a process that waits for nothing and touches nothing: what any work at all costs on this machine."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, place.settings.niceness)
        yield
    finally:
        process.kill()
        process.wait(10)


def _lives(people: int) -> Iterator[dict[str, Any]]:
    """Who somebody is, then an order of theirs: two events."""
    at = (world.now() - timedelta(days=20)).isoformat()
    for person in range(people):
        traits = {"email": f"u{person}@example.com", "first_name": "Ada", "city": "Bonn"}
        identify = {"type": "identify", "userId": f"u{person}", "messageId": f"i{person}", "timestamp": at}
        yield identify | {"traits": traits}
        line = {"product_id": "p1", "category": f"Category {person % CATEGORIES}", "price": 20.0, "quantity": 1}
        bought = {"order_id": f"o{person}", "total": 20.0, "products": [line]}
        yield _call(f"u{person}", f"b{person}", at, "Order Completed", bought)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--people", type=int, default=PEOPLE)
    given = parser.parse_args()
    main(given.orders, given.people)
