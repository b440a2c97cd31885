"""What somebody had ordered before a mail, as one number: what lifts are adjusted by (`campaigns/lift.py`).

It is the orders before the mail, each counting half as much for every HALF_LIFE_DAYS it lies back, in hundredths
of an order. It is whole, so that the sums kept of erased people add up exactly, and bounded, so that no single buyer
turns a comparison. Orders are those that results count: as they were placed, whatever came back of them.
"""

from __future__ import annotations

from typing import Final

HALF_LIFE_DAYS: Final = 56
"""Of 14 to 364 days about the best both for the customers of CDNOW and for the households of Complete Journey: chosen
once, on what they ordered, and never by what a campaign brings."""
MOST_DAYS: Final = 8 * HALF_LIFE_DAYS
"""Older orders would count less than half a hundredth, which is nothing."""
MOST: Final = 10_000
"""A hundred orders' worth; who orders more often counts as that."""


def past_of(sent_at: str, ordered_at: str) -> str:
    """SQL of one person's number, an aggregate over their orders; the arguments are SQL of two moments."""
    age = f"extract(epoch FROM {sent_at} - {ordered_at})::float8"
    return (
        f"least({MOST}, coalesce(sum(round(100 * power(0.5::float8, {age} / {86_400 * HALF_LIFE_DAYS}))) FILTER ("
        f"WHERE {ordered_at} < {sent_at} AND {ordered_at} >= {sent_at} - interval '{MOST_DAYS} days'), 0))"
    )
