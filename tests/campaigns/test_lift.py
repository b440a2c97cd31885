"""Lift and group sizes: claims that stay true however often somebody looks."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from base.errors import InvalidInput
from campaigns import lift, sampleratio
from campaigns.lift import Sample

DAYS = 28


def looks(
    random: np.random.Generator, people: tuple[int, int], rates: tuple[float, float], *, money: bool
) -> list[bool]:
    """Whether each day's interval of a campaign leaves out zero: people order on some day, or never."""
    by_day = []
    for size, rate in zip(people, rates, strict=True):
        day = random.integers(0, DAYS, size)
        amount = np.where(random.random(size) < rate, random.lognormal(3.5, 0.8, size) if money else 1.0, 0.0)
        active, total, squares = (
            np.cumsum(np.bincount(day, weights=weights, minlength=DAYS)) for weights in (amount > 0, amount, amount**2)
        )
        by_day.append([Sample(size, *row) for row in zip(total, squares, active.astype(int), strict=True)])
    found = [lift.compare(("a", ours), ("b", theirs)).lift for ours, theirs in zip(*by_day, strict=True)]
    return [one is not None and one.verdict != "open" for one in found]


@pytest.mark.feature("CM-65")
@pytest.mark.parametrize(("people", "rate", "money"), [((1_500, 1_500), 0.3, False), ((4_500, 500), 0.05, True)])
def test_it_raises_no_false_alarm_in_daily_looks(people: tuple[int, int], rate: float, money: bool) -> None:
    random = np.random.default_rng(11)
    wrong = sum(any(looks(random, people, (rate, rate), money=money)) for _ in range(1_000))
    assert wrong <= 50, f"{wrong} of 1,000 campaigns without any effect were called one"


def test_it_finds_a_lift_that_is_there() -> None:
    random = np.random.default_rng(12)
    found = sum(looks(random, (8_000, 2_000), (0.10, 0.07), money=False)[-1] for _ in range(100))
    assert found >= 80, found


@pytest.mark.parametrize(
    ("ours", "theirs", "missing"),
    [
        (Sample(2_000, 90, 90, 90), Sample(29, 3, 3, 3), "29 people in the smaller group; at least 30 are needed"),
        (Sample(200, 12, 12, 12), Sample(200, 7, 7, 7), "19 buyers so far; at least 20 are needed"),
        (Sample(1_900, 60, 60, 60), Sample(100, 9, 9, 9), "69 buyers so far; at least 100 are needed"),
    ],
)
def test_it_says_what_is_missing_before_it_tells_a_lift(ours: Sample, theirs: Sample, missing: str) -> None:
    found = lift.compare(("decided", ours), ("neutral", theirs))
    assert (found.lift, found.missing) == (None, missing)


def test_it_is_wider_than_an_ordinary_interval_and_narrows() -> None:
    widths = [lift.standard_errors(active) for active in (20, 100, 200, 1_000, 100_000)]
    assert all(2.8 < width < 4 for width in widths)
    assert min(widths) == lift.standard_errors(200)
    assert lift.standard_errors(0) == float("inf")
    few, many = (
        lift.lift(Sample(n, n / 10, n / 10, n // 10), Sample(n, n / 20, n / 20, n // 20)) for n in (400, 40_000)
    )
    assert few.difference == pytest.approx(many.difference) == pytest.approx(0.05)
    assert (few.verdict, many.verdict) == ("open", "gain")
    assert many.relative == pytest.approx(1.0)


def test_it_shares_the_chance_of_error_among_comparisons() -> None:
    ours, theirs = ("a", Sample(900, 100, 100, 100)), ("b", Sample(900, 60, 60, 60))
    alone, one_of_three = lift.compare(ours, theirs).lift, lift.compare(ours, theirs, of=3).lift
    assert alone is not None
    assert one_of_three is not None
    assert one_of_three.high - one_of_three.low > alone.high - alone.low
    assert one_of_three.share == pytest.approx(1 - 0.05 / 3)


# --- the sizes of groups


def test_it_alarms_when_one_arm_loses_a_twentieth_of_its_exposures() -> None:
    random = np.random.default_rng(13)
    shares = {"first": 1.0, "second": 1.0, "third": 1.0}
    for _ in range(20):
        first, second, third = (int(number) for number in random.multinomial(90_000, [1 / 3] * 3))
        assert not sampleratio.check({"first": first, "second": second, "third": third}, shares).is_broken
        second -= int(random.binomial(second, 0.05))
        assert sampleratio.check({"first": first, "second": second, "third": third}, shares).is_broken


def test_it_keeps_calm_at_every_look_while_groups_are_whole() -> None:
    random = np.random.default_rng(14)
    shares = {"a": 0.8, "b": 0.2}
    alarms = 0
    for _ in range(200):
        a = np.cumsum(random.binomial(400, 0.8, 50))
        alarms += any(
            sampleratio.check({"a": int(one), "b": 400 * day - int(one)}, shares).evidence >= log(1 / 0.05)
            for day, one in enumerate(a, 1)
        )
    assert alarms <= 10, f"{alarms} of 200 sound experiments reached evidence that 1 in 20 may"


def test_it_has_the_tail_of_the_chi_square_distribution() -> None:
    table = {(3.841459, 1): 0.05, (5.991465, 2): 0.05, (11.34487, 3): 0.01, (18.46683, 4): 0.001, (0.0, 5): 1.0}
    for (distance, freedom), tail in table.items():
        assert sampleratio.chi_square_tail(distance, freedom) == pytest.approx(tail, rel=1e-5)


def test_it_takes_a_group_that_nobody_was_meant_for_as_broken() -> None:
    assert sampleratio.check({"a": 5, "b": 1}, {"a": 1.0, "b": 0.0}).is_broken
    assert not sampleratio.check({"a": 0, "b": 0}, {"a": 1.0, "b": 1.0}).is_broken


@pytest.mark.parametrize(
    ("counts", "shares", "field"),
    [
        ({"a": 1}, {"a": 1.0, "b": 1.0}, "shares"), ({"a": 1}, {"a": 1.0}, "shares"),
        ({"a": 1, "b": 1}, {"a": 1.0, "b": -1.0}, "shares"), ({"a": 1, "b": -1}, {"a": 1.0, "b": 1.0}, "counts"),
    ],
)  # fmt: skip
def test_it_refuses_groups_that_cannot_be_held_against_shares(
    counts: dict[str, int], shares: dict[str, float], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        sampleratio.check(counts, shares)
    assert refused.value.field == field
