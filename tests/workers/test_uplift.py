"""Uplift: on people like Hillstrom's, where who buys anyway is not who is moved by an offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest

from base.errors import InvalidInput
from render.uplift import LEARNERS, Learner, Matrix, Uplift
from workers import uplift
from workers.boosters import lightgbm
from workers.evaluation import Array
from workers.uplift import Flags

NAMES = ("recency", "history", "mens", "womens", "newbie", "urban", "web")


@dataclass(frozen=True)
class People:
    """Customers, a share of them shown an offer by chance, and who visited; `effect` is what the offer truly adds."""

    features: Matrix
    shown: Flags
    visits: Array
    effect: Array


def people(count: int, seed: int, share: float = 0.5) -> People:
    """Visits are driven by recency and history; the offer moves those who bought from women's wear, and newcomers."""
    random = np.random.default_rng(seed)
    recency = random.integers(1, 13, count)
    history = random.lognormal(5, 0.9, count)
    mens, newbie, urban, web = (random.random(count) < chance for chance in (0.55, 0.5, 0.4, 0.45))
    womens = ~mens | (random.random(count) < 0.2)
    base = np.clip(0.06 + 0.012 * (12 - recency) + 0.04 * (history > 250), 0, 0.4)
    effect = 0.10 * womens * (recency > 5) + 0.02 * newbie
    shown = random.random(count) < share
    visits = (random.random(count) < base + effect * shown).astype(np.float64)
    columns = (recency, history, mens, womens, newbie, urban, web)
    return People(np.column_stack(columns).astype(np.float32), shown, visits, effect)


@pytest.fixture(scope="module")
def learnt_from() -> People:
    return people(16_000, 1)


def qini_difference(ours: Array, theirs: Array, people: People) -> tuple[float, float]:
    """How much more one ranking's Qini is than another's: 95 of 100 draws of people lie between the two."""
    random, number, found = np.random.default_rng(0), len(ours), []
    for _ in range(100):
        times = np.bincount(random.integers(0, number, number), minlength=number).astype(float)
        areas = [uplift.qini(scores, people.shown, people.visits, times) for scores in (ours, theirs)]
        found.append(areas[0] - areas[1])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.feature("DE-26")
@pytest.mark.parametrize("learner", LEARNERS)
def test_it_ranks_by_effect_better_than_by_chance_to_buy(learnt_from: People, learner: Learner) -> None:
    data = uplift.learn(learner, learnt_from.features, learnt_from.shown, learnt_from.visits, NAMES)
    others = people(12_000, 2)
    effects = Uplift.load(data, NAMES).predict(others.features)
    propensity = lightgbm.train(
        {"objective": "binary", "num_leaves": 8, "learning_rate": 0.04, "num_threads": 1, "verbosity": -1, "seed": 1},
        lightgbm.Dataset(learnt_from.features, learnt_from.visits),
        120,
    ).predict(others.features, num_threads=1)
    least, _ = qini_difference(effects, propensity, others)
    assert least > 0
    assert np.corrcoef(effects, others.effect)[0, 1] > 0.7
    assert effects.mean() == pytest.approx(others.effect.mean(), abs=0.015)


def test_it_makes_the_same_artefact_of_the_same_people(learnt_from: People) -> None:
    few = slice(0, 3_000)
    made = [
        uplift.learn("x", learnt_from.features[few], learnt_from.shown[few], learnt_from.visits[few], NAMES)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert Uplift.load(made[0], NAMES).artefact.metrics["people"] == 3_000


def test_it_knows_a_ranking_of_no_use() -> None:
    world = people(12_000, 3)
    best = uplift.qini(world.effect, world.shown, world.visits)
    chance = np.random.default_rng(4).random(12_000)
    least, most = qini_difference(chance, np.roll(chance, 1), world)
    assert best > 0.005
    assert uplift.qini(-world.effect, world.shown, world.visits) < 0
    assert least < 0 < most


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"learner": "z"}, "learner"), ({"names": NAMES[:3]}, "features"), ({"shown": "nearly all"}, "shown"),
        ({"outcomes": "none"}, "outcomes"), ({"outcomes": "nan"}, "outcomes"),
    ],
)  # fmt: skip
def test_it_refuses_what_it_cannot_learn_from(changes: dict[str, Any], field: str) -> None:
    world = people(2_000, 5, share=0.9 if changes.get("shown") else 0.5)
    outcomes = {None: world.visits, "none": np.zeros(2_000), "nan": np.full(2_000, np.nan)}[changes.get("outcomes")]
    with pytest.raises(InvalidInput) as refused:
        uplift.learn(
            changes.get("learner", "t"),
            world.features,
            world.shown,
            outcomes,
            changes.get("names", NAMES),
        )
    assert refused.value.field == field


def test_it_refuses_an_artefact_that_is_not_for_this_code(learnt_from: People) -> None:
    few = slice(0, 2_000)
    data = uplift.learn("s", learnt_from.features[few], learnt_from.shown[few], learnt_from.visits[few], NAMES)
    with pytest.raises(InvalidInput, match="in their order; train it again"):
        Uplift.load(data, NAMES[::-1])
    with pytest.raises(InvalidInput, match="is not an uplift artefact"):
        Uplift.load(data[:100], NAMES)
    content = msgspec.msgpack.decode(data)
    content["terms"][0]["shown"] = None
    with pytest.raises(InvalidInput, match="8 columns where 7 are read"):
        Uplift.load(msgspec.msgpack.encode(content), NAMES)
