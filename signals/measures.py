"""How much of a product a line is of: pieces, or a part of a unit where it is sold by weight or by length.

A line keeps a whole count of pieces, at least one, and beside it how much exactly, in millionths of a unit, where that
is no whole number: 1.5 kg are 2 pieces of 1,500,000. What it is worth is the price of a unit times how much exactly,
rounded once. For whole quantities both are the same as without.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Final, Protocol

from signals.state import MAX_NUMBER

UNIT: Final = 1_000_000
"""Millionths in a unit; what is told more finely is rounded to them, halves up."""

MAX_QUANTITY: Final = 100_000
MOST: Final = MAX_QUANTITY * UNIT


class Measured(Protocol):
    """A line: `quantity` pieces at `cents` a unit; `millionths` are how much exactly, 0 where the pieces are whole."""

    @property
    def quantity(self) -> int: ...
    @property
    def cents(self) -> int | None: ...
    @property
    def millionths(self) -> int: ...


def told(value: object) -> int:
    """A quantity as a call tells it, in millionths, at most MOST; 0 where it is none or less than a millionth."""
    if type(value) is int:
        return min(value * UNIT, MOST) if 0 <= value <= MAX_NUMBER else 0
    if not isinstance(value, float | str):
        return 0
    try:
        number = Decimal(str(value).strip())
        if not 0 < number <= MAX_NUMBER:
            return 0
    except InvalidOperation:
        return 0
    return int((min(number, Decimal(MAX_QUANTITY)) * UNIT).to_integral_value(ROUND_HALF_UP))


def exact(line: Measured) -> int:
    """How much a line is of, in millionths of a unit."""
    return line.millionths or line.quantity * UNIT


def pieces(millionths: int) -> tuple[int, int]:
    """The pieces of so many millionths, a part counted as one, and the `millionths` that a line keeps beside them."""
    whole, part = divmod(millionths, UNIT)
    return (whole + 1, millionths) if part else (whole, 0)


def worth(line: Measured) -> int:
    """What a line is worth, in cents, halves up; 0 where no price is told."""
    cents = line.cents or 0
    return (line.millionths * cents + UNIT // 2) // UNIT if line.millionths else line.quantity * cents


def shown(quantity: int, millionths: int) -> int | float:
    """The quantity as a call tells it."""
    return millionths / UNIT if millionths else quantity
