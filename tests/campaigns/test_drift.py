"""Drift: what moved, what only looks so by chance, and promises that do not come true."""

from __future__ import annotations

import random
from math import nan

import pytest

from campaigns.drift import GAP, LIMIT, Promise, Told, found, promise, psi, spread, turns


def values(seed: int, count: int = 1500, shift: float = 0.0, missing: float = 0.1) -> list[float]:
    dice = random.Random(seed)
    return [nan if dice.random() < missing else dice.gauss(shift, 1.0) for _ in range(count)]


def test_it_is_silent_on_draws_from_one_population_and_tells_a_shift() -> None:
    before = spread(values(0))
    placebos = [psi(before, values(seed)) for seed in range(1, 60)]
    assert max(placebos) < LIMIT / 4
    assert sum(placebos) / len(placebos) < 0.01, "what chance makes is taken off"
    assert all(psi(before, values(seed, shift=0.7)) > LIMIT for seed in range(60, 80))
    assert psi(before, values(5, missing=0.4)) > LIMIT, "what is missing counts too"


def test_it_takes_few_distinct_values_and_none_at_all() -> None:
    dice = random.Random(3)
    before = spread([float(dice.random() < 0.2) for _ in range(1000)])
    assert psi(before, [float(dice.random() < 0.2) for _ in range(1000)]) < 0.02
    assert psi(before, [float(dice.random() < 0.4) for _ in range(1000)]) > 0.15
    unknown = spread([nan] * 600)
    assert psi(unknown, [nan] * 600) == 0.0
    assert psi(unknown, [1.0] * 600) > 1.0
    assert spread([]).rows == 0


def test_it_holds_promises_against_what_came_true() -> None:
    dice = random.Random(4)
    said = [dice.uniform(0.02, 0.3) for _ in range(3000)]
    kept = promise(said, [float(dice.random() < chance) for chance in said])
    assert kept.low is not None
    assert kept.high is not None
    assert kept.low < 1 < kept.high
    assert kept.gap == 0.0
    broken = promise(said, [float(dice.random() < chance * 1.8) for chance in said])
    assert broken.gap > GAP
    assert promise(said, [float(dice.random() < chance / 2) for chance in said]).gap > GAP
    assert promise(said[:100], [0.0] * 100) == Promise(), "too few to tell"
    assert promise([0.001] * 2000, [0.0] * 2000) == Promise()


@pytest.mark.parametrize(
    ("score", "feature", "kept", "alarm", "words"),
    [
        (0.05, 0.1, Promise(1.0, 0.9, 1.1), False, "Nothing has moved."),
        (0.3, 0.1, Promise(), True, "The scores have moved."),
        (0.05, 0.25, Promise(), True, "Not as in its first week: days without an order."),
        (0.05, 0.1, Promise(0.6, 0.5, 0.7), True, "Much less comes true than it says."),
        (0.05, 0.1, Promise(1.5, 1.3, 1.7), True, "Much more comes true than it says."),
        (0.05, 0.1, Promise(1.3, 1.2, 1.4), False, "Nothing has moved."),
    ],
)
def test_it_says_what_moved(score: float, feature: float, kept: Promise, alarm: bool, words: str) -> None:
    finding = found(score, [("a", 0.0), ("b", feature)], kept, {"b": "days without an order"})
    assert (finding.is_alarm, finding.why) == (alarm, words)
    assert finding.features[0] == ("b", feature)
    assert finding.largest == max(score, feature)


def test_it_tells_a_category_that_is_suddenly_bought_from_luck_and_from_more_opens() -> None:
    dice = random.Random(6)

    def weeks(count: int, rate: float = 0.1) -> dict[str, Told]:
        """Twenty categories of which half as much is said as is bought, in so many weeks of a thousand opens."""
        return {
            f"c{number}": Told(500 * rate * count, sum(dice.random() < rate for _ in range(1000 * count)))
            for number in range(20)
        }

    before = weeks(4)
    for _ in range(30):
        quiet = turns(before, weeks(1))
        assert len(quiet) == 20
        assert quiet[0].gap <= GAP, "a promise that never held is no turn"
    assert turns(before, weeks(3))[0].gap <= GAP, "nor are more opens"
    now = weeks(1) | {"pies": Told(50, 290)}
    turned = turns(before | {"pies": Told(200, 400), "rare": Told(200, 20)}, now)
    assert (turned[0].category, turned[0].gap > GAP) == ("pies", True)
    assert turned[0].low < 2.9 < turned[0].high
    finding = found(0.05, [], Promise(1.0, 0.9, 1.1), {}, turned)
    assert finding.is_alarm
    assert finding.gap == turned[0].gap
    assert finding.why == "Bought otherwise than in the weeks before: pies 2.9 times as often."
    gone = turns({"pies": Told(200, 400)}, {"pies": Told(50, 0)})
    assert gone[0].gap > GAP
    assert turns({"pies": Told(200, 20)}, {"pies": Told(50, 29)}) == (), "too few to tell"
