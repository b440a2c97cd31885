"""How much of a loss is won back: what duplicates cost, what finding them brings, and the share, each with an interval.

Households are drawn with all their opens, and seeds with all their households, for a household that has a duplicate
with one seed has none with the next. A share is told only where the loss is: whoever divides by what may be nothing can
print whatever they like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from base.errors import InvalidInput
from workers.evaluation import DRAWS, Array, Interval, Whole

Matrix = np.ndarray[Any, np.dtype[np.float64]]
SEED: Final = 0


@dataclass(frozen=True)
class Recovery:
    """`loss`: the truth minus duplicates left apart; `regained`: found minus left apart. `share` is None where the
    interval of the loss holds 0."""

    loss: Interval
    regained: Interval
    share: Interval | None


def recovery(clean: Array, apart: Matrix, found: Matrix, owners: Whole, draws: int = DRAWS) -> Recovery:
    """Compare a figure of each open in three arms: `clean` has a number an open, the others a row a seed.

    `owners` says whose each open is. Figures that are better when smaller are told alike: both differences turn their
    sign and the share does not. Raises InvalidInput where there are no opens.
    """
    if not len(clean):
        raise InvalidInput("data", "holds no open to compare arms by")
    _, owner = np.unique(owners, return_inverse=True)
    count = np.bincount(owner).astype(np.float64)
    lost, won = (_by_owner(one, owner, len(count)) for one in (clean[None, :] - apart, found - apart))
    random = np.random.default_rng(SEED)
    drawn = np.empty((draws, 2))
    for draw in range(draws):
        weights = np.bincount(random.integers(0, len(count), len(count)), minlength=len(count))
        seeds = random.integers(0, len(apart), len(apart))
        drawn[draw] = [(one[seeds] @ weights).mean() / (weights @ count) for one in (lost, won)]
    loss, regained = (
        Interval(float(one.sum() / count.sum() / len(one)), *_ends(drawn[:, column]))
        for column, one in enumerate((lost, won))
    )
    if loss.low <= 0 <= loss.high:
        return Recovery(loss, regained, None)
    # A draw without any loss has no share; there are hardly any where the interval of the loss does not hold 0.
    has = drawn[:, 0] != 0
    share = Interval(regained.value / loss.value, *_ends(drawn[has, 1] / drawn[has, 0]))
    return Recovery(loss, regained, share)


def _by_owner(figures: Matrix, owner: Whole, count: int) -> Matrix:
    """A row a seed, a column an owner: the sum over their opens."""
    return np.stack([np.bincount(owner, weights=row, minlength=count) for row in figures])


def _ends(drawn: Array) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
