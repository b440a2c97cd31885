"""Uplift: what showing decided content changes for whom, learnt from who was shown it and who was kept on neutral.

A propensity model ranks who will buy, also those who buy anyway. These learners rank by effect, from a randomised
holdout: *S* is one booster that knows whether a person was shown it; *T* is one for the shown and one for the others;
*X* (Kuenzel, Sekhon, Bickel and Yu 2019) learns each person's own effect against what the other group's booster
expects, which holds better where the holdout is small. `render/uplift.py` reads what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from base.errors import InvalidInput
from render.uplift import LEARNERS, Artefact, Learner, Matrix, Term, Uplift
from workers.boosters import lightgbm
from workers.evaluation import DRAWS, Array, Interval, Whole

Flags = npt.NDArray[np.bool_]
MIN_GROUP: Final = 500
"""People in either group below which nothing is learnt: an effect is a difference of two noisy rates."""
_TREES: Final = 120
# Shallow and slow, with many people in a leaf: effects are small beside the noise of single outcomes.
_PARAMETERS: Final[Mapping[str, Any]] = {
    "num_leaves": 8, "learning_rate": 0.04, "min_data_in_leaf": 150, "lambda_l2": 5.0, "feature_fraction": 0.8,
    "bagging_fraction": 0.8, "bagging_freq": 1, "num_threads": 1, "deterministic": True, "force_row_wise": True,
    "verbosity": -1,
}  # fmt: skip


def learn(
    learner: Learner,
    features: Matrix,
    shown: Flags,
    outcomes: Array,
    names: Sequence[str],
    *,
    weights: Array | None = None,
    seed: int = 1,
) -> bytes:
    """The bytes of an artefact that says what showing changes, in the unit of the outcomes.

    features: (n, len(names)). shown: whether a person was assigned decided content, opened or not; it must have been
    drawn by chance. outcomes: 0/1 or an amount, n. weights: the inverse of the chance of the group that a row is in,
    where that chance was not the same for all. Raises InvalidInput naming what cannot be learnt from.
    """
    _check(learner, features, shown, outcomes, names)
    fit = _Fit(tuple(names), bool(np.all((outcomes == 0) | (outcomes == 1))), seed)
    if learner == "s":
        both = fit(np.column_stack([features, shown.astype(np.float32)]), outcomes, weights, extra="shown")
        terms = [Term(booster=both, factor=1.0, shown=1.0), Term(booster=both, factor=-1.0, shown=0.0)]
        return _built(learner, names, terms, shown)
    counted = {is_shown: None if weights is None else weights[shown == is_shown] for is_shown in (True, False)}
    with_it = fit(features[shown], outcomes[shown], counted[True])
    without = fit(features[~shown], outcomes[~shown], counted[False])
    if learner == "t":
        return _built(learner, names, [Term(booster=with_it, factor=1.0), Term(booster=without, factor=-1.0)], shown)
    gained = outcomes[shown] - _predicted(without, features[shown])
    missed = _predicted(with_it, features[~shown]) - outcomes[~shown]
    # Each estimate leans on the other group's booster: the one that leans on the larger group counts for more.
    share = float(shown.mean())
    terms = [
        Term(booster=fit(features[shown], gained, counted[True], effect=True), factor=1 - share),
        Term(booster=fit(features[~shown], missed, counted[False], effect=True), factor=share),
    ]
    return _built(learner, names, terms, shown)


def qini(scores: Array, shown: Flags, outcomes: Array, weights: Array | None = None) -> float:
    """The area between a ranking's Qini curve and that of chance, in outcomes a person; 0 for a ranking of no use.

    The curve says how many outcomes more than expected without the offer the best-scored k people bring (Radcliffe
    2007). Both groups must be there.
    """
    order = np.argsort(-scores, kind="stable")
    return _area(shown[order].astype(np.float64), outcomes[order], None if weights is None else weights[order])


def qini_interval(
    scores: Array, shown: Flags, outcomes: Array, weights: Array, people: Whole, alpha: float, draws: int = DRAWS
) -> Interval:
    """A ranking's Qini with its interval of confidence 1 - `alpha`; whole people are drawn, as their rows are alike."""
    random = np.random.default_rng(0)
    order = np.argsort(-scores, kind="stable")
    _, owners = np.unique(people[order], return_inverse=True)
    treated, came, counted = shown[order].astype(np.float64), outcomes[order], weights[order]
    count = int(owners.max()) + 1
    areas = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        areas[draw] = _area(treated, came, counted * times[owners])
    low, high = np.quantile(areas, [alpha / 2, 1 - alpha / 2])
    return Interval(qini(scores, shown, outcomes, weights), float(low), float(high))


