from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from base.clock import monotonic, pause
from base.processes import command_line
from workers.crew import RESTARTS_AT_ONCE, Crew, end_left_over_crew

PYTHON = sys.executable
SLEEPER = f'exec {PYTHON} -c "import time; time.sleep(600)" ticker'


def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline, "it did not happen in time"
        pause(0.02)


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    made = Crew(tmp_path, tmp_path, None)
    yield made
    made.stop()


def run(crew: Crew, **lines: str) -> None:
    procfile = "".join(f"{name}: {line}\n" for name, line in lines.items())
    crew.start(procfile, {name: dict(os.environ) for name in lines}, frozenset())


def test_it_starts_every_line_and_stops_all_of_them(crew: Crew) -> None:
    run(crew, one=SLEEPER, two=SLEEPER)
    until(lambda: crew.pid("one") and crew.pid("two"))
    pids = [crew.pid("one"), crew.pid("two")]
    crew.stop()
    assert [command_line(pid) for pid in pids] == ["", ""]
    assert crew.failed == ""


def test_it_gives_each_line_its_own_environment_and_keeps_what_it_says(tmp_path: Path) -> None:
    shown = io.StringIO()
    crew = Crew(tmp_path, tmp_path, shown)
    line = f"{PYTHON} -c \"import os, time; print('word', os.environ['WORD'], flush=True); time.sleep(600)\""
    crew.start(
        f"one: exec {line}\ntwo: exec {line}\n",
        {"one": os.environ | {"WORD": "red"}, "two": os.environ | {"WORD": "blue"}},
        frozenset(),
    )
    until(lambda: "red" in shown.getvalue() and "blue" in shown.getvalue())
    crew.stop()
    assert (tmp_path / "log" / "one.log").read_text() == "word red\n"
    assert (tmp_path / "log" / "two.log").read_text() == "word blue\n"


def test_it_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    crew = Crew(tmp_path, tmp_path, None)
    crew.start(f"one: {SLEEPER}\nsink: {SLEEPER}\n", {"one": dict(os.environ)}, frozenset({"sink"}))
    assert crew.names() == ["one"]
    crew.stop()


def test_it_fails_when_a_line_ends_while_starting(crew: Crew, tmp_path: Path) -> None:
    run(crew, good=SLEEPER, bad=f'exec {PYTHON} -c "raise SystemExit(7)"')
    until(lambda: crew.failed)
    assert crew.failed == f"bad ended with status 7 while starting; see {tmp_path / 'log' / 'bad.log'}."


def test_it_starts_again_what_was_killed_later(crew: Crew, tmp_path: Path) -> None:
    run(crew, one=SLEEPER)
    until(lambda: crew.pid("one"))
    first = crew.pid("one")
    crew.settle()
    os.kill(first, signal.SIGKILL)
    until(lambda: crew.pid("one") not in (0, first))
    assert "ticker" in command_line(crew.pid("one"))
    assert crew.failed == ""
    assert "starting it again" in (tmp_path / "log" / "one.log").read_text()


def test_it_keeps_the_others_when_a_line_ends_again_and_again(crew: Crew, tmp_path: Path) -> None:
    mended, log = tmp_path / "mended", tmp_path / "log" / "bad.log"
    code = "import os, sys, time; os.path.exists(sys.argv[1]) or sys.exit(7); time.sleep(600)"
    crew.settle()
    run(crew, good=SLEEPER, bad=f'exec {PYTHON} -c "{code}" {mended}')
    until(lambda: crew.pid("good"))
    good = crew.pid("good")
    until(lambda: log.exists() and "next try in 2 s" in log.read_text())
    said = log.read_text()
    assert said.count("starting it again") == RESTARTS_AT_ONCE
    assert "bad ends again and again, last with status 7; next try in 1 s" in said
    assert (crew.pid("bad"), crew.pid("good"), crew.failed) == (0, good, "")
    mended.touch()
    until(lambda: crew.pid("bad"))
    pause(0.5)
    assert (crew.pid("bad") > 0, crew.pid("good"), crew.failed) == (True, good, "")


def test_it_starts_nothing_again_once_it_is_told_to_stop(crew: Crew, tmp_path: Path) -> None:
    log = tmp_path / "log" / "bad.log"
    crew.settle()
    run(crew, bad=f'exec {PYTHON} -c "raise SystemExit(7)"')
    until(lambda: log.exists() and "next try in 1 s" in log.read_text())
    crew.stop()
    pause(1.5)
    assert crew.pid("bad") == 0


def test_it_lets_a_process_finish_what_it_does(crew: Crew, tmp_path: Path) -> None:
    code = "import signal, time, sys, pathlib; p = pathlib.Path(sys.argv[1]); "
    code += "signal.signal(15, lambda *_: (time.sleep(1), p.write_text('finished'), sys.exit(0))); "
    code += "p.write_text('working'); time.sleep(600)"
    run(crew, one=f'exec {PYTHON} -c "{code}" {tmp_path / "state"}')
    until(lambda: (tmp_path / "state").exists() and (tmp_path / "state").read_text() == "working")
    crew.stop()
    assert (tmp_path / "state").read_text() == "finished"


def test_it_ends_what_a_killed_owner_left_running(tmp_path: Path) -> None:
    owner = os.fork()
    if owner == 0:
        crew = Crew(tmp_path, tmp_path, None)
        run(crew, one=SLEEPER, two=SLEEPER)
        pause(600)
        os._exit(0)
    noted = tmp_path / "processes.json"
    until(lambda: noted.exists() and noted.read_text().count('"pid"') == 2)
    pids = [int(word.strip(' ",}')) for word in noted.read_text().split('"pid": ')[1:] for word in [word.split(",")[0]]]
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    until(lambda: all("ticker" in command_line(pid) for pid in pids))
    assert sorted(end_left_over_crew(tmp_path)) == ["one", "two"]
    assert [command_line(pid) for pid in pids] == ["", ""]
    assert end_left_over_crew(tmp_path) == []


def test_it_leaves_a_stranger_with_a_noted_pid_alone(tmp_path: Path) -> None:
    (tmp_path / "processes.json").write_text(f'{{"one": {{"pid": {os.getpid()}, "marker": "no such thing"}}}}')
    assert end_left_over_crew(tmp_path) == []
