"""History windows: how often something happened between two moments counted back from now, in a named zone.

A bound is the midnight that begins a day where the zone is: so many calendar months or days before today, the first of
the month so many months back, or a date. The window holds its first moment and not its last. Counting months back keeps
the day of the month, or takes the month's last day where it has fewer: twelve months before 29 February 2024 is
28 February 2023, and one month before 31 March is the last of February.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

from base.clock import YEARS, check_year
from base.errors import InvalidInput
from signals.rulejson import below, only, text, whole

FIRST_YEAR: Final = 1900
"""Of a date in a rule: some say by one that everything counts."""
Unit = Literal["months_ago", "days_ago", "month_start", "date"]
_UNITS: Final[tuple[str, ...]] = get_args(Unit)
MAX_BACK: Final[Mapping[str, int]] = {"months_ago": 240, "days_ago": 7320, "month_start": 240}
MAX_COUNT: Final = 1_000_000
MAX_EVENT_NAME: Final = 200


class Bound(msgspec.Struct, frozen=True):
    """One end of a window: `back` units before today, or `day` when the unit is "date"."""

    unit: Unit
    back: int = 0
    day: date | None = None

    def on(self, today: date) -> date:
        """The day whose first moment this bound is."""
        if self.day is not None:
            return self.day
        if self.unit == "days_ago":
            return today - timedelta(days=self.back)
        months = today.year * 12 + today.month - 1 - self.back
        year, month = divmod(months, 12)
        if self.unit == "month_start":
            return date(year, month + 1, 1)
        return date(year, month + 1, min(today.day, calendar.monthrange(year, month + 1)[1]))


class History(msgspec.Struct, frozen=True):
    """Between `least` and `most` (None: no limit) events of that name, in the category if one is given."""

    event: str
    category: int | None
    begin: Bound | None
    end: Bound | None
    zone: str
    least: int
    most: int | None

    def window(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """First moment and first moment after, aware UTC; None where the window is open."""
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        return _midnight(self.begin, today, zone), _midnight(self.end, today, zone)


def history(raw: Mapping[str, object], category: int | None, path: str) -> History:
    """Read a history node whose fields are known and whose category is resolved. Raises InvalidInput."""
    event = text(raw["event"], below(path, "event"), MAX_EVENT_NAME).strip()
    if not event:
        raise InvalidInput(below(path, "event"), "must name an event")
    raw_least, raw_most = raw.get("min_count"), raw.get("max_count")
    most = None if raw_most is None else whole(raw_most, below(path, "max_count"), 0, MAX_COUNT)
    least = 1 if raw_least is None else whole(raw_least, below(path, "min_count"), 0, MAX_COUNT)
    if raw_least is None and most == 0:
        least = 0
    if most is not None and most < least:
        raise InvalidInput(below(path, "max_count"), "must not be less than min_count")
    begin = None if raw.get("from") is None else _bound(raw["from"], below(path, "from"))
    end = None if raw.get("to") is None else _bound(raw["to"], below(path, "to"))
    if begin and end and begin.unit == end.unit and _is_empty(begin, end):
        raise InvalidInput(below(path, "to"), "must come after from: the window would be empty")
    return History(event, category, begin, end, _zone(raw.get("zone"), below(path, "zone")), least, most)


def _bound(raw: object, path: str) -> Bound:
    if not isinstance(raw, Mapping) or len(raw) != 1:
        raise InvalidInput(path, f"must be an object with one of {', '.join(_UNITS)}")
    only(raw, _UNITS, path)
    (unit, value), *_ = raw.items()
    where = below(path, unit)
    if unit != "date":
        return Bound(unit, whole(value, where, 0, MAX_BACK[unit]))
    try:
        day = date.fromisoformat(text(value, where, 10))
    except ValueError:
        raise InvalidInput(where, "must be a date such as 2024-02-29") from None
    check_year(day, where, range(FIRST_YEAR, YEARS.stop))
    return Bound("date", day=day)


def _zone(raw: object, path: str) -> str:
    if raw is None:
        return "UTC"
    name = text(raw, path, 64)
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError):
        raise InvalidInput(path, f"there is no time zone {name!r}") from None


def _is_empty(begin: Bound, end: Bound) -> bool:
    if begin.day is not None and end.day is not None:
        return begin.day >= end.day
    return begin.back <= end.back


def _midnight(bound: Bound | None, today: date, zone: ZoneInfo) -> datetime | None:
    if bound is None:
        return None
    day = bound.on(today)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
