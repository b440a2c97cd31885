"""Calibration: a table that turns a model's raw scores into probabilities that come true.

Isotonic regression pools neighbouring scores into blocks whose outcome rates rise. The table holds one knot a block, at
its mean score, and is read by straight lines between knots: that keeps different scores different, where isotonic
steps would tie them and leave the choice between tied offers to chance.

Offers, or categories, have tables of their own beside the common one, at the same thresholds. How far one leaves the
common table is its credibility: K purchases that were expected of it count as much as the common table does. K is the
inverse of how much the ratio of bought and said varies between them *lastingly*: the covariance of what they are off by
in the first and the second half of the time. What one half alone has, by luck or season, is in no such covariance, and
where nothing lasts there are no own tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from scipy.optimize import isotonic_regression

from base.errors import InvalidInput

Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.intp]]

# A knot speaks for at least this many examples, so that no probability rests on a handful.
LEAST_EXAMPLES: Final = 200
MOST_KNOTS: Final = 64
LEAST_OWN: Final = 200
"""Purchases of an offer from which on it has an isotonic table of its own."""


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


def own(
    scores: Array,
    outcomes: Array,
    groups: Whole,
    is_late: Flags,
    table: tuple[tuple[float, ...], tuple[float, ...]],
    weights: Array | None = None,
) -> dict[int, tuple[float, ...]]:
    """Group -> its values at the thresholds of the common `table`; empty where groups do not lastingly differ.

    `is_late`: rows of the second half of the time. With LEAST_OWN purchases a group has an isotonic table of its own,
    with fewer the common one at other odds; both are drawn to the common table by what they rest on.
    """
    names, of = np.unique(groups, return_inverse=True)
    counted = np.ones(len(scores)) if weights is None else weights * (len(scores) / weights.sum())
    said = apply(*table, scores)
    halves = [
        tuple(np.bincount(of[half], counted[half] * column[half], minlength=len(names)) for column in (said, outcomes))
        for half in (~is_late, is_late)
    ]
    (early_said, early_true), (late_said, late_true) = halves
    lasting = float(((early_true - early_said) * (late_true - late_said)).sum())
    scale = float((early_said * late_said).sum())
    if lasting <= 0 or scale <= 0:
        return {}
    worth_common = scale / lasting
    common = np.array(table[1])
    found = {}
    for place, name in enumerate(names.tolist()):
        rows = of == place
        expected, came = early_said[place] + late_said[place], early_true[place] + late_true[place]
        if expected <= 0:
            continue
        if LEAST_OWN <= outcomes[rows].sum() < rows.sum():
            values = np.interp(table[0], *fit(scores[rows], outcomes[rows], counted[rows]))
        else:
            # Half a purchase where there was none: nothing is impossible.
            odds = max(came, 0.5) / expected
            values = odds * common / (1 - common + odds * common)
        share = expected / (expected + worth_common)
        found[name] = tuple(np.maximum.accumulate(share * values + (1 - share) * common).tolist())
    return found


def apply_own(
    table: tuple[tuple[float, ...], tuple[float, ...]],
    tables: Mapping[int, tuple[float, ...]],
    scores: Array,
    groups: Whole,
) -> Array:
    """The probabilities of raw scores, each by the table of its group, by the common one where it has none."""
    found = apply(*table, scores)
    for group, values in tables.items():
        rows = groups == group
        if rows.any():
            found[rows] = np.interp(scores[rows], table[0], values)
    return found


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
