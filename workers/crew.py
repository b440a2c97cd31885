"""The processes of the Procfile, kept running in one terminal.

honcho reads the Procfile, runs each line and prints what it says; we keep the processes. Until all have settled, one
that ends has failed; later it is started again, after pauses that grow where that happens over and over: the others
have mails and signals to serve meanwhile. Pids are noted in a file, so that the next start finds what a `kill -9` of
this one left running.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from logging import Formatter, LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

from honcho.environ import parse_procfile
from honcho.printer import Message, Printer
from honcho.process import Process

from base.clock import SystemClock, monotonic, pause
from base.errors import StartError
from base.logs import logger
from base.processes import command_line

STOP_SECONDS = 30.0
"""How long a process may take to finish what it does before it is killed."""
RESTARTS_AT_ONCE = 5
SETTLED_SECONDS = 60.0
"""One that ends more than five times in a row, each within a minute of its start, would only end again at once."""
MAX_PAUSE_SECONDS = 30.0
LOG_BYTES = 16 * 1024 * 1024
_log = logger(__name__)
COLOURS = ("36", "33", "32", "35", "34")
"""Terminal codes: cyan, yellow, green, magenta, blue."""


@dataclass
class Member:
    """One line of the Procfile and the process that runs it now."""

    name: str
    command: str
    colour: str
    environ: Mapping[str, str] = field(repr=False)
    log: RotatingFileHandler = field(repr=False)
    pid: int = 0
    running: bool = False
    started_at: float = 0.0
    ends: int = 0
    due: float | None = None
    """When it is started again, if it is to be; how often in a row it ended soon is `ends`."""

    @property
    def marker(self) -> str:
        """What the process's command line ends with, by which it is known again."""
        return shlex.split(self.command)[-1]


