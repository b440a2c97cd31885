"""The units of time a profile state is written in: seconds and UTC days since 2020-01-01.

Counting from 2020 keeps a moment within five bytes of MessagePack and a day within three. Days are UTC days, so that
Python at the open and SQL in an audience agree on what "3 days ago" means without asking for anybody's zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

ORIGIN = datetime(2020, 1, 1, tzinfo=UTC)
ORIGIN_MS = 1_577_836_800_000
DAY_S = 86_400
_MILLISECOND = timedelta(milliseconds=1)


def seconds_of(time_ms: int) -> int:
    """Whole seconds since 2020-01-01 UTC of a Unix time in milliseconds; negative before it."""
    return (time_ms - ORIGIN_MS) // 1000


def ms_of(seconds: int) -> int:
    """Unix milliseconds of a moment in seconds since 2020."""
    return seconds * 1000 + ORIGIN_MS


def day_of(seconds: int) -> int:
    """The UTC day, counted from 2020-01-01 = 0, that holds a moment in seconds since 2020."""
    return seconds // DAY_S


def unix_ms(moment: datetime) -> int:
    """Unix milliseconds of an aware datetime, rounded down."""
    return (moment - ORIGIN) // _MILLISECOND + ORIGIN_MS


def moment_of(time_ms: int) -> datetime:
    """The aware datetime (UTC) of a Unix time in milliseconds, exactly."""
    return ORIGIN + (time_ms - ORIGIN_MS) * _MILLISECOND


def today_of(moment: datetime) -> int:
    """The UTC day, counted from 2020-01-01 = 0, of an aware datetime."""
    return (moment - ORIGIN).days
