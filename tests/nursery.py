"""Programs of the product as forks of a process that has loaded their modules, for tests that start many of them.

Loading takes each program 1 to 2 s of processor time, a fork none. What is born is a process of its own in every other
way: environment, session, log and end are its own, and its first line is the program's. What a program shows by its
start alone (what it loads, what it is given) is tested on programs that are started, not born.

`python -m tests.nursery <module> …` loads the modules and reads a line of JSON a wish: `argv`, `env` and `log` of a
program, answered by its pid; or `pid`, answered by how that ended, null while it runs.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from signal import SIGKILL, SIGTERM
from threading import Lock
from typing import Any, Final

from gunicorn.app import wsgiapp

from base import shapes
from base.clock import monotonic, pause
from workers import cli

ROOT: Final = Path(__file__).resolve().parent.parent


class Born:
    """A program that was born, with what is asked of a Popen."""

    def __init__(self, nursery: Nursery, pid: int, argv: Sequence[str]) -> None:
        self._nursery = nursery
        self.pid = pid
        self.args = argv
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended: its status, or minus the signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.asked({"pid": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended. Raises subprocess.TimeoutExpired."""
        deadline = monotonic() + (timeout or 0)
        while (ended := self.poll()) is None:
            if timeout is not None and monotonic() > deadline:
                raise subprocess.TimeoutExpired(list(self.args), timeout)
            pause(0.02)
        return ended

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is known to have ended: until it was asked about, nobody else gets its pid."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(SIGKILL)


class Nursery:
    """A process that has loaded some modules. It ends when whoever asks it does."""

    def __init__(self, *modules: str) -> None:
        self._turn = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", *modules],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(self.close)

    def born(self, argv: Sequence[str], environ: Mapping[str, str], log: Path) -> Born:
        """Start `latebind …` or `gunicorn …`; everything that it says goes to the log."""
        wish = {"argv": list(argv), "env": dict(environ), "log": str(log)}
        return Born(self, self.asked(wish), argv)

    def asked(self, wish: Mapping[str, object]) -> Any:
        """The answer to a wish. Raises AssertionError if the process has ended."""
        assert self._process.stdin
        assert self._process.stdout
        with self._turn:
            print(json.dumps(wish), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        assert answer, "the nursery has ended"
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        with self._process:
            pass


@cache
def nursery(*modules: str) -> Nursery:
    """One for these modules, the same for all tests of this process."""
    return Nursery(*modules)


def _next_born() -> list[str] | None:
    """Answer wishes; returns a program's arguments in the process that is to become it, None when nobody asks more."""
    for line in sys.stdin:
        wish = json.loads(line)
        if "pid" in wish:
            pid, status = os.waitpid(wish["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            ready, tells = os.pipe()
            answer = os.fork()
            if not answer:
                _become(wish["env"], Path(wish["log"]))
                os.close(ready)
                os.close(tells)
                return list(wish["argv"])
            # The end of the pipe is read once the other process has closed it, and stands on its own.
            os.close(tells)
            os.read(ready, 1)
            os.close(ready)
        print(json.dumps(answer), flush=True)
    return None


def _become(environ: Mapping[str, str], log: Path) -> None:
    """Leave everything of the nursery's behind but what it has loaded."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
        for number, file in enumerate((nothing, output, output)):
            os.dup2(file.fileno(), number)


def main() -> None:
    """Load the modules that are named, then do as asked; in a process that was born, run its program."""
    gc.disable()
    for name in sys.argv[1:]:
        importlib.import_module(name)
    shapes.prepare()
    gc.freeze()
    argv = _next_born()
    if argv is not None:
        gc.enable()
        sys.argv = argv
        {"latebind": cli.main, "gunicorn": wsgiapp.run}[argv[0]]()


if __name__ == "__main__":
    main()
