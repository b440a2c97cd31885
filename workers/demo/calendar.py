"""The demo's calendar: Complete Journey's year 2017, moved by whole weeks so that its story ends today.

The story begins on Wednesday 2017-11-08 at 08:00 of the data. Mails are opened for seven days; seven more close the
outcomes of the last opens. Moving by whole weeks keeps every purchase on its weekday. The number of weeks is the
largest with which the last moment is not in the future, so nothing the demo stores is ever ahead of the machine's
clock, and once the story is told the demo's clock can join it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

DATA_BEGIN: Final = datetime(2017, 1, 1, tzinfo=UTC)
DATA_STORY: Final = datetime(2017, 11, 8, 8, 0, tzinfo=UTC)
STORY_LENGTH: Final = timedelta(days=7)
CLOSING: Final = timedelta(days=7)
WEEK: Final = timedelta(days=7)


@dataclass(frozen=True)
class Calendar:
    """How far the data are moved. `weeks` is negative only for a clock before 2017-11-22."""

    weeks: int

    @classmethod
    def ending_before(cls, today: datetime) -> Calendar:
        """The calendar whose story is over at `today`, by less than a week."""
        return cls((today - DATA_STORY - STORY_LENGTH - CLOSING) // WEEK)

    @property
    def shift(self) -> timedelta:
        """What is added to every moment of the data."""
        return self.weeks * WEEK

    @property
    def begin(self) -> datetime:
        """The first day of the data, midnight: the day on which every household is known."""
        return DATA_BEGIN + self.shift

    @property
    def story(self) -> datetime:
        """The story's "now": purchases before it are history, those after it are live signals."""
        return DATA_STORY + self.shift

    @property
    def end(self) -> datetime:
        """The end of the week in which mails are opened."""
        return self.story + STORY_LENGTH

    @property
    def closed(self) -> datetime:
        """The moment by which every open's outcome is known."""
        return self.end + CLOSING
