"""How far people and outcomes have moved from those that a model met first: PSI, and promises against what came true.

PSI (population stability index) compares how values are spread over bins, before and now: the sum over bins of
(now - before) x ln(now / before). Two draws from one population differ a little too; that much is taken off. By custom
0.1 is a shift worth a look and above 0.2 it is large. A turn shows where neither moves: people and scores are as ever,
and one category is suddenly bought, as pies are before a holiday.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import exp, isnan, log, sqrt
from statistics import NormalDist
from typing import Final

import msgspec

LIMIT: Final = 0.2
"""PSI above which a feature or the scores have moved."""
GAP: Final = 0.25
"""How much more than was said may come true, or as much less of it, beyond all doubt."""
BINS: Final = 10
LEAST_ROWS: Final = 500
LEAST_TAKEN: Final = 30
ALPHA: Final = 0.05
_LEAST_SHARE: Final = 1e-4
_Z_95: Final = 1.959964


class Spread(msgspec.Struct, frozen=True):
    """How values were spread: the inner edges of the bins, each bin's share, and that of missing values last."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    rows: int


class Promise(msgspec.Struct, frozen=True):
    """What came true as a share of what was said, with its 95 % interval; None while too little is known."""

    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def gap(self) -> float:
        """How far the nearer end of the interval is from 1, as a factor less 1; 0 where it holds 1."""
        if self.low is None or self.high is None:
            return 0.0
        return max(0.0, self.low - 1, 1 / max(self.high, 1e-9) - 1)


class Turn(msgspec.Struct, frozen=True):
    """How much oftener than in the weeks before a category was bought, of what was said of it: a ratio with its
    interval."""

    category: str
    ratio: float
    low: float
    high: float

    @property
    def gap(self) -> float:
        """As that of a promise."""
        return Promise(self.ratio, self.low, self.high).gap


class Told(msgspec.Struct, frozen=True):
    """What was said of a category within some weeks, and how often it was bought."""

    said: float = 0.0
    bought: float = 0.0


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a model: PSI of its scores and of its features (the most moved first), its promises, and its
    turns (the farthest first). `gap` is the largest of promises and turns."""

    limit: float
    score: float
    features: tuple[tuple[str, float], ...]
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    gap: float = 0.0
    is_alarm: bool
    why: str
    turns: tuple[Turn, ...] = ()

    @property
    def largest(self) -> float:
        """The largest PSI of all."""
        return max([self.score, *(value for _, value in self.features)])


def spread(values: Sequence[float]) -> Spread:
    """The spread of values over bins of equal mass; NaN is missing."""
    known = sorted(value for value in values if not isnan(value))
    cuts = {known[len(known) * number // BINS] for number in range(1, BINS)} if known else set()
    edges = tuple(sorted(cuts))
    return Spread(edges, _shares(values, edges), len(values))


def psi(before: Spread, values: Sequence[float]) -> float:
    """How far values have moved from a spread, 0 or more; what chance alone makes is taken off."""
    now = _shares(values, before.edges)
    moved = sum((new - old) * log(new / old) for old, new in zip(before.shares, now, strict=True))
    by_chance = (len(now) - 1) * (1 / max(1, before.rows) + 1 / max(1, len(values)))
    return max(0.0, moved - by_chance)


def promise(said: Sequence[float], taken: Sequence[float]) -> Promise:
    """What came true of probabilities, with an interval from the number that did (Poisson)."""
    expected, count = sum(said), sum(taken)
    if expected <= 0 or len(said) < LEAST_ROWS or max(expected, count) < LEAST_TAKEN:
        return Promise()
    margin = _Z_95 * sqrt(max(count, 1.0)) / expected
    return Promise(count / expected, max(0.0, count / expected - margin), count / expected + margin)


def turns(before: Mapping[str, Told], now: Mapping[str, Told]) -> tuple[Turn, ...]:
    """By category, how this week stands to the weeks before; those of which too little is known are left out.

    A share of what was said, so neither more opens nor a promise that never held is a turn. The interval is that of two
    Poisson counts; it is widened so that all categories together are wrong once in twenty times (Bonferroni).
    """
    told = [(name, before[name], now[name]) for name in sorted(before.keys() & now.keys())]
    known = [
        (name, now.said * before.bought / before.said, before.bought, now.bought)
        for name, before, now in told
        if before.said > 0 and before.bought >= LEAST_TAKEN
    ]
    known = [one for one in known if max(one[1], one[3]) >= LEAST_TAKEN]
    if not known:
        return ()
    errors = NormalDist().inv_cdf(1 - ALPHA / 2 / len(known))
    found = []
    for name, expected, earlier, bought in known:
        # Half a purchase where there was none keeps the ratio above nothing.
        ratio = max(bought, 0.5) / expected
        width = exp(errors * sqrt(1 / max(bought, 1.0) + 1 / earlier))
        found.append(Turn(name, ratio, ratio / width, ratio * width))
    return tuple(sorted(found, key=lambda turn: (-turn.gap, -abs(log(turn.ratio)), turn.category)))


def found(
    score: float,
    features: Sequence[tuple[str, float]],
    kept: Promise,
    words: Mapping[str, str],
    turned: Sequence[Turn] = (),
) -> Drift:
    """The finding in one: whether it is an alarm, and why; `words` say what each feature is."""
    ordered = tuple(sorted(features, key=lambda one: (-one[1], one[0])))
    moved = [words.get(name, name) for name, value in ordered if value > LIMIT]
    why = []
    if score > LIMIT:
        why.append("The scores have moved.")
    if moved:
        why.append(f"Not as in its first week: {', '.join(moved[:3])}{' and others' if len(moved) > 3 else ''}.")
    if kept.gap > GAP:
        more = "more" if kept.ratio is not None and kept.ratio > 1 else "less"
        why.append(f"Much {more} comes true than it says.")
    far = [f"{turn.category} {turn.ratio:.1f} times as often" for turn in turned if turn.gap > GAP]
    if far:
        why.append(
            f"Bought otherwise than in the weeks before: {', '.join(far[:3])}{' and others' if far[3:] else ''}."
        )
    return Drift(
        limit=LIMIT,
        score=score,
        features=ordered,
        ratio=kept.ratio,
        ratio_low=kept.low,
        ratio_high=kept.high,
        gap=max([kept.gap, *(turn.gap for turn in turned)]),
        is_alarm=bool(why),
        why=" ".join(why) or "Nothing has moved.",
        turns=tuple(turned),
    )


def _shares(values: Sequence[float], edges: Sequence[float]) -> tuple[float, ...]:
    counts = [0] * (len(edges) + 2)
    for value in values:
        counts[-1 if isnan(value) else bisect_right(edges, value)] += 1
    total = max(1, len(values))
    return tuple(max(count / total, _LEAST_SHARE) for count in counts)