def _area(treated: Array, outcomes: Array, times: Array | None = None) -> float:
    """Of people in the order of a ranking, each counting so many times."""
    times = np.ones(len(treated)) if times is None else times
    with_it, without = np.cumsum(times * treated), np.cumsum(times * (1 - treated))
    brought, anyway = np.cumsum(times * treated * outcomes), np.cumsum(times * (1 - treated) * outcomes)
    # Before the first of the others there is nobody to hold them against.
    expected = np.divide(anyway * with_it, without, out=np.zeros(len(treated)), where=without > 0)
    curve = brought - expected
    people = np.cumsum(times)
    by_chance = curve[-1] * people / people[-1]
    return float((times * (curve - by_chance)).sum() / people[-1] / with_it[-1])


class _Fit:
    """Fits boosters on the same columns, the same way every time."""

    def __init__(self, names: tuple[str, ...], is_chance: bool, seed: int) -> None:
        self._names = [name.replace(".", "_") for name in names]
        self._objective = "binary" if is_chance else "regression"
        self._seed = seed

    def __call__(
        self,
        features: Matrix,
        outcomes: Array,
        weights: Array | None = None,
        *,
        extra: str | None = None,
        effect: bool = False,
    ) -> str:
        """A booster's text. `extra` names one more column, `effect` says that differences are learnt."""
        names = [*self._names, extra] if extra is not None else self._names
        parameters = {**_PARAMETERS, "objective": "regression" if effect else self._objective, "seed": self._seed}
        scaled = None if weights is None else weights * (len(weights) / weights.sum())
        rows = np.ascontiguousarray(features, dtype=np.float32)
        data = lightgbm.Dataset(rows, outcomes, weight=scaled, feature_name=names)
        text: str = lightgbm.train(parameters, data, num_boost_round=_TREES).model_to_string()
        return text


def _predicted(booster: str, features: Matrix) -> Array:
    scores: Array = lightgbm.Booster(model_str=booster).predict(features, num_threads=1)
    return scores


def _built(learner: Learner, names: Sequence[str], terms: Sequence[Term], shown: Flags) -> bytes:
    metrics = {"people": float(len(shown)), "shown_share": float(shown.mean())}
    return Uplift.build(Artefact(learner=learner, features=tuple(names), terms=tuple(terms), metrics=metrics))


def _check(learner: Learner, features: Matrix, shown: Flags, outcomes: Array, names: Sequence[str]) -> None:
    if learner not in LEARNERS:
        raise InvalidInput("learner", f"must be one of {', '.join(LEARNERS)}")
    if features.ndim != 2 or features.shape != (len(outcomes), len(names)) or len(shown) != len(outcomes):
        raise InvalidInput("features", "must have a row for each outcome and a column for each name")
    if not np.all(np.isfinite(outcomes)):
        raise InvalidInput("outcomes", "hold what is no number")
    smaller = int(min(shown.sum(), (~shown).sum()))
    if smaller < MIN_GROUP:
        raise InvalidInput("shown", f"has {smaller} people in its smaller group; at least {MIN_GROUP} are needed")
    for group in (shown, ~shown):
        if len(np.unique(outcomes[group])) < 2:
            raise InvalidInput("outcomes", "are all the same in a group; there is nothing to learn")
