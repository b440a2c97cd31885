"""How a campaign's mails get their moments: by whose clocks, in which hours, what if it is late, and when again."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from base.errors import InvalidInput

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES: Final = 24 * 60
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clocks = Literal["campaign", "recipient"]
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")


class Window(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hours in which mails may leave: on these days, from one time of day to another, by these clocks.

    Times are HH:MM, `until` at most 24:00 and later than `begin`. Outside of it everything waits; it goes on by itself.
    """

    days: Annotated[list[Day], Meta(min_length=1, max_length=7)] = msgspec.field(default_factory=lambda: list(DAYS))
    begin: str = "08:00"
    until: str = "20:00"
    clocks: Clocks = "campaign"


class Missed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a run that could not begin within so many minutes of its time, because the system was down.

    send: it goes out nevertheless; skip: it does not, and says so; ask: the campaign is paused until a person decides.
    """

    late: Literal["send", "skip", "ask"] = "send"
    after_minutes: Annotated[int, Meta(ge=1, le=28 * DAY_MINUTES)] = 240


class Timing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a campaign's mails get their moments.

    `clocks` recipient: the scheduled wall time is that of each recipient's own zone: what their profile says, else what
    their recent signals came with, else the campaign's. `passed` is for whom it is over when the run begins: mailed
    now, at that time of the next day, or not at all. With `own_hours` who is known to open mails at an hour of their
    own (`campaigns.habits`) gets it at that hour of the scheduled day, the others at the scheduled time.

    `joins` is whom the audience holds: scheduling, who fits when it is scheduled; send, who fits when it begins;
    until_end, also who comes to fit until the campaign ends. An evergreen campaign always goes on taking people in;
    with `newcomers_only` who is there when it begins is not mailed.
    """

    clocks: Clocks = "campaign"
    passed: Literal["now", "next_day", "skip"] = "next_day"
    own_hours: bool = False
    window: Window | None = None
    missed: Missed = Missed()
    joins: Literal["scheduling", "send", "until_end"] = "send"
    newcomers_only: bool = False


class Repeat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a campaign comes again, at the wall time it is scheduled for: every so many days, weeks or months.

    `days` are of the week, and none of them is that of the first run. A month without the day has the run on its last.
    It ends with the campaign (`ends_at`), or after so many `times`.
    """

    every: Literal["day", "week", "month"] = "week"
    each: Annotated[int, Meta(ge=1, le=60)] = 1
    days: Annotated[list[Day], Meta(max_length=7)] = []
    times: Annotated[int, Meta(ge=1, le=10_000)] | None = None


def of(stored: dict[str, Any]) -> Timing:
    """The timing that a campaign's row holds."""
    return msgspec.convert(stored, Timing)


def minutes(time: str, field: str) -> int:
    """A time of day as minutes since midnight. Raises InvalidInput for the field."""
    if not _TIME.fullmatch(time):
        raise InvalidInput(field, "must be a time of day such as 08:30")
    return int(time[:2]) * 60 + int(time[3:])


def check(timing: Timing, repeat: Repeat | None, kind: str, *, has_end: bool) -> None:
    """Raises InvalidInput naming the field that does not fit the others."""
    window = timing.window
    if window is not None:
        if len(set(window.days)) != len(window.days):
            raise InvalidInput("timing.window.days", "name a day twice")
        begin = minutes(window.begin, "timing.window.begin")
        if minutes(window.until, "timing.window.until") <= begin:
            raise InvalidInput("timing.window.until", "must be later than it begins, on the same day")
    if timing.clocks == "recipient" and kind not in ("broadcast", "recurring"):
        raise InvalidInput("timing.clocks", "can be the recipients’ only where it goes out at a set time")
    if timing.own_hours and timing.clocks != "recipient":
        raise InvalidInput("timing.own_hours", "needs the clocks of recipients")
    if timing.joins != "send" and kind != "broadcast":
        raise InvalidInput("timing.joins", "can be chosen only for one send to an audience")
    if timing.newcomers_only and kind != "evergreen":
        raise InvalidInput("timing.newcomers_only", "can be chosen only for campaigns of kind evergreen")
    if timing.joins == "until_end" and not has_end:
        raise InvalidInput("ends_at", "is missing: who joins is taken in until the campaign ends")
    if (kind == "recurring") != (repeat is not None):
        raise InvalidInput("repeat", "belongs to campaigns of kind recurring, and to no others")
    if repeat is not None:
        if repeat.days and repeat.every != "week":
            raise InvalidInput("repeat.days", "can be chosen only for what comes every week")
        if len(set(repeat.days)) != len(repeat.days):
            raise InvalidInput("repeat.days", "name a day twice")
