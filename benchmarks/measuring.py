"""Whether what is measured is true: a simulator with planted truth, fixed seeds, no server.

Off-policy values, lifts read every day, groups that lose people. The same simulations run smaller in the tests.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.report import Report
from campaigns import lift, sampleratio
from campaigns.lift import Compared, Sample
from tests.campaigns import customers
from tests.workers.test_policyvalue import World, a_log, a_world
from workers import policyvalue
from workers.evaluation import Array
from workers.policyvalue import Estimate, Log, PoorOverlap

WORLDS = 10
LOGS = 50
"""Logs of each world: 500 intervals an estimator."""
CAMPAIGNS = 1_000
DAYS = 60
ESTIMATORS: dict[str, Callable[[Log, int], Estimate]] = {
    "IPS": policyvalue.ips, "SNIPS": policyvalue.snips, "doubly robust": policyvalue.doubly_robust,
}  # fmt: skip


def main() -> None:
    """Simulate, print the table, keep the JSON."""
    report = Report("measuring")
    for name, estimator in ESTIMATORS.items():
        _coverage(report, name, estimator)
    _gate(report)
    _greedy(report)
    for what, people, rate, has_money in (
        ("orders, halves", (1_500, 1_500), 0.3, False), ("orders, 5 % held out", (19_000, 1_000), 0.05, False),
        ("revenue, 10 % held out", (4_500, 500), 0.05, True), ("revenue, 30 % held out", (14_000, 6_000), 0.02, True),
    ):  # fmt: skip
        _false_alarms(report, what, people, rate, has_money)
    for what, people, rate, has_money in (
        ("orders, halves", (1_500, 1_500), 0.3, False), ("orders, a fifth held out", (16_000, 4_000), 0.08, False),
        ("orders, 5 % held out", (19_000, 1_000), 0.05, False), ("revenue, 10 % held out", (4_500, 500), 0.05, True),
    ):  # fmt: skip
        _adjusted_alarms(report, what, people, rate, has_money)
    _planted(report)
    _planted_adjusted(report)
    _groups(report)
    report.show()


def _coverage(report: Report, name: str, estimator: Callable[[Log, int], Estimate]) -> None:
    inside = refused = 0
    for number in range(WORLDS):
        world = a_world(floor=0.15, seed=number)
        for seed in range(LOGS):
            try:
                found = estimator(a_log(world, 600, 1_000 * number + seed, model=True), seed)
            except PoorOverlap:
                refused += 1
                continue
            inside += found.value.low <= world.truth <= found.value.high
    told = WORLDS * LOGS - refused
    report.add(
        f"{name}: truth inside the 95 % interval", f"{inside} of {told}, {refused} refused", aim="≥ 92.5 %",
        met=inside >= 0.925 * told,
    )  # fmt: skip


def _gate(report: Report) -> None:
    """A policy passes whose gain has a lower bound that is not below a tenth of the present value."""
    stopped = worse = passed = better = 0
    for number in range(60):
        world = a_world(floor=0.15, seed=100 + number)
        reverse = World(world.chances, world.logged, _worst(world))
        for policy in (world, reverse):
            gain = policy.truth - policy.present
            found = policyvalue.snips(a_log(policy, 1_500, number), number).gain
            passes = found.low >= -0.1 * policy.present
            if gain <= -0.2 * policy.present:
                worse, stopped = worse + 1, stopped + (not passes)
            if gain >= 0.2 * policy.present:
                better, passed = better + 1, passed + passes
    report.add(
        "worse policies stopped by the bound", f"{stopped} of {worse}", aim="≥ 95 %", met=stopped >= 0.95 * worse
    )
    report.add(
        "clearly better policies passed", f"{passed} of {better}", aim="≥ 80 %", met=passed >= 0.8 * better
    )  # fmt: skip


def _worst(world: World) -> Array:
    """The policy that mostly shows what is taken least."""
    kinds, offers = len(world.chances), len(world.chances[0])
    target = np.full((kinds, offers), 0.02)
    target[np.arange(kinds), world.chances.argmin(axis=1)] = 1 - 0.02 * (offers - 1)
    return target


def _greedy(report: Report) -> None:
    refused = 0
    for seed in range(100):
        try:
            policyvalue.snips(a_log(a_world(floor=0.004), 1_500, seed))
        except PoorOverlap:
            refused += 1
    report.add("logs with too little exploration refused", f"{refused} of 100", aim="≥ 95", met=refused >= 95)


def _false_alarms(report: Report, what: str, people: tuple[int, int], rate: float, has_money: bool) -> None:
    random = np.random.default_rng(5)
    ours = plain = 0
    for _ in range(CAMPAIGNS):
        days = _days(random, people, (rate, rate), has_money)
        ours += any((one := _lift(pair)) is not None and one.verdict != "open" for pair in days)
        plain += any(_plain(pair) for pair in days)
    report.add(
        f"A/A, {what}: called an effect in {DAYS} daily looks", f"{ours} of {CAMPAIGNS}", f"{plain} (two errors)",
        aim="≤ 5 %", met=ours <= 0.05 * CAMPAIGNS,
    )  # fmt: skip


def _planted(report: Report) -> None:
    """A lift of two points on a rate of eight: held by every look's interval, found by the last."""
    random = np.random.default_rng(6)
    held = found = 0
    for _ in range(CAMPAIGNS):
        days = _days(random, (16_000, 4_000), (0.10, 0.08), False)
        lifts = [(day, _lift(pair)) for day, pair in enumerate(days, 1)]
        held += all(one is None or one.low <= 0.02 * day / DAYS <= one.high for day, one in lifts)
        last = lifts[-1][1]
        found += last is not None and last.verdict == "gain"
    report.add(
        "planted lift inside at every look", f"{held} of {CAMPAIGNS}", aim="≥ 95 %", met=held >= 0.95 * CAMPAIGNS
    )
    report.add("planted lift of a quarter found on 20,000 people", f"{found} of {CAMPAIGNS}", aim="≥ 80 %",
               met=found >= 0.8 * CAMPAIGNS)  # fmt: skip


