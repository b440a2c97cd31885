"""The small Open Bandit Dataset (Saito et al., arXiv 2008.07146): is the estimator right, and does it refuse in time?

A fashion shop showed items of a campaign by chance (random) and by Bernoulli Thompson sampling (bts), and logged the
true probability of each. What choosing by chance earns is told from the log of bts, where it is known what must come
out: inverse propensity scoring has no freedom. One weight in the women's log is 21,739, so nothing may be told there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from base.errors import InvalidInput
from workers.evaluation import Array, Interval
from workers.evaluation_sets import tables
from workers.evaluation_sets.findings import Finding, reported, within
from workers.policyvalue import MIN_EFFECTIVE, Log, PoorOverlap, ips, overlap, snips, terms

CAMPAIGNS: Final = ("all", "men", "women")
ITEMS: Final = {"all": 80, "men": 34, "women": 46}
FIXED_PERCENT: Final = {"all": 0.2360, "men": 0.3009, "women": 0.7438}
"""What inverse propensity scoring gives for the 10,000 rows of each campaign, in clicks per hundred."""


@dataclass(frozen=True)
class Shown:
    """A log of one campaign: whether each item shown was clicked, and the probability with which it was shown."""

    clicks: Array
    propensities: Array

    def of_chance(self, items: int) -> Log:
        """The log as one of choosing by chance among so many items; each row stands for itself."""
        rows = len(self.clicks)
        return Log(
            persons=np.arange(rows),
            rewards=self.clicks,
            propensities=self.propensities,
            target=np.full(rows, 1 / items),
            unsupported=np.zeros(rows),
        )


def read(data: Path, policy: str, campaign: str) -> Shown | None:
    """A log, None where the folder does not hold it."""
    try:
        path = tables.found(data, f"obd_{policy}_{campaign}", f"{policy}/{campaign}/{campaign}")
    except InvalidInput:
        return None
    table = tables.read(path, ("click", "propensity_score"))
    clicks, propensities = (table[name].to_numpy().astype(np.float64) for name in table.column_names)
    return Shown(clicks, propensities)


def judged(data: Path) -> list[Finding]:
    """The worth of choosing by chance, told from the log of bts, for each campaign the folder holds."""
    findings: list[Finding] = []
    for campaign in CAMPAIGNS:
        logged = read(data, "bts", campaign)
        if logged is not None:
            findings += _judged(campaign, logged, read(data, "random", campaign))
    if not findings:
        raise InvalidInput("data", f"holds no log of bts, such as obd_bts_men.parquet: {data}")
    return findings


def _judged(campaign: str, logged: Shown, by_chance: Shown | None) -> list[Finding]:
    question = f"choosing by chance, told from the log of bts: {campaign}"
    log = logged.of_chance(ITEMS[campaign])
    own = terms(log, "ips")
    percent = 100 * float(own.numerators.sum() / own.denominators.sum())
    fixed = FIXED_PERCENT[campaign]
    found = overlap(log)
    findings = [
        within(question, "IPS, clicks per hundred", percent, fixed - 0.00005, fixed + 0.00005),
        reported(question, "effective sample size", found.effective),
        reported(question, "largest weight", found.largest_weight),
    ]
    try:
        findings += [
            reported(question, f"{name}, per hundred, with interval", _percent(estimate(log).value))
            for name, estimate in (("IPS", ips), ("SNIPS", snips))
        ]
        told = 1.0
    except PoorOverlap:
        told = 0.0
    sound = float(found.effective >= MIN_EFFECTIVE)
    findings.append(within(question, "an interval is told (1) or refused (0)", told, sound, sound))
    if by_chance is not None:
        findings.append(reported(question, "clicks per hundred when it ran", 100 * float(by_chance.clicks.mean())))
    return findings


def _percent(found: Interval) -> Interval:
    return Interval(100 * found.value, 100 * found.low, 100 * found.high)
