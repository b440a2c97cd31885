from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from base.clock import FixedClock, SteppedClock, SystemClock, check_year, clock_from
from base.errors import InvalidInput
from base.settings import Settings

START = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)


def test_it_tells_the_machines_time_in_utc_by_default() -> None:
    clock = clock_from(Settings())
    assert isinstance(clock, SystemClock)
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.now() <= clock.now()


def test_it_steps_for_every_process_that_shares_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    clock = SteppedClock(path, START)
    other = clock_from(replace(Settings(), clock_file=path))
    assert other.now() == clock.now() == START
    code = "import sys; from pathlib import Path; from datetime import *; from base.clock import SteppedClock; "
    code += "c = SteppedClock(Path(sys.argv[1])); print(c.now().isoformat()); c.advance(timedelta(days=366)); c.close()"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == START.isoformat()
    assert clock.now() == other.now() == START + timedelta(days=366)
    clock.close()


def test_it_stands_still_between_steps(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path / "clock", START)
    assert {clock.now() for _ in range(100)} == {START}
    clock.close()


def test_it_keeps_the_time_of_a_clock_that_is_there_already(tmp_path: Path) -> None:
    SteppedClock(tmp_path / "clock", START).close()
    again = SteppedClock(tmp_path / "clock", START + timedelta(days=9))
    assert again.now() == START
    again.set(START - timedelta(days=1))
    assert again.now() == START - timedelta(days=1)
    again.close()


def test_it_loses_no_step_when_processes_step_at_once(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    clock = SteppedClock(path, START)
    code = "import sys; from pathlib import Path; from datetime import *; from base.clock import SteppedClock; "
    code += "c = SteppedClock(Path(sys.argv[1])); [c.advance(timedelta(seconds=1)) for _ in range(2000)]; c.close()"
    running = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert clock.now() == START + timedelta(seconds=6000)
    clock.close()


def test_it_refuses_a_moment_without_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        FixedClock(datetime(2026, 1, 1))  # noqa: DTZ001


def test_it_turns_other_zones_into_utc() -> None:
    clock = FixedClock(datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


@pytest.mark.parametrize(
    ("at", "is_told"),
    [
        ("2000-01-01T00:00:00Z", True),
        ("2199-12-31T23:59:59Z", True),
        ("1999-12-31T23:59:59Z", False),
        ("2200-01-01T00:00:00Z", False),
        ("2000-01-01T00:00:00+14:00", False),
        ("2199-12-31T23:59:59-14:00", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("9999-12-31T23:59:59-14:00", False),
        ("2000-01-01T00:00:00", True),
    ],
)
def test_it_takes_moments_far_from_the_edges_of_the_calendar(at: str, is_told: bool) -> None:
    moment = datetime.fromisoformat(at)
    if is_told:
        check_year(moment, "at")
        check_year(moment.date(), "at")
        return
    with pytest.raises(InvalidInput, match="at: must be in the years 2000 to 2199"):
        check_year(moment, "at")
