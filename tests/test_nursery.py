"""What is born in the nursery is a program as any other: arguments, environment, log, session and end are its own."""

from __future__ import annotations

import os
from pathlib import Path
from signal import SIGKILL, SIGTERM

from base.clock import monotonic, pause
from base.processes import free_port
from tests.nursery import nursery
from tests.serving import outer_environment

MODULE = "workers.commands.inbox"


def test_it_bears_programs_that_end_as_they_do_when_started(tmp_path: Path) -> None:
    for argv, status, said in (
        (("latebind", "--version"), 0, "version"),
        (("latebind", "no-such-command"), 2, "No such command"),
        (("latebind", "inbox"), 1, "LATEBIND_SMTP_PORT"),
    ):
        log = tmp_path / f"{argv[-1]}.log"
        born = nursery(MODULE).born(argv, outer_environment() | {"LATEBIND_SMTP_PORT": "no port"}, log)
        assert born.wait(30) == status, log.read_text()
        assert said in log.read_text()


def test_it_ends_what_was_born_by_signals_and_tells_by_which(tmp_path: Path) -> None:
    for number, ended in ((SIGTERM, 0), (SIGKILL, -SIGKILL)):
        log = tmp_path / f"{number}.log"
        ports = {f"LATEBIND_{name}_PORT": str(free_port()) for name in ("SMTP", "INBOX")}
        environ = outer_environment() | ports | {"LATEBIND_VAR": str(tmp_path / "var")}
        born = nursery(MODULE).born(("latebind", "inbox"), environ, log)
        assert os.getsid(born.pid) == born.pid != os.getsid(0)
        deadline = monotonic() + 30
        while "inbox" not in log.read_text() and monotonic() < deadline:
            pause(0.05)
        assert born.poll() is None, log.read_text()
        born.send_signal(number)
        assert born.wait(30) == ended, log.read_text()
        assert born.poll() == ended
