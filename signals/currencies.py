"""How finely a currency is divided: the minor units in which the catalogue and the pictures count prices."""

from __future__ import annotations

from typing import Final

# ISO 4217 minor units where they are not 2.
_EXPONENTS: Final = {
    "BHD": 3, "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0,
    "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0,
    "XPF": 0,
}  # fmt: skip


def exponent(currency: str) -> int:
    """The decimals of an amount: 2 for the euro, 0 for the yen, 3 for Kuwait's dinar."""
    return _EXPONENTS.get(currency, 2)
