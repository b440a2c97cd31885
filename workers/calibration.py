"""Calibration: a table that turns a model's raw scores into probabilities that come true.

Isotonic regression pools neighbouring scores into blocks whose outcome rates rise. The table holds one knot a block, at
its mean score, and is read by straight lines between knots: that keeps different scores different, where isotonic
steps would tie them and leave the choice between tied offers to chance.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from scipy.optimize import isotonic_regression

from base.errors import InvalidInput

Array = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.intp]]

# A knot speaks for at least this many examples, so that no probability rests on a handful.
LEAST_EXAMPLES: Final = 200
MOST_KNOTS: Final = 64


def fit(scores: Array, outcomes: Array, weights: Array | None = None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Thresholds and values, both rising strictly from 0 to 1, at most MOST_KNOTS + 2 of each.

    `scores` are raw probabilities in 0-1, `outcomes` 0 or 1, `weights` what each example counts for. Raises
    InvalidInput when there are too few examples or only one outcome among them: such a table would promise what nobody
    has seen.
    """
    if len(scores) < LEAST_EXAMPLES or not 0 < outcomes.sum() < len(outcomes):
        raise InvalidInput("outcomes", f"need at least {LEAST_EXAMPLES} examples with both outcomes to calibrate")
    # Equal scores are one point: no table could tell them apart.
    x, inverse, examples = np.unique(scores.astype(np.float64), return_inverse=True, return_counts=True)
    given = np.ones(len(scores)) if weights is None else weights
    mass = np.bincount(inverse, weights=given, minlength=len(x))
    hits = np.bincount(inverse, weights=given * outcomes, minlength=len(x))
    fitted = isotonic_regression(hits / mass, weights=mass).x
    blocks = _merged(np.flatnonzero(np.r_[True, np.diff(fitted) > 0]), examples)
    masses = np.add.reduceat(mass, blocks)
    centres, rates = np.add.reduceat(x * mass, blocks) / masses, np.add.reduceat(hits, blocks) / masses
    thresholds, values = [0.0], [0.0]
    for centre, rate in zip(centres.tolist(), rates.tolist(), strict=True):
        if thresholds[-1] < centre < 1.0 and values[-1] < rate < 1.0:
            thresholds.append(centre)
            values.append(rate)
    return (*thresholds, 1.0), (*values, 1.0)


def apply(thresholds: tuple[float, ...], values: tuple[float, ...], scores: Array) -> Array:
    """The probabilities of raw scores by a table of `fit`."""
    return np.interp(scores, thresholds, values)


def _merged(starts: Places, examples: Places) -> Places:
    """Neighbouring blocks joined until each is large enough and there are few enough of them."""
    before = np.r_[0, np.cumsum(examples)]
    total = int(before[-1])
    least = max(LEAST_EXAMPLES, -(-total // MOST_KNOTS))
    kept = [0]
    for start in starts.tolist():
        if before[start] - before[kept[-1]] >= least:
            kept.append(start)
    if len(kept) > 1 and total - before[kept[-1]] < least:
        kept.pop()
    return np.array(kept, dtype=np.intp)
