"""Reading forms: each function names the field in its error, so that the page can show the fault beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from base.errors import InvalidInput

MAX_TEXT = 200_000


def text(form: Mapping[str, str], name: str, *, most: int = 2_000) -> str:
    """The trimmed text of a field, "" when it is not there."""
    value = form.get(name, "").replace("\r\n", "\n").strip()
    if len(value) > most:
        raise InvalidInput(name, f"must have at most {most} characters")
    if "\x00" in value:
        raise InvalidInput(name, "holds a character that cannot be kept")
    return value


def optional(form: Mapping[str, str], name: str) -> str | None:
    """The text, or None when it is empty."""
    return text(form, name) or None


def whole(form: Mapping[str, str], name: str) -> int | None:
    """A whole number, or None when the field is empty."""
    value = text(form, name)
    if not value:
        return None
    if not value.lstrip("-").isdigit() or len(value) > 10:
        raise InvalidInput(name, "must be a whole number")
    return int(value)


def cents(form: Mapping[str, str], name: str) -> int:
    """An amount of money such as 4.50, as cents; 0 when the field is empty."""
    value = text(form, name).replace(",", ".")
    if not value:
        return 0
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise InvalidInput(name, "must be an amount such as 4.50") from None
    if not amount.is_finite() or abs(amount) > 10**7 or amount != amount.quantize(Decimal("0.01")):
        raise InvalidInput(name, "must be an amount with at most two decimals")
    return int(amount * 100)


def share(form: Mapping[str, str], name: str) -> float:
    """A percentage from 0 to 100 as a share from 0 to 1; 0 when the field is empty."""
    value = text(form, name).replace(",", ".").rstrip("%").strip()
    try:
        number = float(value or 0)
    except ValueError:
        raise InvalidInput(name, "must be a percentage") from None
    if not 0 <= number <= 100:
        raise InvalidInput(name, "must be from 0 to 100 per cent")
    return number / 100


def moment(form: Mapping[str, str], name: str, zone: str) -> datetime | None:
    """A wall time of a datetime-local field in a named zone, or None when it is empty.

    A time that the zone's clocks skip is moved on by the gap; of one that happens twice the first is meant.
    """
    value = text(form, name)
    if not value:
        return None
    try:
        wall = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput(name, "must be a date and a time") from None
    if wall.tzinfo is not None:
        return wall
    return wall.replace(tzinfo=ZoneInfo(zone))


def on(form: Mapping[str, str], name: str) -> bool:
    """Whether a box is ticked."""
    return name in form
