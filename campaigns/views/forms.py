"""Reading forms: each function names the field in its error, so that the page can show the fault beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from base.errors import InvalidInput
from campaigns import wallclock
from campaigns.addresses import MAX_LONG_ID
from campaigns.numerals import numeral
from signals.currencies import NO_CURRENCY, exponent, is_code

MAX_TEXT = 200_000
_WHOLE = re.compile(r"-?[0-9]{1,9}")
_BOUNDS = tuple(
    (re.compile(said), phrase)
    for said, phrase in (
        (r"Expected `str` of length >= 1", "must not be empty"),
        (r"Expected `str` of length <= (\d+)", "must have at most {} characters"),
        (r"Expected `str` of length >= (\d+)", "must have at least {} characters"),
        (r"Expected `(?:int|float)` <= (-?[\d.]+)", "must be at most {}"),
        (r"Expected `(?:int|float)` >= (-?[\d.]+)", "must be at least {}"),
    )
)
Content = TypeVar("Content", bound=Struct)


def text(form: Mapping[str, str], name: str, *, most: int = 2_000) -> str:
    """The trimmed text of a field, "" when it is not there."""
    value = form.get(name, "").replace("\r\n", "\n").strip()
    if len(value) > most:
        raise InvalidInput(name, f"must have at most {most} characters")
    if "\x00" in value:
        raise InvalidInput(name, "holds a character that cannot be kept")
    return value


def currency(form: Mapping[str, str], name: str) -> str:
    """The code of a currency in capitals, "" when it is not there. Raises InvalidInput naming the field."""
    code = text(form, name).upper()
    if code and not (is_code(code) and code != NO_CURRENCY):
        raise InvalidInput(name, "must be three letters, such as EUR")
    return code


def optional(form: Mapping[str, str], name: str) -> str | None:
    """The text, or None when it is empty."""
    return text(form, name) or None


def whole(form: Mapping[str, str], name: str) -> int | None:
    """A whole number, or None when the field is empty."""
    value = text(form, name)
    if not value:
        return None
    if not _WHOLE.fullmatch(value):
        raise InvalidInput(name, "must be a whole number of at most nine digits, such as 1200")
    return int(value)


def position(values: Mapping[str, str], name: str, most: int = MAX_LONG_ID) -> int:
    """Where a list goes on: a row's number, 0 for its beginning, for what is no number, and for one above `most`."""
    value = values.get(name, "")
    number = int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else 0
    return number if number <= most else 0


def cents(form: Mapping[str, str], name: str, currency: str = "", *, most: int | None = None) -> int:
    """An amount of money such as 4.50, as cents, or as minor units of a currency; 0 when the field is empty.

    `most` are the most minor units that it may be; it is not below 0 then.
    """
    value = text(form, name)
    if not value:
        return 0
    amount = numeral(value, name, "must be an amount such as 4.50")
    decimals = exponent(currency)
    if abs(amount) > 10**7:
        raise InvalidInput(name, "must be an amount of at most ten million")
    if amount != amount.quantize(Decimal(1).scaleb(-decimals)):
        how = f"with at most {decimals} decimals" if decimals else "without decimals"
        raise InvalidInput(name, f"must be an amount {how}{f' in {currency}' if currency else ''}")
    minor = int(amount.scaleb(decimals))
    if most is not None and not 0 <= minor <= most:
        raise InvalidInput(name, f"must be an amount from 0 to {Decimal(most).scaleb(-decimals):,f}")
    return minor


def amount(cents: int, currency: str = "") -> str:
    """Minor units as `cents` reads them: 4.50, or 450 of a currency that has none."""
    return str(Decimal(cents).scaleb(-exponent(currency)))


def share(form: Mapping[str, str], name: str, *, most: int = 100) -> float:
    """A percentage from 0 to `most` as a share from 0 to 1; 0 when the field is empty."""
    number = float(numeral(text(form, name).rstrip("%") or "0", name, "must be a percentage"))
    if not 0 <= number <= most:
        raise InvalidInput(name, f"must be from 0 to {most} per cent")
    return number / 100


def number(form: Mapping[str, str], name: str, words: str = "must be a number") -> float | None:
    """A number, or None when the field is empty; `words` say of what is none what it must be."""
    value = text(form, name)
    return float(numeral(value, name, words)) if value else None


def moment(form: Mapping[str, str], name: str, zone: str) -> datetime | None:
    """A wall time of a datetime-local field in a named zone, or None when it is empty.

    A time that the zone's clocks skip is moved on by the gap; of one that happens twice the first is meant. Raises
    InvalidInput for the field, or for `timezone`.
    """
    value = text(form, name)
    if not value:
        return None
    wall = wallclock.parse(value, name, offset=True)
    if wall.tzinfo is not None:
        return wall
    return wallclock.read(wall, wallclock.zone(zone, "timezone")).at


def on(form: Mapping[str, str], name: str) -> bool:
    """Whether a box is ticked."""
    return name in form


def content(values: Mapping[str, Any], kind: type[Content]) -> Content:
    """The values as a struct, held to every bound it has. Raises InvalidInput naming the field."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise InvalidInput(path.rstrip("`") or "name", _in_words(message)) from None


def _in_words(message: str) -> str:
    """What msgspec says of a bound, as people say it."""
    for said, phrase in _BOUNDS:
        if found := said.fullmatch(message):
            return phrase.format(*found.groups())
    return message[:1].lower() + message[1:]


def changed(old: Content, **changes: Any) -> Content:
    """The struct with these changes, held to every bound it has. Raises InvalidInput naming the field."""
    values = {name: getattr(old, name) for name in old.__struct_fields__}
    return content(msgspec.to_builtins(values | changes, builtin_types=(datetime,)), type(old))
