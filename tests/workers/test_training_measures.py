"""Calibration tables and the measures of probabilities and choices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as reference_log_loss

from base.errors import InvalidInput
from workers import calibration, evaluation


def sample(rows: int = 20_000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and outcomes that come true half as often as the scores say."""
    random = np.random.default_rng(seed)
    scores = random.beta(1, 6, rows)
    return scores, (random.random(rows) < scores / 2).astype(np.float64)


def test_it_agrees_with_the_reference_on_auc_log_loss_and_brier() -> None:
    scores, outcomes = sample()
    scores = np.round(scores, 2)  # many ties
    assert evaluation.auc(outcomes, scores) == pytest.approx(roc_auc_score(outcomes, scores), abs=1e-12)
    assert evaluation.log_loss(outcomes, scores) == pytest.approx(
        reference_log_loss(outcomes, np.clip(scores, 1e-12, 1 - 1e-12)), rel=1e-6
    )
    assert evaluation.brier(outcomes, scores) == pytest.approx(brier_score_loss(outcomes, scores), abs=1e-12)


def test_it_knows_no_auc_of_one_class() -> None:
    assert math.isnan(evaluation.auc(np.zeros(3), np.arange(3.0)))


def test_it_keeps_ties_in_one_bin_and_counts_everything_once() -> None:
    probabilities = np.r_[np.full(500, 0.1), np.linspace(0.2, 0.9, 500)]
    outcomes = np.r_[np.ones(50), np.zeros(450), np.ones(500)]
    rows = evaluation.reliability(outcomes, probabilities)
    assert sum(row.count for row in rows) == 1000
    assert [row.count for row in rows].count(500) == 1
    assert rows[0].predicted == pytest.approx(0.1)
    assert rows[0].observed == pytest.approx(0.1)


def test_it_measures_the_error_of_a_promise_twice_too_high() -> None:
    scores, outcomes = sample()
    assert evaluation.calibration_error(outcomes, scores) == pytest.approx(float(scores.mean()) / 2, abs=0.01)


def test_it_calibrates_what_was_twice_too_high() -> None:
    scores, outcomes = sample()
    thresholds, values = calibration.fit(scores, outcomes)
    held_scores, held_outcomes = sample(seed=2)
    probabilities = calibration.apply(thresholds, values, held_scores)
    assert evaluation.calibration_error(held_outcomes, probabilities) < 0.01
    assert evaluation.log_loss(held_outcomes, probabilities) < evaluation.log_loss(held_outcomes, held_scores)


def test_it_keeps_the_order_of_scores_and_a_bounded_table() -> None:
    scores, outcomes = sample()
    thresholds, values = calibration.fit(scores, outcomes)
    assert len(thresholds) == len(values) <= calibration.MOST_KNOTS + 2
    assert np.all(np.diff(thresholds) > 0)
    assert np.all(np.diff(values) > 0)
    assert evaluation.auc(outcomes, calibration.apply(thresholds, values, scores)) == pytest.approx(
        evaluation.auc(outcomes, scores), abs=1e-9
    )


@pytest.mark.parametrize("outcomes", [np.zeros(1000), np.ones(1000), np.r_[np.ones(5), np.zeros(5)]])
def test_it_refuses_to_calibrate_on_what_nobody_has_seen(outcomes: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="outcomes"):
        calibration.fit(np.linspace(0, 1, len(outcomes)), outcomes)


def test_it_counts_a_hit_when_the_best_of_a_group_came_true() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.2])
    outcomes = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    assert evaluation.hits(scores, outcomes, np.array([2, 3])).tolist() == [0.0, 1.0]


def test_it_draws_whole_owners_so_that_repeats_do_not_shrink_the_interval() -> None:
    random = np.random.default_rng(3)
    per_owner = random.normal(0.05, 1.0, 200)
    once = evaluation.paired_difference(per_owner, np.zeros(200), np.arange(200))
    repeated = evaluation.paired_difference(np.repeat(per_owner, 50), np.zeros(10_000), np.repeat(np.arange(200), 50))
    assert repeated.value == pytest.approx(once.value)
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.05)
    assert once.low < once.value < once.high


@pytest.mark.feature("DE-18")
def test_it_gives_offers_tables_of_their_own_as_far_as_they_lastingly_differ() -> None:
    random = np.random.default_rng(5)
    offers = np.repeat(np.arange(12), 3_000)
    scores = random.uniform(0.02, 0.4, len(offers))
    is_late = random.random(len(offers)) < 0.5
    factor = np.linspace(0.5, 1.5, 12)
    knots = tuple(np.linspace(0, 1, 11).tolist())
    table = knots, knots
    outcomes = (random.random(len(offers)) < scores * factor[offers]).astype(np.float64)
    outcomes[offers == 0] = (random.random(3_000) < 0.001).astype(np.float64)
    own = calibration.own(scores, outcomes, offers, is_late, table)
    assert set(own) == set(range(12))
    held = (random.random(len(offers)) < scores * factor[offers]).astype(np.float64)
    better, common = (
        [evaluation.calibration_error(held[offers == one], said[offers == one]) for one in range(1, 12)]
        for said in (calibration.apply_own(table, own, scores, offers), scores)
    )
    assert np.mean(better) < np.mean(common) / 2
    assert all(np.all(np.diff(values) >= 0) for values in own.values())
    assert own[0][3] < 0.5 * knots[3], "with a handful of purchases at other odds, drawn to the common table"
    # The same differences in one half of the time only, or none at all, are luck or a season: one table for all.
    seasonal = np.where(is_late, scores * factor[offers], scores * factor[::-1][offers])
    assert calibration.own(scores, (random.random(len(offers)) < seasonal).astype(float), offers, is_late, table) == {}
    few = np.tile([True, False, False, False, False, False], len(offers) // 6)
    luck = (random.random(len(offers)) < scores).astype(np.float64)
    drawn = calibration.own(scores[few], luck[few], offers[few], is_late[few], table)
    assert all(abs(values[3] - knots[3]) < 0.03 for values in drawn.values())
