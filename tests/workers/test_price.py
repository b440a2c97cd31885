"""The chance at a price: never higher for a dearer offer, and as steep as people really are."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from render.model import Model
from signals.candidates import MODEL_FEATURES
from workers import calibration, response

PRICES = np.array([500, 600, 700, 800, 900, 1_000, 1_100, 1_200], dtype=np.float32)
USUAL = 800.0
ELASTICITY = {0.1: 1.2, 0.6: 3.0}
"""How steeply log odds fall with the logarithm of the price, in two categories that differ in popularity."""
ROWS = 48_000


def rows(count: int, chances: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Exposures at many prices, and the true log odds of each."""
    features = np.full((count, len(MODEL_FEATURES)), np.nan, dtype=np.float32)
    popularity = chances.choice(list(ELASTICITY), count)
    price = chances.choice(PRICES, count)
    recency = chances.uniform(0, 60, count)
    features[:, MODEL_FEATURES.index("offer.popularity")] = popularity
    features[:, MODEL_FEATURES.index("offer.price_cents")] = price
    features[:, MODEL_FEATURES.index("offer.price_ratio")] = price / USUAL
    features[:, MODEL_FEATURES.index("category.days_since")] = recency
    steep = np.vectorize(ELASTICITY.get)(popularity)
    return features, -0.5 + 0.02 * recency - steep * np.log(price / USUAL)


@pytest.fixture(scope="module")
def model() -> Model:
    """A model of purchases that knows no price, and what exposures add to it."""
    chances = np.random.default_rng(11)
    features, odds = rows(ROWS, chances)
    taken = (chances.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    blind = features.copy()
    for name in response.FALLING:
        blind[:, MODEL_FEATURES.index(name)] = np.nan
    small = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "num_threads": 1}
    base = lightgbm.train(small, lightgbm.Dataset(blind[:8_000], taken[:8_000]), num_boost_round=20)
    trees, _ = response.fitted(
        base, features[8_000:38_000], taken[8_000:38_000], np.ones(30_000), np.zeros(30_000, dtype=np.int64)
    )
    booster = response.joined(base, trees)
    last = features[38_000:]
    table = calibration.fit(booster.predict(last, num_threads=1), taken[38_000:].astype(np.float64))
    return Model.load(Model.build(booster.model_to_string(), MODEL_FEATURES, *table))


def at_each_price(model: Model, features: np.ndarray) -> np.ndarray:
    """The chance of each row at each of the prices: (rows, prices)."""
    said = []
    for price in PRICES:
        changed = features.copy()
        changed[:, MODEL_FEATURES.index("offer.price_cents")] = price
        changed[:, MODEL_FEATURES.index("offer.price_ratio")] = price / USUAL
        said.append(model.predict(np.ascontiguousarray(changed)))
    return np.stack(said, axis=1)


@pytest.mark.feature("DE-19")
def test_it_never_finds_a_dearer_offer_likelier(model: Model) -> None:
    features, _ = rows(2_000, np.random.default_rng(12))
    said = at_each_price(model, features)
    assert (np.diff(said, axis=1) <= 1e-12).all()
    assert (said[:, 0] - said[:, -1] > 0.1).mean() > 0.9, "and it does fall"


@pytest.mark.feature("DE-19")
@pytest.mark.parametrize("popularity", list(ELASTICITY))
def test_it_recovers_how_steeply_a_chance_falls_with_the_price(model: Model, popularity: float) -> None:
    features, _ = rows(2_000, np.random.default_rng(13))
    column = MODEL_FEATURES.index("offer.popularity")
    chosen = features[np.isclose(features[:, column], popularity)]
    said = at_each_price(model, chosen).mean(axis=0)
    # The mean over people of a chance is flatter than that of its log odds: the truth is averaged in the same way.
    recency = chosen[:, MODEL_FEATURES.index("category.days_since")][:, None]
    odds = -0.5 + 0.02 * recency - ELASTICITY[popularity] * np.log(PRICES / USUAL)
    truth = (1 / (1 + np.exp(-odds))).mean(axis=0)
    logs = np.log(PRICES / USUAL)

    def slope(chance: np.ndarray) -> float:
        return float(-np.polyfit(logs, np.log(chance / (1 - chance)), 1)[0])

    assert slope(said) == pytest.approx(slope(truth), rel=0.2)
    assert np.abs(said - truth).max() < 0.05
