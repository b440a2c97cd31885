"""Days that something happened on, kept as the gaps between them: a byte each, newest first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from operator import sub

from signals.moments import day_of


def days_back(last_day: int, gaps: bytes) -> list[int]:
    """The days that a newest day and its gaps stand for, newest first."""
    if 255 not in gaps:
        return list(accumulate(gaps, sub, initial=last_day))
    days = [last_day]
    carried = 0
    for gap in gaps:
        carried += gap
        if gap < 255:
            days.append(days[-1] - carried)
            carried = 0
    return days


def gaps_of(days: Iterable[int]) -> bytes:
    """The byte form of days that descend; the opposite of `days_back`."""
    gaps = bytearray()
    newer: int | None = None
    for day in days:
        if newer is not None:
            full, rest = divmod(newer - day, 255)
            gaps += b"\xff" * full
            gaps.append(rest)
        newer = day
    return bytes(gaps)


def longer(gaps: bytes, last_s: int | None, seconds: int, bound: int) -> bytes:
    """The gaps after one more order at `seconds`, at most `bound` of them; the oldest leave."""
    if last_s is None:
        return b""
    full, rest = divmod(day_of(seconds) - day_of(last_s), 255)
    grown = b"\xff" * full + bytes((rest,)) + gaps
    if len(grown) <= bound:
        return grown
    if 255 not in grown:
        return grown[:bound]
    return gaps_of(days_back(0, grown)[: bound + 1])
