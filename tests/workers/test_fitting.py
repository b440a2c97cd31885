"""The mean of several boosters is one booster again."""

from __future__ import annotations

import numpy as np
import pytest

from base.errors import InvalidInput
from render.booster import Trees
from signals.candidates import MODEL_FEATURES
from workers import fitting


def rows(count: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    features = random.random((count, len(MODEL_FEATURES))).astype(np.float32)
    return features, (random.random(count) < features[:, 0]).astype(np.float64)


def test_it_is_the_mean_of_its_seeds_for_training_and_for_an_open() -> None:
    features, outcomes = rows()
    alone = [fitting.fitted(features, outcomes, seeds=(seed,), parameters={"trees": 5}) for seed in (1, 2)]
    together = fitting.fitted(features, outcomes, seeds=(1, 2), parameters={"trees": 5})
    wanted = np.mean([booster.predict(features, raw_score=True) for booster in alone], axis=0)
    assert together.predict(features, raw_score=True) == pytest.approx(wanted, abs=1e-12)
    assert Trees(together.model_to_string()).predict(features) == pytest.approx(
        fitting.scores(together, features), abs=1e-15
    )
    assert np.abs(alone[0].predict(features) - alone[1].predict(features)).max() > 0.01


def test_it_gives_the_same_bytes_for_the_same_rows() -> None:
    features, outcomes = rows()
    one, other = (fitting.fitted(features, outcomes, parameters={"trees": 3}).model_to_string() for _ in range(2))
    assert one == other


def test_it_refuses_rows_of_one_outcome() -> None:
    features, outcomes = rows(600)
    with pytest.raises(InvalidInput, match="events"):
        fitting.fitted(features, np.ones_like(outcomes))


def test_it_holds_nobody_for_wanting_less_of_what_they_buy_more_often_where_it_is_bound() -> None:
    features, _ = rows()
    place = MODEL_FEATURES.index("category.orders_84")
    outcomes = (np.random.default_rng(4).random(len(features)) < 0.8 - 0.6 * features[:, place]).astype(np.float64)
    along = np.repeat(features[:40], 20, axis=0)
    along[:, place] = np.tile(np.linspace(0, 1, 20), 40)
    free, bound = (
        fitting.scores(fitting.fitted(features, outcomes, seeds=(1,), parameters=dict(parameters)), along)
        for parameters in ({"trees": 20}, {**fitting.BOUND, "trees": 20})
    )
    assert np.diff(bound.reshape(40, 20)).min() >= 0
    assert (free.reshape(40, 20)[:, -1] < free.reshape(40, 20)[:, 0] - 0.1).all()