class Crew:
    """Starts, watches, restarts and stops the processes. `echo` is where their lines are shown, None for nowhere."""

    def __init__(self, folder: Path, root: Path, echo: TextIO | None) -> None:
        self._folder = folder
        self._root = root
        self._printer = Printer(echo) if echo else None
        self._clock = SystemClock()
        self._members: dict[str, Member] = {}
        self._events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._failed = ""
        self._pump = threading.Thread(target=self._relay, name="crew", daemon=True)

    def start(self, procfile: str, environs: Mapping[str, Mapping[str, str]], leave_out: frozenset[str]) -> None:
        """Start every line that is not left out, each with its own environment."""
        for number, (name, command) in enumerate(parse_procfile(procfile).processes.items()):
            if name in leave_out:
                continue
            log = _log_file(self._folder / "log" / f"{name}.log")
            self._members[name] = Member(name, command, COLOURS[number % len(COLOURS)], environs[name], log)
        if self._printer:
            self._printer.width = max(map(len, self._members))
        self._pump.start()
        for member in self._members.values():
            self._launch(member)

    def settle(self) -> None:
        """Say that all have come up: from now on one that ends is started again."""
        self._settled.set()

    @property
    def failed(self) -> str:
        """Why the crew did not come up, as one sentence; empty while all is well."""
        return self._failed

    def pid(self, name: str) -> int:
        """The process id of a line's running process; 0 between its end and its restart."""
        member = self._members[name]
        return member.pid if member.running else 0

    def names(self) -> list[str]:
        """The lines that run."""
        return list(self._members)

    def stop(self) -> None:
        """End all with SIGTERM at once; whoever is still there after 30 s is killed."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        deadline = monotonic() + STOP_SECONDS
        while self._any_running() and monotonic() < deadline:
            pause(0.05)
        if self._any_running():
            self._signal(signal.SIGKILL)
            while self._any_running() and monotonic() < deadline + 5:
                pause(0.05)
        _pid_file(self._folder).unlink(missing_ok=True)
        for member in self._members.values():
            member.log.close()

    def _launch(self, member: Member) -> None:
        member.running, member.started_at, member.due = True, monotonic(), None
        process = Process(
            member.command, name=member.name, colour=member.colour, env=dict(member.environ), cwd=str(self._root)
        )
        threading.Thread(target=process.run, args=(self._events, False), name=member.name, daemon=True).start()

    def _relay(self) -> None:
        """Take what the processes say and what becomes of them, one event at a time."""
        while True:
            dues = [member.due for member in self._members.values() if member.due is not None]
            try:
                message = self._events.get(timeout=max(0.0, min(dues) - monotonic()) if dues else None)
            except queue.Empty:
                self._launch_due()
                continue
            self._launch_due()
            member = self._members[message.name]
            if message.type == "line":
                self._write(member, message)
            elif message.type == "start":
                member.pid = message.data["pid"]
                self._note_pids()
                if self._stopping.is_set():
                    _signal_group(member.pid, signal.SIGTERM)
            elif message.type == "stop":
                self._ended(member, message.data["returncode"])

    def _ended(self, member: Member, code: int) -> None:
        member.running = False
        self._note_pids()
        if self._stopping.is_set():
            return
        log = self._folder / "log" / f"{member.name}.log"
        if not self._settled.is_set():
            self._failed = self._failed or f"{member.name} ended with status {code} while starting; see {log}."
            return
        now = monotonic()
        member.ends = 1 if now - member.started_at >= SETTLED_SECONDS else member.ends + 1
        often = member.ends - RESTARTS_AT_ONCE
        if often <= 0:
            self._say(member, f"{member.name} ended with status {code}; starting it again")
            self._launch(member)
            return
        seconds = min(MAX_PAUSE_SECONDS, 2.0 ** min(often - 1, 10))
        member.due = now + seconds
        self._say(member, f"{member.name} ends again and again, last with status {code}; next try in {seconds:.0f} s")
        _log.error("a process ends again and again", name=member.name, status=code, log=str(log), again_in_s=seconds)

    def _launch_due(self) -> None:
        now = monotonic()
        for member in self._members.values():
            if member.due is not None and member.due <= now:
                member.due = None
                if not self._stopping.is_set():
                    self._launch(member)

    def _write(self, member: Member, message: Message) -> None:
        text = message.data.decode(errors="replace") if isinstance(message.data, bytes) else message.data
        member.log.emit(_record(text.rstrip("\n")))
        if self._printer:
            try:
                self._printer.write(message)
            except OSError:  # Nobody reads it any more (`up | head`); the files still take it.
                self._printer = None

    def _say(self, member: Member, text: str) -> None:
        now: datetime = self._clock.now()
        self._write(member, Message(type="line", data=text + "\n", time=now, name=member.name, colour=member.colour))

    def _any_running(self) -> bool:
        return any(member.running for member in self._members.values())

    def _signal(self, number: signal.Signals) -> None:
        for member in self._members.values():
            if member.running and member.pid:
                _signal_group(member.pid, number)

    def _note_pids(self) -> None:
        noted = {m.name: {"pid": m.pid, "marker": m.marker} for m in self._members.values() if m.running and m.pid}
        draft = _pid_file(self._folder).with_suffix(".draft")
        draft.write_text(json.dumps(noted))
        draft.replace(_pid_file(self._folder))


def end_left_over_crew(folder: Path) -> list[str]:
    """End the processes that an earlier, killed run noted and that still run; their names."""
    try:
        noted: dict[str, dict[str, Any]] = json.loads(_pid_file(folder).read_text())
    except (OSError, ValueError):
        return []
    found = [name for name, entry in noted.items() if _is_ours(entry)]
    for step, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        left = [noted[name]["pid"] for name in found if _is_ours(noted[name])]
        for pid in left:
            _signal_group(pid, step)
        deadline = monotonic() + seconds
        while any(_is_ours(noted[name]) for name in found) and monotonic() < deadline:
            pause(0.05)
    if any(_is_ours(noted[name]) for name in found):
        raise StartError("Processes left over from an earlier run do not end.")
    _pid_file(folder).unlink(missing_ok=True)
    return found


def _is_ours(entry: Mapping[str, Any]) -> bool:
    """Whether the noted pid still leads its own group and still runs what we started."""
    pid = int(entry["pid"])
    try:
        return os.getpgid(pid) == pid and str(entry["marker"]) in command_line(pid)
    except ProcessLookupError:
        return False


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _pid_file(folder: Path) -> Path:
    return folder / "processes.json"


def _log_file(path: Path) -> RotatingFileHandler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    handler.setFormatter(Formatter("%(message)s"))
    return handler


def _record(text: str) -> LogRecord:
    return LogRecord("crew", 20, "", 0, text, None, None)