def _adjusted_alarms(report: Report, what: str, people: tuple[int, int], rate: float, has_money: bool) -> None:
    random = np.random.default_rng(8)
    ours = plain = 0
    for _ in range(CAMPAIGNS):
        looks = customers.by_day(random, people, (rate, rate), days=DAYS, has_money=has_money)
        found = [_compared(pair) for pair in looks]
        ours += any(one.lift is not None and one.lift.verdict != "open" for one in found)
        plain += any(one.plain is not None and one.plain.verdict != "open" for one in found)
    report.add(
        f"A/A, {what}, past orders known: called an effect", f"{ours} of {CAMPAIGNS}", f"{plain} (not adjusted)",
        aim="≤ 5 %", met=ours <= 0.05 * CAMPAIGNS,
    )  # fmt: skip


def _planted_adjusted(report: Report) -> None:
    """The same lift among people of whom is known what they ordered before."""
    random = np.random.default_rng(9)
    held = found = plain = 0
    narrowed = []
    for _ in range(CAMPAIGNS):
        looks = [_compared(pair) for pair in customers.by_day(random, (16_000, 4_000), (0.10, 0.08), days=DAYS)]
        held += all(
            one.lift is None or one.lift.low <= 0.02 * day / DAYS <= one.lift.high for day, one in enumerate(looks, 1)
        )
        last = looks[-1]
        found += last.lift is not None and last.lift.verdict == "gain"
        plain += last.plain is not None and last.plain.verdict == "gain"
        narrowed.append(last.narrowed)
    report.add(
        "planted lift inside at every look, past orders known", f"{held} of {CAMPAIGNS}", aim="≥ 95 %",
        met=held >= 0.95 * CAMPAIGNS,
    )  # fmt: skip
    report.add(
        "planted lift of a quarter found on 20,000 people, past orders known", f"{found} of {CAMPAIGNS}",
        f"{plain} (not adjusted)", aim="≥ 80 %", met=found >= 0.8 * CAMPAIGNS,
    )  # fmt: skip
    report.add("by how much adjusting narrows the interval", f"{np.mean(narrowed):.1%}")


def _groups(report: Report) -> None:
    random = np.random.default_rng(7)
    shares = {"a": 0.5, "b": 0.5}
    alarms = sum(
        any(
            sampleratio.check({"a": int(one), "b": 500 * day - int(one)}, shares).is_broken
            for day, one in enumerate(np.cumsum(random.binomial(500, 0.5, DAYS)), 1)
        )
        for _ in range(CAMPAIGNS)
    )
    report.add(
        f"whole groups called broken in {DAYS} looks", f"{alarms} of {CAMPAIGNS}", aim="≤ 0.1 %", met=alarms <= 1
    )
    for people in (10_000, 20_000, 30_000):
        found = sum(
            sampleratio.check(
                {"a": int(random.binomial(people, 0.5)), "b": int(random.binomial(people, 0.5 * 0.95))}, shares
            ).is_broken
            for _ in range(CAMPAIGNS)
        )
        report.add(f"a twentieth of one arm lost, {people:,} people an arm: alarm", f"{found / CAMPAIGNS:.0%}")


def _days(
    random: np.random.Generator, people: tuple[int, int], rates: tuple[float, float], has_money: bool
) -> list[tuple[Sample, Sample]]:
    """Two groups at the end of each day: people order on some day, or never."""
    groups = []
    for size, rate in zip(people, rates, strict=True):
        day = random.integers(0, DAYS, size)
        amount = np.where(random.random(size) < rate, random.lognormal(3.5, 0.8, size) if has_money else 1.0, 0.0)
        columns = [
            np.cumsum(np.bincount(day, weights=column, minlength=DAYS)) for column in (amount, amount**2, amount > 0)
        ]
        groups.append(
            [Sample(size, total, squares, int(active)) for total, squares, active in zip(*columns, strict=True)]
        )
    return list(zip(*groups, strict=True))


def _lift(pair: tuple[Sample, Sample]) -> lift.Lift | None:
    return _compared(pair).lift


def _compared(pair: tuple[Sample, Sample]) -> Compared:
    return lift.compare(("a", pair[0]), ("b", pair[1]))


def _plain(pair: tuple[Sample, Sample]) -> bool:
    """What an ordinary 95 % interval, looked at daily under the same conditions, would have said."""
    one = _lift(pair)
    if one is None:
        return False
    error = (one.high - one.low) / 2 / lift.standard_errors(pair[0].active + pair[1].active)
    return abs(one.difference) > 1.96 * error


if __name__ == "__main__":
    main()
