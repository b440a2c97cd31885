"""Strangers against the endpoint: a flood of bad tokens beside good traffic, and a million requests of a fuzzer.

Good traffic comes at a tenth of saturation, each request the first open of another delivery; bad tokens at five times
its rate. The fuzzer sends what `tests/render/test_abuse.py` sends, in batches, until it has sent enough or its time is
up; memory and log are looked at after its first batch and at the end.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator

from base.clock import monotonic
from benchmarks import load, world
from benchmarks.burst import AGENT, PEOPLE, beside_the_server
from benchmarks.open import address_of
from benchmarks.report import Report
from tests.render.test_abuse import BATCH, Stranger, private_kb, requests
from tests.serving import Served

CONNECTIONS = 64
SATURATING = 3_000
BAD_TO_GOOD = 5
FUZZED = 1_000_000


def main(seconds: float = 30.0, fuzz_seconds: float = 3600.0) -> None:
    """Run both parts and print the report: each flood for `seconds`, the fuzzer for at most `fuzz_seconds`."""
    report = Report("abuse")
    with beside_the_server() as (place, served):
        opens = world.opens(place, PEOPLE, world.now())
        _flood(report, served.url, opens, seconds)
        _fuzz(report, served, next(opens).removeprefix("/o/").partition(".")[0], fuzz_seconds)
    report.show()


def _flood(report: Report, url: str, opens: Iterator[str], seconds: float) -> None:
    host, port = address_of(url)

    def good() -> bytes:
        return load.get(host, port, next(opens), AGENT)

    def bad() -> bytes:
        return load.get(host, port, f"/o/{secrets.token_urlsafe(40)}.jpg", AGENT)

    load.run(host, port, [good() for _ in range(1_000)], 16, 60)
    saturation = load.run(host, port, [good() for _ in range(SATURATING)], 16, 60).per_second
    rate = saturation / 10
    count = round(rate * seconds)
    alone = load.run(host, port, [good() for _ in range(count)], CONNECTIONS, seconds + 5, rate)
    every = BAD_TO_GOOD + 1
    mixed = [good() if number % every == 0 else bad() for number in range(count * every)]
    flooded = load.run(host, port, mixed, CONNECTIONS, seconds + 5, rate * every)
    beside = load.Result(latencies=[
        latency for number, latency in zip(flooded.numbers, flooded.latencies, strict=True) if number % every == 0
    ])  # fmt: skip
    ratio = beside.percentile(0.99) / alone.percentile(0.99)
    report.add(
        f"good opens at {rate:,.0f}/s beside {BAD_TO_GOOD} × as many bad tokens: p99",
        f"{beside.percentile(0.99):.1f} ms", f"alone {alone.percentile(0.99):.1f} ms", ratio, "≤ 2", ratio <= 2,
    )  # fmt: skip
    others = sum(alone.statuses.values()) + sum(flooded.statuses.values()) - alone.statuses[200] - flooded.statuses[200]
    report.add("  answers that were not 200", str(others), aim="0", met=others == 0)


def _fuzz(report: Report, served: Served, valid: str, seconds: float) -> None:
    stranger, statuses = Stranger(served.url), Counter[int]()
    began, batch, memory, log = monotonic(), 0, 0, 0
    while batch * BATCH < FUZZED and monotonic() - began < seconds:
        statuses.update(stranger.send(request) for request in requests(valid, batch))
        batch += 1
        if batch == 1:
            memory, log = private_kb(served), served.log.stat().st_size
    stranger.close()
    grown, written = (private_kb(served) - memory) / 1024, served.log.stat().st_size - log
    broken = sum(count for status, count in statuses.items() if status >= 500)
    told = ", ".join(f"{status or 'hung up'}: {count:,}" for status, count in sorted(statuses.items()))
    report.add(f"{batch * BATCH:,} fuzzed requests", told, aim="no 5xx", met=broken == 0)
    report.add("  growth of memory", f"{grown:.1f} MB", aim="≤ 16 MB", met=grown <= 16)
    report.add("  growth of the log", f"{written:,} bytes", aim="0", met=written == 0)


if __name__ == "__main__":
    main()
