"""Choosing for each person only where that is shown to earn more than the one offer that is best for all.

A model that ranks well may still choose badly: the difference between two offers is far smaller than what it predicts
of each. So a personal choice must first show, on rows that its model did not see, that it gains. People are let away
from the best offer for all in the order of the gain that the model promises them; how far is decided by the lower
bound of the gain that the logged outcomes show (doubly robust), with allowance for looking several times. Where no
bound lies above nothing, everybody gets the best offer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

SHARES: Final = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Of those whom the model would give another offer, how many are let away, the largest promised gain first."""

CAUTION: Final = 2.4
"""Standard errors a gain must lie above nothing: a chance of 5 % that any of six looks at no gain does."""

Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Restraint:
    """The offer for all, and the promised gain from which on a person gets another; None: never.

    `gain` is what letting them away showed on average over everybody, `error` its standard error.
    """

    best: int
    least_gain: float | None
    gain: float = 0.0
    error: float = 0.0

    def choose(self, scores: Array) -> Whole:
        """The offer of each row of `scores` (people, offers)."""
        chosen = np.full(len(scores), self.best)
        if self.least_gain is not None:
            gains = scores.max(axis=1) - scores[:, self.best]
            away = (gains >= self.least_gain) & (gains > 0)
            chosen[away] = scores[away].argmax(axis=1)
        return chosen


def restraint(scores: Array, shown: Whole, rewards: Array, propensities: Array) -> Restraint:
    """Learn it from logged rows: what a model that did not see them promises of each offer, and what came true.

    `scores` (rows, offers) in units of the reward; `shown` the offer each row got, with the probability in
    `propensities`; its reward in `rewards`.
    """
    rows = np.arange(len(shown))
    # Doubly robust value of every offer in every row; the model is only the baseline and may be wrong.
    values = scores.copy()
    values[rows, shown] += (rewards - scores[rows, shown]) / propensities
    best = int(values.mean(axis=0).argmax())
    other = scores.argmax(axis=1)
    promised = scores.max(axis=1) - scores[:, best]
    away = (other != best) & (promised > 0)
    found = Restraint(best, None)
    if not away.any():
        return found
    gained = values[rows, other] - values[rows, best]
    bound = 0.0
    for share in SHARES:
        least = float(np.quantile(promised[away], 1 - share))
        terms = np.where(away & (promised >= least), gained, 0.0)
        gain, error = float(terms.mean()), float(terms.std() / np.sqrt(len(terms)))
        if gain - CAUTION * error > bound:
            bound = gain - CAUTION * error
            found = Restraint(best, least, gain, error)
    return found
