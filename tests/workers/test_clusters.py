"""The cluster rule: what it joins, what it refuses, and what holds whatever the pairs are."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.clusters import NO_KEY, RULE, Pairs, Rule, Whole, bits, gathered

KEYS = ("name", "birth date", "address", NO_KEY)
PRIOR = -10.0
SAME = (9.0, 9.0, 1.0, 1.0)
"""Name and birth date agree, clearly more than enough."""


def paired(*rows: tuple[int, int, tuple[float, ...]]) -> Pairs:
    weights = np.array([row[2] for row in rows], dtype=np.float64).reshape(len(rows), len(KEYS))
    one, other = (np.array([row[place] for row in rows], dtype=np.int64) for place in (0, 1))
    return Pairs(one, other, weights, KEYS, PRIOR)


def clique(*places: int) -> list[tuple[int, int, tuple[float, ...]]]:
    return [(one, other, SAME) for one, other in combinations(places, 2)]


def persons(count: int, *rows: tuple[int, int, tuple[float, ...]], **more: Any) -> list[int]:
    found: list[int] = gathered(count, paired(*rows), **more).tolist()
    return found


def test_it_joins_what_agrees_in_two_keys_and_leaves_the_rest_alone() -> None:
    assert persons(4, (0, 2, SAME)) == [0, 1, 0, 3]
    assert persons(3) == [0, 1, 2]


def test_it_asks_for_two_keys_however_heavy_one_is() -> None:
    only_name = (40.0, float("nan"), float("nan"), 0.0)
    beside_no_key = (20.0, float("nan"), float("nan"), 20.0)
    two = (15.0, float("nan"), 4.0, 0.0)
    assert [persons(2, (0, 1, row)) for row in (only_name, beside_no_key, two)] == [[0, 1], [0, 1], [0, 0]]


def test_it_asks_for_as_much_weight_as_it_says() -> None:
    enough = bits(0.9) - PRIOR
    for total, expected in ((enough + 0.01, [0, 0]), (enough - 0.01, [0, 1])):
        assert persons(2, (0, 1, (total / 2, total / 2, float("nan"), 0.0))) == expected


def test_it_refuses_a_bridge() -> None:
    """One pair of sixteen is as good as those within the two groups."""
    rows = [*clique(0, 1, 2, 3), *clique(4, 5, 6, 7), (3, 4, SAME)]
    assert persons(8, *rows) == [0] * 4 + [4] * 4
    half = [(one, other, (8.0, 8.0, 1.0, 1.0)) for one in (0, 1) for other in (4, 5, 6, 7)]
    assert persons(8, *rows[:-1], *half) == [0] * 8, "half of the pairs are none"


def test_it_leaves_a_record_alone_that_could_be_of_two_who_contradict_each_other() -> None:
    """A father, his son, and a record without a birth date."""
    unborn = (12.0, float("nan"), 8.0, 0.0)
    rows = [*clique(0, 1), *clique(3, 4), *((2, place, unborn) for place in (0, 1, 3, 4))]
    assert persons(5, *rows) == [0, 0, 2, 3, 3]
    assert persons(5, *rows, (2, 0, SAME), (2, 1, SAME)) == [0, 0, 0, 3, 3], "unless one of them is clearly better"


def test_it_lets_what_is_known_in_one_record_make_up_for_another() -> None:
    """The name agrees with one record of the person, the address with another, and neither pair is enough."""
    rows = [*clique(0, 1), (2, 0, (9.0, float("nan"), 1.0, 0.0)), (2, 1, (1.0, float("nan"), 10.0, 0.0))]
    assert persons(3, *rows) == [0, 0, 0]


def test_it_keeps_apart_what_somebody_said_are_two_and_what_only_one_can_have() -> None:
    rows = clique(0, 1, 2)
    found = persons(3, *rows, apart=[(0, 2)])
    assert found[0] != found[2]
    assert persons(2, (0, 1, SAME), single=[("number",), ("number",)]) == [0, 1]
    assert persons(2, (0, 1, SAME), single=[("number",), ()]) == [0, 0]


def test_it_makes_nobody_larger_than_it_may() -> None:
    assert max(np.bincount(gathered(30, paired(*clique(*range(30))), Rule(largest=7)))) == 7


Row = tuple[int, int, tuple[float, ...]]
COUNT = 12
weight = st.one_of(st.just(float("nan")), st.floats(-8, 12, width=16))
rows_drawn = st.lists(
    st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1), st.tuples(weight, weight, weight, weight)),
    max_size=40,
    unique_by=lambda row: (min(row[:2]), max(row[:2])),
)


@given(
    rows=rows_drawn, apart=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=3), seed=st.randoms()
)
@settings(max_examples=150)
def test_it_holds_its_promises_whatever_the_pairs_are(rows: list[Row], apart: list[tuple[int, int]], seed: Any) -> None:
    rule = Rule(largest=5)
    apart = [(one, other) for one, other in apart if one != other]
    single = [("odd",) if place % 5 == 0 else () for place in range(COUNT)]
    found: Whole = gathered(COUNT, paired(*rows), rule, apart=apart, single=single)
    mixed = list(rows)
    seed.shuffle(mixed)
    turned = [(other, one, weights) if seed.random() < 0.5 else (one, other, weights) for one, other, weights in mixed]
    assert gathered(COUNT, paired(*turned), rule, apart=apart, single=single).tolist() == found.tolist()
    for place, first in enumerate(found.tolist()):
        assert first <= place
        assert found[first] == first, "a person is named by the first of its records"
    for first in set(found.tolist()):
        members = np.flatnonzero(found == first).tolist()
        assert len(members) <= rule.largest
        assert sum(bool(single[place]) for place in members) <= 1
        assert not any(one in members and other in members for one, other in apart)
        inside = [row for row in rows if row[0] in members and row[1] in members and row[0] != row[1]]
        likely = sum(np.nansum(row[2]) + PRIOR >= RULE.likely for row in inside)
        assert likely >= len(members) - 1, "whatever is joined is joined by likely pairs"
        if len(members) > 1:
            keys = {key for row in inside for key, one in zip(KEYS, row[2], strict=True) if one >= RULE.key_bits}
            assert len(keys - {NO_KEY}) >= rule.keys


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_it_turns_a_probability_into_the_weight_of_its_odds(probability: float) -> None:
    assert 2 ** bits(probability) == pytest.approx(probability / (1 - probability))
