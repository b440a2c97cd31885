"""Customers as unlike as those of a shop: what they ordered before a mail, and whether they order after it.

People order at rates of their own, and any order after the first may be their last: the BG/NBD model of Fader, Hardie
and Lee (Marketing Science 24, 2005), with what they found for the customers of CDNOW. The mail makes everybody likelier
to order by the same factor, so it does most for those who order most.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from campaigns import past
from campaigns.lift import Past, Sample

CUSTOMERS: Final = 100_000
RATES: Final = (0.243, 4.414)
"""The gamma distribution of orders a week: its shape, so small that a few order most, and its rate."""
LEAVING: Final = (0.793, 2.426)
"""The beta distribution of the chance that an order is somebody's last."""
KNOWN_DAYS: Final = 728
"""For how long anybody has been a customer, at most; as many for each number of days."""

Array = np.ndarray[Any, np.dtype[np.float64]]


def by_day(
    random: np.random.Generator,
    people: tuple[int, int],
    chances: tuple[float, float],
    *,
    days: int,
    has_money: bool = False,
) -> list[tuple[Sample, Sample]]:
    """Two groups at the end of each day: people order on some day with the group's chance on average, or never.

    Amounts are 1, or lognormal.
    """
    all_pasts, all_chances = shop(max(chances))
    groups = []
    for size, chance in zip(people, chances, strict=True):
        who = random.integers(0, CUSTOMERS, size)
        known = all_pasts[who]
        orders = random.random(size) < all_chances[who] * chance / max(chances)
        amounts = np.where(orders, random.lognormal(3.5, 0.8, size) if has_money else 1.0, 0.0)
        day = random.integers(0, days, size)
        columns = [
            np.cumsum(np.bincount(day, weights=column, minlength=days))
            for column in (amounts, amounts**2, orders, amounts * known)
        ]
        total, squares = float(known.sum()), float((known**2).sum())
        groups.append(
            [
                Sample(size, amount, squared, int(active), Past(total, squares, product))
                for amount, squared, active, product in zip(*columns, strict=True)
            ]
        )
    return list(zip(*groups, strict=True))


@cache
def shop(chance: float) -> tuple[Array, Array]:
    """All customers: their pasts, and the chance that each orders in as many days as make it `chance` on average."""
    random = np.random.default_rng(0)
    shape, rate = RATES
    a_day = random.gamma(shape, 1 / rate, CUSTOMERS) / 7
    leaves_with = random.geometric(random.beta(*LEAVING, CUSTOMERS))
    known = random.uniform(0, KNOWN_DAYS, CUSTOMERS)
    orders = random.poisson(a_day * known)
    owners = np.repeat(np.arange(CUSTOMERS), orders)
    ages = random.random(len(owners)) * known[owners]
    ages = ages[np.lexsort((-ages, owners))]
    place = np.arange(len(owners)) - np.repeat(np.cumsum(orders) - orders, orders)
    placed = place < leaves_with[owners]
    weights = _weight(known) + np.bincount(owners, weights=_weight(ages) * placed, minlength=CUSTOMERS)
    a_day[orders >= leaves_with] = 0.0
    few, many = 0.0, 100_000.0
    for _ in range(60):
        middle = (few + many) / 2
        few, many = (middle, many) if (1 - np.exp(-a_day * middle)).mean() < chance else (few, middle)
    return np.minimum(weights, past.MOST), 1 - np.exp(-a_day * few)


def _weight(ages: Array) -> Array:
    """What orders so many days before the mail count in a past."""
    return np.round(100 * 0.5 ** (ages / past.HALF_LIFE_DAYS))
