"""When the examples of a training are taken: weekly snapshots, parted in time so that no part sees another's outcomes.

From the past to now: a base (what the market buys is learnt there), then weeks for training, calibration and test.
After each part one week stays free, because the last snapshots of the part look that far ahead for their outcomes.
Every profile has its own hour of the week, so all weekdays and hours occur.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from base.errors import InvalidInput

Part = Literal["train", "calibrate", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "calibrate", "test")
WEEK: Final = timedelta(days=7)
OUTCOME: Final = timedelta(days=7)
"""An outcome is a purchase within this time of the snapshot; only windows that have closed are used."""

MOST_TRAIN_WEEKS: Final = 14
LEAST_TRAIN_WEEKS: Final = 4
CALIBRATE_WEEKS: Final = 3
TEST_WEEKS: Final = 3
LEAST_BASE_WEEKS: Final = 4
_HOURS: Final = 7 * 24


@dataclass(frozen=True)
class Snapshot:
    """A moment at which a profile's state is looked at, for one part of the data."""

    part: Part
    week: int
    at: datetime

    @property
    def closes(self) -> datetime:
        """The end of the outcome window; what happens at it is outside."""
        return self.at + OUTCOME


@dataclass(frozen=True)
class Timetable:
    """The weeks of a training. `base_end` is the start of the first week; every window closes by `end`."""

    base_end: datetime
    train_weeks: int
    end: datetime

    @classmethod
    def before(cls, now: datetime, first_event: datetime) -> Timetable:
        """The longest timetable up to MOST_TRAIN_WEEKS that fits between the first event and now.

        Raises InvalidInput when the history is too short to train, calibrate and test on.
        """
        end = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        room = (end - first_event) // WEEK - cls._fixed_weeks() - LEAST_BASE_WEEKS
        if room < LEAST_TRAIN_WEEKS:
            least = cls._fixed_weeks() + LEAST_BASE_WEEKS + LEAST_TRAIN_WEEKS
            raise InvalidInput("events", f"must reach back at least {least} weeks to train a model on them")
        weeks = min(room, MOST_TRAIN_WEEKS)
        return cls(end - (weeks + cls._fixed_weeks()) * WEEK, weeks, end)

    def weeks(self) -> Iterator[tuple[Part, datetime]]:
        """Each snapshot week: its part and its first moment."""
        begin = self.base_end
        for part, count in zip(PARTS, (self.train_weeks, CALIBRATE_WEEKS, TEST_WEEKS), strict=True):
            for _ in range(count):
                yield part, begin
                begin += WEEK
            begin += OUTCOME

    def snapshots(self, profile: int) -> list[Snapshot]:
        """The snapshots of one profile, at its own hour of each week, in order of time."""
        hour = int.from_bytes(hashlib.sha256(f"hour\0{profile}".encode()).digest()[:8], "big") % _HOURS
        return [
            Snapshot(part, number, begin + timedelta(hours=hour)) for number, (part, begin) in enumerate(self.weeks())
        ]

    @staticmethod
    def _fixed_weeks() -> int:
        """Weeks besides those of the base and of training: the other parts, and a free week after each of the three."""
        return CALIBRATE_WEEKS + TEST_WEEKS + len(PARTS)
