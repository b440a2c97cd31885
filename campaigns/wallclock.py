"""Wall time: what the clocks of a named zone show, and the instant that is.

Where clocks are put forward some wall times never come, where they are put back some come twice. The rule, which pages
tell: one that never comes is moved on by as much as the clocks are; of one that comes twice the first is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from base.clock import check_year
from base.errors import InvalidInput

Coming = Literal["once", "never", "twice", "second"]
_NO_PLACE: Final = frozenset({"Factory", "localtime", "posixrules"})
"""Files beside those of the zones that name no zone: they say what the machine or its maker chose."""
_FIELD: Final = "%Y-%m-%dT%H:%M:%S"


@cache
def zones() -> tuple[str, ...]:
    """The names of the IANA zones, sorted."""
    return tuple(sorted(available_timezones() - _NO_PLACE))


@cache
def _known() -> frozenset[str]:
    return frozenset(zones())


def is_zone(name: object) -> bool:
    """Whether it names an IANA zone, as IANA spells it; `GMT-8` and "" do not."""
    return isinstance(name, str) and name in _known()


def zone(name: str, field: str) -> str:
    """The name of an IANA zone. Raises InvalidInput for the field."""
    if not is_zone(name):
        raise InvalidInput(field, "must be an IANA zone such as Europe/Vienna")
    return name


@dataclass(frozen=True, slots=True)
class WallTime:
    """A wall time of a zone, the instant (UTC) that is meant by it, and what the clocks show then.

    `coming` says how often the wall time comes that day; "second" is the second of one that comes twice.
    """

    wall: datetime
    zone: str
    at: datetime
    shown: datetime
    coming: Coming


def read(wall: datetime, zone: str) -> WallTime:
    """The instant of a wall time (without a zone of its own) where the zone is, by the rule for edges."""
    return told(wall, zone, wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC))


def told(wall: datetime, zone: str, at: datetime) -> WallTime:
    """A wall time whose instant is known: as it was once read, or as a program named it."""
    place = ZoneInfo(zone)
    first, second = (wall.replace(tzinfo=place, fold=fold).utcoffset() for fold in (0, 1))
    shown = at.astimezone(place)
    coming: Coming = "once"
    if first != second and first is not None and second is not None:
        coming = "never" if first < second else "second" if shown.fold else "twice"
    return WallTime(wall, zone, at.astimezone(UTC), shown.replace(tzinfo=None, fold=0), coming)


def of_instant(at: datetime, zone: str) -> WallTime:
    """What the zone's clocks show at an instant."""
    return told(at.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0), zone, at)


def typed(wall: datetime) -> str:
    """A wall time as the field of a form holds it: to the minute, or to the second where it has seconds."""
    return wall.strftime(_FIELD if wall.second else _FIELD[: -len(":%S")])


def parse(value: str, field: str, *, offset: bool = False) -> datetime:
    """A wall time such as 2026-03-29T02:30; with an offset of its own only if that is allowed. Raises InvalidInput."""
    try:
        wall = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput(field, "must be a date and a time") from None
    check_year(wall, field)
    if wall.tzinfo is not None and not offset:
        raise InvalidInput(field, "must have no offset: it is a time of the zone")
    return wall
