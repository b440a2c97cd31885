"""The replay: what is shown is learnt from what was shown before, a week late, and never from what is not there yet."""

from __future__ import annotations

import numpy as np
import pytest

from signals.candidates import MODEL_FEATURES
from workers.evaluation_sets import feedback
from workers.evaluation_sets.feedback import FIRST, NEW_DAY, NEW_OFFERS, OFFERS, World


def world(first: int, weeks: int = 5, a_week: int = 200) -> World:
    """A world in which the offer with the largest days_since comes true, and pace, by which rules go, says nothing."""
    random = np.random.default_rng(1)
    rows = weeks * a_week
    days = np.repeat(first + 7 * np.arange(weeks), a_week)
    features = random.random((rows, OFFERS, len(MODEL_FEATURES))).astype(np.float32)
    signal = features[:, :, MODEL_FEATURES.index("category.days_since")]
    may = np.ones((rows, OFFERS), dtype=bool)
    may[:, OFFERS - NEW_OFFERS :] = (days >= NEW_DAY)[:, None]
    outcomes = (random.random(signal.shape) < signal**2).astype(np.float64)
    return World(days, np.arange(rows), features, outcomes, signal.astype(np.float64), may)


def test_it_learns_from_what_it_showed_once_that_is_known() -> None:
    told = world(FIRST)
    shown = feedback._shown(told)
    hits = told.outcomes[np.arange(len(shown)), shown]
    # The first two weeks go by rules: nothing is known before, and too little after one week.
    assert hits[told.days >= FIRST + 21].mean() > hits[told.days < FIRST + 7].mean() + 0.2


def test_it_waits_for_what_is_told_late_and_never_learns_what_is_not_told() -> None:
    told = world(FIRST, weeks=6)
    by_rules = feedback._shown(told, lost=1.0)
    pace = told.features[:, :, MODEL_FEATURES.index("category.pace")]
    np.testing.assert_array_equal(by_rules, np.where(told.may, pace, -1.0).argmax(axis=1))
    late = feedback._shown(told, 21, 0.2)
    np.testing.assert_array_equal(late[told.days < FIRST + 21], by_rules[told.days < FIRST + 21])
    last = told.days >= FIRST + 35
    hits = [told.outcomes[np.arange(len(told.days)), shown][last].mean() for shown in (late, by_rules)]
    assert hits[0] > hits[1] + 0.2, "a fifth that is never told costs less than learning brings"


def test_it_shows_no_offer_before_its_day() -> None:
    told = world(NEW_DAY - 11, weeks=3)
    shown = feedback._shown(told)
    new = shown >= OFFERS - NEW_OFFERS
    assert not new[told.days < NEW_DAY].any()
    assert new[told.days >= NEW_DAY].any()


def test_it_finds_the_truth_within_the_intervals_of_logs_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "SEEDS", 20)
    told = world(NEW_DAY, weeks=4, a_week=1_000)
    rule = told.favourite.argmax(axis=1)
    assert feedback._covered(told, rule).value >= 16


def test_it_draws_by_the_products_policy_from_bags_that_disagree() -> None:
    told = world(FIRST, weeks=4, a_week=100)
    by_best = feedback._shown(told)
    drawn = feedback._shown(told, policy=feedback.THOMPSON, bags=3)
    np.testing.assert_array_equal(by_best[told.days < FIRST + 14], drawn[told.days < FIRST + 14])
    assert told.may[np.arange(len(drawn)), drawn].all()
    last = told.days >= FIRST + 21
    assert (by_best[last] != drawn[last]).mean() > 0.1, "bags of a few hundred opens do not agree"
    may = np.ones((200, OFFERS), dtype=bool)
    scores = np.tile(np.linspace(0.9, 0.1, OFFERS), (200, 1))
    views = np.stack([scores] * 3 + [scores[:, ::-1]])
    chosen, chances = feedback._drawn(feedback.THOMPSON, may, scores, views, seed=1)
    # Of the best five, three bags hold the first for the best and one the fifth.
    assert {(int(one), float(chance)) for one, chance in zip(chosen, chances, strict=True)} == {(0, 0.75), (4, 0.25)}
    assert (chosen == 0).mean() == pytest.approx(0.75, abs=0.1)
