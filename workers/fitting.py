"""Fitting: rows of features and outcomes to one booster, the mean of several that saw other halves of chance.

One booster's first choices hang on the seed that drew its columns and rows; the mean of three does so much less. The
mean is one booster again (each leaf counts for a third), so that an open predicts once and the artefact stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from base.errors import InvalidInput
from signals.candidates import MODEL_FEATURES
from workers import cluster
from workers.boosters import lightgbm

TREES: Final = 100
SEEDS: Final = (1, 2, 3)
MOST_THREADS: Final = 4
THREADED_ROWS: Final = 2_000_000
"""Below this one thread: LightGBM's threads wait for each other in a loop, and on busy cores that costs far more
than the second core gives (19 s against 150 s, measured with 400,000 rows beside other work)."""

PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.08,
    "min_data_in_leaf": 500,
    # Half of the columns a tree: the boosters of several seeds differ more, so their mean is better. Chosen within the
    # train part of D2 (docs/evaluation.md), in blocks of time.
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
# With less than some years of data these only tell the snapshots' weeks apart: a tree that splits on them would learn
# the calendar of its training weeks and meet values at the open that it never saw.
UNTRAINED: Final = ("now.day_of_year", "person.known_days")
RISING: Final = (
    "category.orders_14", "category.orders_28", "category.orders_84", "category.orders", "category.pace",
    "category.share_of_orders_84", "category.share_of_favourite_84", "offer.popularity",
)  # fmt: skip
"""Whoever bought a category more often in the same time, all else equal, is not held to want it less."""
BOUND: Final[Mapping[str, Any]] = {
    "monotone_constraints": tuple(1 if name in RISING else 0 for name in MODEL_FEATURES),
    "trees": 60,
}
"""Parameters for who learns from what it showed alone: that is mostly what people buy often, so of the rest there are
hardly any rows, and free trees make something up there."""

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]


def fitted(
    features: Matrix,
    outcomes: np.ndarray[Any, Any],
    *,
    weights: Array | None = None,
    seeds: Sequence[int] = SEEDS,
    parameters: Mapping[str, Any] | None = None,
    scheduler: str = "",
) -> Any:
    """A booster of `TREES` trees a seed over MODEL_FEATURES. The same rows give the same bytes.

    `weights` say how much a row counts, `parameters` replace some of PARAMETERS (and `trees` TREES). With a `scheduler`
    the trees are fitted on its Dask cluster and are equivalent, not the same. Raises InvalidInput where all outcomes
    are the same.
    """
    if not 0 < outcomes.sum() < len(outcomes):
        raise InvalidInput("events", "show no week in which some candidate was bought and another was not")
    chosen = dict(PARAMETERS) | dict(parameters or {})
    trees = int(chosen.pop("trees", TREES))
    chosen |= {
        "num_threads": 1 if len(outcomes) < THREADED_ROWS else min(os.cpu_count() or 1, MOST_THREADS),
        "feature_contri": [0.0 if name in UNTRAINED else 1.0 for name in MODEL_FEATURES],
    }
    names = [name.replace(".", "_") for name in MODEL_FEATURES]
    if scheduler:
        boosters = cluster.fitted(
            scheduler, features, outcomes, names=names, trees=trees, seeds=seeds, parameters=chosen, weights=weights
        )
    else:
        data = lightgbm.Dataset(features, outcomes, weight=weights, feature_name=names, free_raw_data=False)
        boosters = [lightgbm.train(chosen | {"seed": seed}, data, num_boost_round=trees) for seed in seeds]
    return boosters[0] if len(boosters) == 1 else mean(boosters)


def stretches(
    times: np.ndarray[Any, Any], outcomes: np.ndarray[Any, Any], count: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Stretches of time, each with about as many outcomes: the number of its stretch for each row.

    Rows of one time, such as a day or a week, stay together.
    """
    _, inverse = np.unique(times, return_inverse=True)
    each = np.bincount(inverse, weights=outcomes)
    before = np.cumsum(each) - each
    stretch = np.minimum((before * count / max(outcomes.sum(), 1.0)).astype(np.int64), count - 1)
    return np.asarray(stretch[inverse])


def crossed(
    features: Matrix,
    outcomes: np.ndarray[Any, Any],
    blocks: np.ndarray[Any, Any],
    seeds: Sequence[int] = SEEDS[:1],
    scheduler: str = "",
) -> Array:
    """The raw probability of each row from a booster that did not see its block; blocks are stretches of time.

    Where outcomes are too rare to give up weeks for calibration alone, these scores are calibrated on, and the booster
    that is used has seen everything.
    """
    found = np.zeros(len(outcomes))
    for block in np.unique(blocks):
        held = blocks == block
        found[held] = scores(fitted(features[~held], outcomes[~held], seeds=seeds, scheduler=scheduler), features[held])
    return found


def mean(boosters: Sequence[Any]) -> Any:
    """One booster whose raw score is the mean of those of several over the same columns."""
    merged = lightgbm.Booster(model_str=boosters[0].model_to_string())
    for other in boosters[1:]:
        lightgbm.basic._safe_call(lightgbm.basic._LIB.LGBM_BoosterMerge(merged._handle, other._handle))
    for tree, leaves in enumerate(_leaves(merged)):
        for leaf in range(leaves):
            merged.set_leaf_output(tree, leaf, merged.get_leaf_output(tree, leaf) / len(boosters))
    return lightgbm.Booster(model_str=merged.model_to_string())


def _leaves(booster: Any) -> list[int]:
    """How many leaves each tree has."""
    key = "num_leaves="
    return [int(line[len(key) :]) for line in booster.model_to_string().splitlines() if line.startswith(key)]


def scores(booster: Any, features: Matrix) -> Array:
    """The booster's raw probabilities, before calibration."""
    found: Array = booster.predict(features, num_threads=1)
    return found


def bag(
    features: Matrix,
    outcomes: np.ndarray[Any, Any],
    owners: Whole,
    number: int,
    *,
    weights: Array | None = None,
    parameters: Mapping[str, Any] | None = None,
    scheduler: str = "",
) -> Any:
    """The booster of a draw of the rows' owners with replacement (Poisson bootstrap), another a `number` from 1."""
    _, of = np.unique(owners, return_inverse=True)
    times = np.random.default_rng(number).poisson(1.0, int(of.max()) + 1).astype(np.float64)[of]
    counted = times if weights is None else times * weights
    return fitted(features, outcomes, weights=counted, seeds=(number,), parameters=parameters, scheduler=scheduler)


def importance(booster: Any) -> tuple[tuple[str, float], ...]:
    """What each feature's splits gain, as a share of all, the largest first; features without any are left out."""
    gains = np.asarray(booster.feature_importance(importance_type="gain"), dtype=np.float64)
    total = float(gains.sum()) or 1.0
    shares = [(name, float(gain) / total) for name, gain in zip(MODEL_FEATURES, gains.tolist(), strict=True) if gain]
    return tuple(sorted(shares, key=lambda one: (-one[1], one[0])))
