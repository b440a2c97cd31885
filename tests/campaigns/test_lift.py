"""Lift and group sizes: claims that stay true however often somebody looks."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from base.errors import InvalidInput
from campaigns import lift, past, sampleratio
from campaigns.lift import Past, Sample
from tests.campaigns import customers

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


# --- adjusted by what people ordered before


@pytest.mark.feature("CM-65")
@pytest.mark.parametrize(("people", "rate", "money"), [((900, 900), 0.3, False), ((3_600, 400), 0.06, True)])
def test_it_raises_no_false_alarm_where_past_orders_are_known(
    people: tuple[int, int], rate: float, money: bool
) -> None:
    random = np.random.default_rng(15)
    wrong = 0
    for _ in range(300):
        looks = customers.by_day(random, people, (rate, rate), days=DAYS, has_money=money)
        found = [lift.compare(("a", ours), ("b", theirs)) for ours, theirs in looks]
        assert found[-1].plain is not None
        wrong += any(one.lift is not None and one.lift.verdict != "open" for one in found)
    assert wrong <= 15, f"{wrong} of 300 campaigns without any effect were called one"


def test_it_holds_what_was_planted_and_is_narrower_where_past_orders_are_known() -> None:
    random = np.random.default_rng(16)
    inside, apart, narrowed = 0, [], []
    for _ in range(200):
        ours, theirs = customers.by_day(random, (4_000, 1_000), (0.25, 0.20), days=DAYS)[-1]
        found = lift.compare(("decided", ours), ("neutral", theirs))
        assert found.lift is not None
        assert found.plain is not None
        assert found.plain == lift.lift(ours, theirs)
        inside += found.lift.low <= 0.05 <= found.lift.high
        apart.append((found.lift.difference - 0.05, found.plain.difference - 0.05))
        narrowed.append(found.narrowed)
    assert inside >= 195
    adjusted, plain = np.array(apart).T
    assert abs(adjusted.mean()) < 3 * adjusted.std() / 200**0.5
    assert adjusted.std() < plain.std()
    assert min(narrowed) > 0.02


def test_it_adjusts_as_a_regression_with_interactions_does() -> None:
    random = np.random.default_rng(17)
    treated = np.arange(6_000) < 4_500
    known = np.minimum(np.round(100 * random.gamma(0.5, 2.0, 6_000)), past.MOST)
    came = (random.random(6_000) < 0.03 + known / 3_000 + treated * (0.01 + known / 6_000)).astype(float)
    groups = [
        Sample(
            int(group.sum()), came[group].sum(), (came[group] ** 2).sum(), int(came[group].sum()),
            Past(known[group].sum(), (known[group] ** 2).sum(), (known[group] * came[group]).sum()),
        )
        for group in (treated, ~treated)
    ]  # fmt: skip
    even = lift.adjusted(groups[0], groups[1])
    assert even is not None
    centred = known - known.mean()
    columns = np.column_stack([np.ones(6_000), treated, centred, treated * centred])
    expected = np.linalg.lstsq(columns, came, rcond=None)[0][1]
    difference = lift.lift(*even).difference
    assert difference == pytest.approx(expected, abs=1e-4)
    assert abs(lift.lift(groups[0], groups[1]).difference - difference) > 1e-3, "else there was nothing to adjust"
    for group, sample in zip((treated, ~treated), even, strict=True):
        slope = (came[group].mean() - sample.mean) / (known[group].mean() - known.mean())
        rest = came[group] - slope * centred[group]
        assert sample.mean == pytest.approx(rest.mean())
        assert sample.variance == pytest.approx(rest.var(ddof=2))


@pytest.mark.parametrize("group", [Sample(99, 20, 20, 20, Past(40, 90, 30)), Sample(500, 60, 60, 60), None])
def test_it_adjusts_nothing_where_too_little_is_known(group: Sample | None) -> None:
    ours = Sample(500, 90, 90, 90, Past(200, 400, 100))
    if group is None:
        ours = group = Sample(500, 60, 60, 60, Past(0, 0, 0))
    assert lift.adjusted(ours, group) is None
    found = lift.compare(("decided", ours), ("neutral", group))
    assert (found.lift, found.plain, found.narrowed) == (lift.lift(ours, group), None, 0.0)


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
