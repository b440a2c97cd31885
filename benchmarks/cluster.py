"""Opens over a Valkey Cluster of three nodes against opens over one server, in turns under the same load.

As the warm open of `benchmarks.open`: each request is the first open of another profile, its record acknowledged.
Everything shares this machine, so three nodes have no more cores than one server: this tells what the cluster's client
costs an open, not what more machines bring.
"""

from __future__ import annotations

import os
from itertools import pairwise
from statistics import median

from base.recordstreams import RecordStreams
from benchmarks import load, world
from benchmarks.open import CONNECTIONS, Running, address_of, processor_seconds, requests_of, turn
from benchmarks.report import Report

REQUESTS = 1_000
ROUNDS = 3
WARM_UP = 2_000
RATE = 100.0
"""Opens a second where latency is told: a small part of what either bears."""


def main() -> None:
    """Run both in turns and print the report."""
    report = Report("cluster")
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    with world.world() as one, world.world(cluster=True) as three:
        for place in (one, three):
            world.publish(place, 20, 100)
        count = WARM_UP + 2 * ROUNDS * REQUESTS
        paths = [world.people(place, count, world.now()) for place in (one, three)]
        with Running(one) as one_url, Running(three) as three_url:
            urls = (one_url, three_url)
            for url, mine in zip(urls, paths, strict=True):
                turn(url, iter(mine[:WARM_UP]), WARM_UP, 200.0)
            _at_rate(report, urls, [mine[WARM_UP : WARM_UP + ROUNDS * REQUESTS] for mine in paths])
            _saturated(report, urls, [mine[WARM_UP + ROUNDS * REQUESTS :] for mine in paths])
        recorded = [RecordStreams(place.store).length() for place in (one, three)]
        report.add("records on the streams", f"{recorded[1]:,}", f"one server {recorded[0]:,}")
    report.show()


def _at_rate(report: Report, urls: tuple[str, str], paths: list[list[str]]) -> None:
    """Latency where nothing is in the way: the median round of each."""
    found: tuple[list[load.Result], list[load.Result]] = ([], [])
    for start, end in pairwise(range(0, ROUNDS * REQUESTS + 1, REQUESTS)):
        for url, mine, results in zip(urls, paths, found, strict=True):
            results.append(turn(url, iter(mine[start:end]), REQUESTS, RATE))
    for share in (0.5, 0.99):
        one, three = (median(result.percentile(share) for result in results) for results in found)
        report.add(
            f"open at {RATE:.0f}/s, p{share * 100:.0f}", f"{three:.2f} ms", f"one server {one:.2f} ms", three / one
        )


def _saturated(report: Report, urls: tuple[str, str], paths: list[list[str]]) -> None:
    """As fast as it goes: the median round of each, and the processor time that an open took in the process."""
    found: tuple[list[float], list[float]] = ([], [])
    micros: tuple[list[float], list[float]] = ([], [])
    for start, end in pairwise(range(0, ROUNDS * REQUESTS + 1, REQUESTS)):
        for url, mine, rates, costs in zip(urls, paths, found, micros, strict=True):
            before = processor_seconds(url)
            result = load.run(*address_of(url), requests_of(url, mine[start:end]), CONNECTIONS, 120)
            if set(result.statuses) != {200}:
                raise SystemExit(f"answers were {result.statuses}")
            rates.append(result.per_second)
            costs.append((processor_seconds(url) - before) / REQUESTS * 1e6)
    one, three = map(median, found)
    report.add("opens a second, as fast as they go", f"{three:,.0f}", f"one server {one:,.0f}", three / one)
    one, three = map(median, micros)
    what = "  processor time an open in the process"
    report.add(what, f"{three:.0f} µs", f"one server {one:.0f} µs", three / one)
