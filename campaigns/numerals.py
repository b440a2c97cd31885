"""Numbers as they are typed in forms: with a point or a comma before their decimals, and nothing between thousands."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from base.errors import InvalidInput

_NUMERAL: Final = re.compile(r"[+-]?(?:[0-9]{1,18}(?:[.,][0-9]{0,18})?|[.,][0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?")
_TWO_WAYS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_GROUPED: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")


def numeral(text: str, field: str, words: str = "must be a number") -> Decimal:
    """The number that a text says, such as 4.50, 4,50 or -3.

    Raises InvalidInput naming the field: with these words for what is no number, and for a comma between up to three
    digits, of which the first is no 0, and three: it stands before decimals for some, between thousands for others.
    """
    said = refuse_grouped(text.strip(), field)
    if not _NUMERAL.fullmatch(said):
        raise InvalidInput(field, words)
    return Decimal(said.replace(",", "."))


def refuse_grouped(text: str, field: str) -> str:
    """The text, unless it is a number whose comma may stand between thousands. Raises InvalidInput naming the field."""
    if _TWO_WAYS.fullmatch(text):
        whole, parts = text.replace(",", ""), text.replace(",", ".")
        raise InvalidInput(field, f"{text} can be read in two ways: write {whole}, or {parts} if decimals are meant")
    if _GROUPED.fullmatch(text):
        raise InvalidInput(field, f"must be written without commas between thousands: {text.replace(',', '')}")
    return text
