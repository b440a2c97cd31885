"""Headline tests of Upworthy (Upworthy Research Archive): does the alarm see broken randomisation, does exploring pay?

Each test showed several packages to random readers. From week 25 of 2013 to week 2 of 2014 a web cache stood before the
randomiser, and arms were served in blocks: the archive's authors ask not to analyse those tests, and an alarm on arm
counts must see them. The others are bandits whose observed click rates are taken for the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from base.errors import InvalidInput
from campaigns.sampleratio import ALPHA, Ratio, check
from render.arbitration import Policy
from render.choice import distribution
from workers.evaluation import Interval
from workers.evaluation_sets import tables
from workers.evaluation_sets.findings import Finding, least, most, reported

BROKEN_WEEKS: Final = (201325, 201402)
BUDGET: Final = 20_000
BATCH: Final = 200
TESTS: Final = 1_500
BAGS: Final = 32
PRIOR_WEIGHT: Final = 100.0
"""Showings that what is known of the whole test counts for, beside those of an arm."""

SHARED: Final = 5.0
"""How much alike the bags are: each differs from the evidence as if there were so many times more of it."""

USUAL_RATE: Final = 0.013
"""Clicks a showing of all tests together, and how many showings it counts for in a test that has just begun."""
USUAL_WEIGHT: Final = 200.0

THOMPSON: Final = Policy(kind="thompson", top=100)

Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Trial:
    """One test: its week (year and week in six digits), and impressions and clicks of each package."""

    week: int
    impressions: Whole
    clicks: Whole

    @property
    def is_broken(self) -> bool:
        """Whether it ran while the cache broke the randomisation."""
        return BROKEN_WEEKS[0] <= self.week <= BROKEN_WEEKS[1]


def read(data: Path) -> tuple[Trial, ...]:
    """The tests with at least two packages that were shown, in the order of their ids."""
    path = tables.found(data, "upworthy", "upworthy_dev", "upworthy-archive-exploratory-packages-03.12.2020")
    table = tables.read(path, ("clickability_test_id", "test_week", "impressions", "clicks"))
    names, week, shown, clicked = (table[name].to_numpy(zero_copy_only=False) for name in table.column_names)
    order = np.argsort(names.astype(str), kind="stable")
    order = order[shown[order] > 0]
    starts = np.flatnonzero(np.r_[True, names[order][1:] != names[order][:-1]])
    return tuple(
        Trial(int(week[rows].min()), shown[rows].astype(np.int64), clicked[rows].astype(np.int64))
        for rows in np.split(order, starts[1:])
        if len(rows) > 1
    )


def judged(data: Path) -> list[Finding]:
    """The alarm in and outside the broken weeks, then the bandits."""
    trials = read(data)
    if not trials:
        raise InvalidInput("data", f"holds no test with two packages that were shown: {data}")
    return [*_alarms(trials), *_bandits([trial for trial in trials if not trial.is_broken])]


def _alarms(trials: Sequence[Trial]) -> list[Finding]:
    question = "sample-ratio alarm"
    findings = []
    for is_broken, when in ((True, "in the broken weeks"), (False, "elsewhere")):
        chosen = [trial for trial in trials if trial.is_broken == is_broken]
        if not chosen:
            continue
        ratios = [_ratio(trial) for trial in chosen]
        # The archive holds final counts only, so this is the one look at the end; the other alarm is good at any look.
        final = np.array([float(ratio.p_value < ALPHA) for ratio in ratios])
        any_look = np.array([float(ratio.is_broken) for ratio in ratios])
        share = f"alarms in {len(chosen)} tests {when}"
        last, found = f"{share}, one look at the end", _share(final)
        findings.append(least(question, last, found, 0.60) if is_broken else most(question, last, found, 0.01))
        findings.append(reported(question, f"{share}, good at any look", _share(any_look)))
    return findings


def _ratio(trial: Trial) -> Ratio:
    names = [str(arm) for arm in range(len(trial.impressions))]
    counts = dict(zip(names, trial.impressions.tolist(), strict=True))
    return check(counts, dict.fromkeys(names, 1.0))


def _share(alarms: Array) -> Interval:
    low, high = _drawn_ratio(alarms, np.ones(len(alarms)))
    return Interval(float(alarms.mean()), low, high)


def _bandits(trials: Sequence[Trial]) -> list[Finding]:
    question = "exploring: headline tests as bandits, feedback in batches of 200"
    random = np.random.default_rng(0)
    chosen = [trials[place] for place in random.permutation(len(trials))[:TESTS].tolist()]
    budgets = np.array([min(int(trial.impressions.sum()), BUDGET) for trial in chosen], dtype=np.float64)
    rates = [trial.clicks / trial.impressions for trial in chosen]
    equal = budgets * [float(rate.mean()) for rate in rates]
    oracle = budgets * [float(rate.max()) for rate in rates]
    ours = np.array([_earned(rate, int(budget), random) for rate, budget in zip(rates, budgets, strict=True)])
    low, high = _drawn_ratio(ours - equal, oracle - equal)
    share = float((ours - equal).sum() / max((oracle - equal).sum(), 1e-9))
    return [
        least(question, "share of the oracle's gain over an equal split", Interval(share, low, high), 0.64),
        reported(question, "clicks per 1,000, equal split", 1000 * float(equal.sum() / budgets.sum())),
        reported(question, "clicks per 1,000, Thompson sampling", 1000 * float(ours.sum() / budgets.sum())),
        reported(question, "clicks per 1,000, oracle", 1000 * float(oracle.sum() / budgets.sum())),
    ]


def _earned(rates: Array, budget: int, random: np.random.Generator) -> float:
    """The clicks expected of what the product's Thompson sampling shows, arm by arm, in one test."""
    arms = len(rates)
    shown, clicked = np.zeros(arms), np.zeros(arms)
    earned = 0.0
    for start in range(0, budget, BATCH):
        batch = min(BATCH, budget - start)
        usual = (clicked.sum() + USUAL_WEIGHT * USUAL_RATE) / (shown.sum() + USUAL_WEIGHT)
        taken, left = usual * PRIOR_WEIGHT + clicked, (1 - usual) * PRIOR_WEIGHT + shown - clicked
        bags = random.beta(taken * SHARED, left * SHARED, size=(BAGS, arms))
        ranks = (taken / (taken + left)).tolist()
        order = sorted(range(arms), key=lambda arm: -ranks[arm])
        chances = distribution(THOMPSON, [ranks[arm] for arm in order], bags[:, order].tolist())
        counts = np.zeros(arms, dtype=np.int64)
        counts[order] = random.multinomial(batch, chances)
        earned += float(counts @ rates)
        shown += counts
        clicked += random.binomial(counts, rates)
    return earned


def _drawn_ratio(above: Array, below: Array) -> tuple[float, float]:
    """The 95 % interval of a ratio of sums over tests."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(500):
        chosen = random.integers(0, len(above), len(above))
        drawn.append(float(above[chosen].sum() / max(below[chosen].sum(), 1e-9)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
