"""The worth of another policy, held against a world whose truth is known; and refused where the log cannot tell it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from workers import policyvalue
from workers.evaluation import Array, Whole
from workers.policyvalue import Estimator, GreedyLog, Log, PoorOverlap

OFFERS = 4


@dataclass(frozen=True)
class World:
    """People of eight kinds, each with chances of taking each of four offers; two policies, and what they are worth."""

    chances: Array
    logged: Array
    target: Array

    @property
    def truth(self) -> float:
        return float((self.chances * self.target).sum(axis=1).mean())

    @property
    def present(self) -> float:
        return float((self.chances * self.logged).sum(axis=1).mean())


def a_world(floor: float = 0.1, seed: int = 5) -> World:
    """The log's policy likes the first offer and keeps a floor under the others; the other one takes the best."""
    random = np.random.default_rng(seed)
    chances = random.uniform(0.02, 0.3, (8, OFFERS))
    logged = np.full((8, OFFERS), floor)
    logged[:, 0] = 1 - floor * (OFFERS - 1)
    target = np.full((8, OFFERS), 0.02)
    target[np.arange(8), chances.argmax(axis=1)] = 1 - 0.02 * (OFFERS - 1)
    return World(chances, logged, target)


def a_log(world: World, persons: int, seed: int, *, model: bool = False) -> Log:
    """One to four decisions of each person, whose kind and luck stay: their rows are alike."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 8, persons)
    luck = random.uniform(0, 2, persons)
    whose: Whole = np.repeat(np.arange(persons), random.integers(1, 5, persons))
    rows = len(whose)
    kinds = kind[whose]
    shown = (world.logged[kinds].cumsum(axis=1) < random.random((rows, 1))).sum(axis=1)
    rewards = (random.random(rows) < np.minimum(1, world.chances[kinds, shown] * luck[whose])).astype(np.float64)
    blurred = world.chances * np.random.default_rng(0).uniform(0.7, 1.3, world.chances.shape)
    return Log(
        persons=whose,
        rewards=rewards,
        propensities=world.logged[kinds, shown],
        target=world.target[kinds, shown],
        predicted=blurred[kinds, shown] if model else None,
        predicted_target=(blurred * world.target).sum(axis=1)[kinds] if model else None,
    )


@pytest.mark.feature("DE-22")
@pytest.mark.parametrize("estimator", ["ips", "snips", "doubly_robust"])
def test_it_covers_the_truth_as_often_as_it_says(estimator: Estimator) -> None:
    world = a_world(floor=0.2)
    inside = gains = 0
    values = []
    for seed in range(100):
        found = getattr(policyvalue, estimator)(a_log(world, 300, seed, model=True), seed)
        inside += found.value.low <= world.truth <= found.value.high
        gains += found.gain.low <= world.truth - world.present <= found.gain.high
        values.append(found.value.value)
    # 95 of 100 are promised; fewer than 90 happen once in a hundred times if that is true.
    assert inside >= 90, inside
    assert gains >= 90, gains
    assert np.mean(values) == pytest.approx(world.truth, abs=4 * np.std(values) / 10)


@pytest.mark.feature("DE-22")
def test_it_refuses_what_the_log_cannot_tell() -> None:
    world = a_world()
    with pytest.raises(PoorOverlap, match="effective sample size is"):
        policyvalue.ips(a_log(world, 60, 1))
    # The other policy shows what the log's never does: certain decisions tell of it, and kept shares do.
    certain = a_world(floor=0.0)
    half = np.arange(8) % 2 == 0
    certain.logged[half] = world.logged[half]
    with pytest.raises(PoorOverlap, match="had no chance in the log"):
        policyvalue.snips(a_log(certain, 2_000, 1))
    log = a_log(world, 2_000, 1)
    lacking = Log(
        persons=log.persons, rewards=log.rewards, propensities=log.propensities, target=log.target,
        unsupported=np.full(len(log.rewards), 0.1),
    )  # fmt: skip
    with pytest.raises(PoorOverlap, match=r"10\.0% of what the policy would show"):
        policyvalue.ips(lacking)


def test_it_refuses_propensities_that_are_not_those_of_the_policy_that_ran() -> None:
    log = a_log(a_world(), 2_000, 1)
    wrong = Log(
        persons=log.persons, rewards=log.rewards, propensities=np.clip(log.propensities * 0.7, 0, 1), target=log.target
    )
    with pytest.raises(PoorOverlap, match=r"mean weight is 1\.5"):
        policyvalue.ips(wrong)


@pytest.mark.feature("DE-22")
def test_it_refuses_a_greedy_log() -> None:
    world = a_world(floor=0.0)
    with pytest.raises(GreedyLog):
        policyvalue.ips(a_log(world, 2_000, 1))


def test_it_tells_two_policies_apart_on_one_log() -> None:
    world = a_world()
    log = a_log(world, 4_000, 3)
    same = policyvalue.difference(log, log, "snips")
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    uniform = Log(
        persons=log.persons, rewards=log.rewards, propensities=log.propensities,
        target=np.full(len(log.rewards), 1 / OFFERS),
    )  # fmt: skip
    better = policyvalue.difference(log, uniform, "snips")
    assert better.low < world.truth - world.chances.mean() < better.high
    assert better.low > 0
    with pytest.raises(ValueError, match="second: must be over the same rows"):
        policyvalue.difference(log, a_log(world, 4_000, 4), "ips")


def test_it_counts_persons_and_not_their_decisions() -> None:
    log = a_log(a_world(), 500, 7)
    often = Log(
        persons=np.tile(log.persons, 5), rewards=np.tile(log.rewards, 5), propensities=np.tile(log.propensities, 5),
        target=np.tile(log.target, 5),
    )  # fmt: skip
    once, five = policyvalue.ips(log), policyvalue.ips(often)
    assert five.overlap.effective == pytest.approx(once.overlap.effective)
    assert (five.value.low, five.value.high) == pytest.approx((once.value.low, once.value.high))


def test_it_draws_groups_of_very_many_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    log = a_log(a_world(), 3_000, 2)
    by_person = policyvalue.ips(log).value
    monkeypatch.setattr(policyvalue, "MAX_GROUPS", 600)
    by_group = policyvalue.ips(log).value
    assert by_group.value == by_person.value
    assert by_group.high - by_group.low == pytest.approx(by_person.high - by_person.low, rel=0.2)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"propensities": [0.0, 0.5]}, "propensities"), ({"propensities": [0.5, 1.5]}, "propensities"),
        ({"target": [0.5, 1.1]}, "target"), ({"target": [0.5]}, "target"), ({"rewards": [np.nan, 1.0]}, "rewards"),
        ({"rewards": []}, "rewards"), ({"predicted": [0.1, 0.2]}, "predicted"),
    ],
)  # fmt: skip
def test_it_names_the_column_that_is_wrong(changes: dict[str, list[float]], field: str) -> None:
    columns = {"rewards": [0.0, 1.0], "propensities": [0.5, 0.5], "target": [0.5, 0.5]} | changes
    with pytest.raises(ValueError, match=f"^{field}: "):
        Log(persons=np.array([1, 2]), **{name: np.array(values) for name, values in columns.items()})
