"""What growth costs an open: ten thousand people against a million, a hundred live plans; and memory over a long run.

Two whole worlds stand side by side and take turns, so that whatever else the machine does meets both. A small run:
`python -m benchmarks.growth --people 100000 --seconds 60`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from statistics import mean, median

from base import keys
from base.tokens import TokenKeys
from benchmarks import load, world
from benchmarks.open import Running, turn, unique_mb
from benchmarks.report import Report

FEW, MANY = 10_000, 1_000_000
PLANS, CANDIDATES, TREES = 100, 50, 300
RATE = 60.0
"""Opens a second: far from saturation, so that latency is the open's own and not the queue's."""
TURNS, TURN_REQUESTS = 6, 600
SECONDS = 600.0
SAMPLE_SECONDS = 10.0
WITHIN = 1.2
FLAT_MB = 4.0
"""Memory may differ by so much between the second and the last third of a run: a cache's rounding, not a leak."""


def main(people: int = MANY, seconds: float = SECONDS) -> None:
    """Run both parts and print the report."""
    report = Report("growth")
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    with ExitStack() as stack:
        small, large = (_Shop(stack, count) for count in (FEW, people))
        _compare(report, small, large)
        _steady(report, large, seconds)
    report.show()


class _Shop:
    """A world with so many people, its plans published, and a render process."""

    def __init__(self, stack: ExitStack, people: int) -> None:
        self.place = stack.enter_context(world.world())
        self.people = people
        world.publish(self.place, CANDIDATES, TREES, PLANS)
        moment = world.now()
        world.people(self.place, people, moment)
        stack.enter_context(world.emptied(self.place))
        self.url = stack.enter_context(Running(self.place))
        self._paths = _paths(TokenKeys.from_settings(self.place.settings), people, moment)

    def answered(self, count: int) -> load.Result:
        """So many first opens of people anywhere in the store, over all plans."""
        return turn(self.url, self._paths, count, RATE)

    @property
    def store_mb(self) -> float:
        """Memory of the store."""
        return int(self.place.store.info("memory")["used_memory"]) / 2**20


def _paths(tokens: TokenKeys, people: int, moment: datetime) -> Iterator[str]:
    chance = random.Random(3)
    for occurrence in itertools.count(1):
        campaign = world.CAMPAIGN + occurrence % PLANS
        yield world.path_of(tokens, chance.randint(1, people), occurrence, moment, campaign)


def _compare(report: Report, small: _Shop, large: _Shop) -> None:
    took: dict[int, list[load.Result]] = {small.people: [], large.people: []}
    for shop in (small, large):
        # Every plan is read, and every offer's picture drawn, before anything is measured.
        shop.answered(4 * PLANS)
    for _ in range(TURNS):
        for shop in (small, large):
            took[shop.people].append(shop.answered(TURN_REQUESTS))
    for share in (0.5, 0.99):
        few, many = (median(result.percentile(share) for result in results) for results in took.values())
        size = f"{PLANS} plans, {CANDIDATES} candidates × {TREES} trees"
        report.add(
            f"open, {size}: p{share * 100:.0f}, {large.people:,} people",
            f"{many:.2f} ms",
            f"{small.people:,} people {few:.2f} ms",
            many / few,
            f"≤ {WITHIN}" if share == 0.5 else "",
            many / few <= WITHIN if share == 0.5 else None,
        )
    length = large.place.store.strlen(keys.state(1))
    report.add("the store's memory", f"{large.store_mb:,.0f} MB", f"{small.store_mb:,.0f} MB")
    report.add("a state", f"{length:,} bytes")


def _steady(report: Report, shop: _Shop, seconds: float) -> None:
    """Opens at a steady rate, the process's memory read every few seconds."""
    samples = []
    for _ in range(max(3, round(seconds / SAMPLE_SECONDS))):
        shop.answered(round(RATE * SAMPLE_SECONDS))
        samples.append(unique_mb(shop.url))
    third = len(samples) // 3
    grown = mean(samples[-third:]) - mean(samples[third : 2 * third])
    report.add(
        f"memory of the render process after {len(samples) * SAMPLE_SECONDS:,.0f} s, unique",
        f"{samples[-1]:.0f} MB",
        aim="≤ 200 MB",
        met=samples[-1] <= 200,
    )
    report.add("grown since the second third", f"{grown:+.1f} MB", aim=f"≤ {FLAT_MB:.0f} MB", met=grown <= FLAT_MB)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=MANY)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    main(given.people, given.seconds)
