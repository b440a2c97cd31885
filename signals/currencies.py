"""Currencies: how finely each is divided, how calls tell them, and what an amount of one is worth in another.

Rates are whole numbers of ten-billionths (PAR is one to one), so that Python and SQL reckon exactly the same.
"""

from __future__ import annotations

import re
from typing import Any, Final

PAR: Final = 10**10
"""The rate of a currency that is worth as much as the installation's own."""
NO_CURRENCY: Final = "XXX"
"""What ISO 4217 calls what is no currency: told where a call names something else than a code. It never has a rate."""

_CODE: Final = re.compile(r"[A-Za-z]{3}")
# ISO 4217 minor units where they are not 2.
_EXPONENTS: Final = {
    "BHD": 3, "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0,
    "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0,
    "XPF": 0,
}  # fmt: skip


def exponent(currency: str) -> int:
    """The decimals of an amount: 2 for the euro, 0 for the yen, 3 for Kuwait's dinar."""
    return _EXPONENTS.get(currency, 2)


def is_code(currency: str) -> bool:
    """Whether this can be a currency's code: three letters."""
    return _CODE.fullmatch(currency) is not None


def told_in(value: Any) -> str:
    """The currency that a call's `currency` tells, in capitals: "" where it tells none, XXX where that is no code."""
    told = value.strip() if isinstance(value, str) else value
    if told is None or told == "":
        return ""
    return told.upper() if isinstance(told, str) and is_code(told) else NO_CURRENCY


def worth(cents: int, rate: int) -> int:
    """What an amount that is not negative comes to at a rate; halves round up. Nothing where the rate is 0: unknown."""
    return cents if rate == PAR else (cents * rate + PAR // 2) // PAR


def exchanged(cents: int, rate: int, other: int) -> int | None:
    """An amount of a currency of one rate in that of the other, without its sign; None where a rate is unknown (0)."""
    return (2 * abs(cents) * rate + other) // (2 * other) if rate and other else None
