"""What everybody buys, as it stood at a moment: nothing after it counts, and the past fades."""

from __future__ import annotations

import math

import pytest

from workers.trade import FADE_DAYS, PRIOR_ORDERS, Trade

BREAD, TEA, GIFTS = 1, 2, 3


def trade(*orders: tuple[int, int, tuple[int, ...]], days: int = 400) -> Trade:
    told = Trade((BREAD, TEA, GIFTS), first=0, days=days)
    for person, day, categories in orders:
        told.tell(person, day, categories)
    return told.counted()


def weekly(person: int, category: int, begin: int, end: int) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(person, day, (category,)) for day in range(begin, end, 7)]


def test_it_knows_nothing_of_what_comes_after() -> None:
    before = [order for person in range(20) for order in weekly(person, BREAD, person % 7, 200)]
    after = [(person, 200, (GIFTS, TEA)) for person in range(20)]
    assert trade(*before, *after).at(200) == trade(*before).at(200)
    assert trade(*before, *after).leanings(200) == trade(*before).leanings(200)


def test_it_lets_the_past_fade_and_draws_to_the_share_of_all_time() -> None:
    standing = trade((1, 0, (BREAD,)), (1, int(FADE_DAYS), (TEA,))).at(int(FADE_DAYS) + 1)
    bread, tea = 0.5 + PRIOR_ORDERS * 0.5, 1.0 + PRIOR_ORDERS * 0.5
    assert standing.popularity[BREAD] == pytest.approx(bread / (bread + tea))
    assert standing.trend[TEA] == pytest.approx(math.log2(tea / (bread + tea) / 0.5))
    assert standing.popularity[GIFTS] == 0


def test_it_counts_who_begins_among_those_who_had_not_bought_for_twelve_weeks() -> None:
    habits = [order for person in range(40) for order in weekly(person, BREAD, person % 7, 300)]
    beginners = [(person, 250 + person % 7, (TEA,)) for person in range(20)]
    standing = trade(*habits, *beginners).at(270)
    assert standing.starts[TEA] > 3 * standing.starts[GIFTS] > 0
    # Everybody buys bread every week, so nobody begins to, however much of it is sold.
    assert standing.starts[BREAD] < standing.starts[TEA]
    assert standing.popularity[BREAD] > 10 * standing.popularity[TEA]


def test_it_learns_what_goes_together_whatever_sells_to_everybody() -> None:
    pairs = [(person, 300, (TEA, GIFTS) if person % 4 == 0 else ()) for person in range(2000)]
    habits = [(person, 310, (BREAD,)) for person in range(2000)]
    weights = trade(*pairs, *habits).leanings(350)
    assert weights[GIFTS][TEA] > 0.5
    assert abs(weights[GIFTS].get(BREAD, 0.0)) < 0.1
