"""Trees that are fitted on a Dask cluster."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from base.errors import InvalidInput
from signals.candidates import MODEL_FEATURES
from workers import cluster, evaluation, response
from workers.fitting import fitted, scores

PEOPLE, CANDIDATES = 900, 10
SMALL = {"trees": 8, "num_leaves": 7, "learning_rate": 0.3, "min_data_in_leaf": 50, "feature_fraction": 1.0}
"""Few splits: at each of them the two workers wait for each other, which takes most of the time."""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of two workers."""
    command = [sys.executable, "-m", "tests.workers.dask_cluster"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate(timeout=30)


def rows(seed: int) -> tuple[Any, Any, Any]:
    """People and their candidates: features, what is taken, and how likely that was."""
    chance = np.random.default_rng(seed)
    features = np.zeros((PEOPLE * CANDIDATES, len(MODEL_FEATURES)), dtype=np.float32)
    features[:, :8] = chance.random((len(features), 8), dtype=np.float32)
    truth = 1 / (1 + np.exp(3.0 - 4.0 * features[:, 0] - 2.0 * features[:, 1] * features[:, 2]))
    return features, (chance.random(len(truth)) < truth).astype(np.float32), truth


def test_it_fits_a_model_on_two_workers_that_is_as_good_as_that_of_one_machine(scheduler: str) -> None:
    features, outcomes, _ = rows(1)
    weights = np.random.default_rng(3).uniform(0.5, 2.0, len(outcomes))
    here = fitted(features, outcomes, weights=weights, seeds=(1,), parameters=SMALL)
    there = fitted(features, outcomes, weights=weights, seeds=(1,), parameters=SMALL, scheduler=scheduler)
    assert there.num_trees() == here.num_trees() == 8
    assert there.feature_name() == here.feature_name()

    later, taken, truth = rows(2)
    ours, theirs = scores(here, later), scores(there, later)
    loss = [evaluation.log_loss(taken.astype(np.float64), one) for one in (ours, theirs)]
    plain = evaluation.log_loss(taken.astype(np.float64), np.full(len(taken), taken.mean()))
    assert abs(loss[0] - loss[1]) < 0.02 * loss[0]
    assert max(loss) < 0.95 * plain, "both have learnt something"
    assert abs(evaluation.auc(taken, ours) - evaluation.auc(taken, theirs)) < 0.01
    sizes = np.full(PEOPLE, CANDIDATES)
    first = [float(evaluation.hits(one, truth, sizes).mean()) for one in (ours, theirs)]
    assert abs(first[0] - first[1]) < 0.02, "what is ranked first is as good"


def test_it_adds_trees_of_exposures_on_the_cluster_to_what_the_base_says(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "ROUNDS", 1)
    monkeypatch.setattr(response, "TREES", 4)
    features, outcomes, _ = rows(4)
    base = fitted(features, np.roll(outcomes, 1), seeds=(1,), parameters=SMALL)
    weights, places = np.ones(len(outcomes)), np.zeros(len(outcomes), dtype=np.int64)
    here, _ = response.fitted(base, features, outcomes, weights, places)
    there, _ = response.fitted(base, features, outcomes, weights, places, scheduler=scheduler)
    later, taken, _ = rows(5)
    loss = [
        evaluation.log_loss(taken.astype(np.float64), scores(response.joined(base, trees), later))
        for trees in (here, there)
    ]
    assert abs(loss[0] - loss[1]) < 0.02 * loss[0]


def test_it_says_what_is_wrong_with_a_cluster_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    features, outcomes, _ = rows(1)
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"dask_url.*latebind\[dask\]"):
        fitted(features, outcomes, scheduler="tcp://127.0.0.1:1")
