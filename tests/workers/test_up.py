"""The whole system as `latebind up` runs it: one start for all of these tests, on ports and a folder of its own."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from base import db
from base.clock import monotonic, pause
from base.processes import command_line, free_port
from tests.serving import ROOT
from workers.beside import settings_here

pytestmark = pytest.mark.slow

PORTS = ("WEB", "RENDER", "SIGNALS", "SMTP", "INBOX", "POSTGRES", "VALKEY")
START_SECONDS = 240
PARTS = {"render", "signals", "web", "sender", "worker", "scheduler", "recorder", "inbox"}


def pid_in(path: Path) -> int:
    try:
        return int(path.read_text().split("\n")[0])
    except (FileNotFoundError, ValueError):
        return 0


class Terminal:
    """Somebody's terminal with `latebind up` in it."""

    def __init__(self, folder: Path) -> None:
        self.var = folder / "var"
        self.environ = {f"LATEBIND_{name}_PORT": str(free_port()) for name in PORTS}
        self.environ |= {"LATEBIND_VAR": str(self.var), "LATEBIND_RENDER_WORKERS": "1"}
        self.output = folder / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "latebind"), "up"],
                cwd=ROOT,
                env=os.environ | self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until(lambda: self.run_file.exists() or self.process is None or self.process.poll() is not None, START_SECONDS)
        assert self.process.poll() is None, self.output.read_text()[-3000:]

    @property
    def run_file(self) -> Path:
        return self.var / "run.json"

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.run_file.read_text())
        return told

    def pids(self) -> dict[str, int]:
        try:
            noted = json.loads((self.var / "processes.json").read_text())
        except FileNotFoundError:
            return {}
        return {name: entry["pid"] for name, entry in noted.items()}

    def servers(self) -> dict[str, int]:
        """Their pids; 0 of one that is not there."""
        noted = {"postgres": self.var / "postgres" / "postmaster.pid", "valkey": self.var / "valkey.lock"}
        return {name: pid_in(path) for name, path in noted.items()}

    def interrupt(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)


def until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline, "it did not happen in time"
        pause(0.1)


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError as error:
        close = getattr(error, "close", None)
        if close:
            close()
        return False


@pytest.fixture(scope="module")
def terminal(server_folder: Path) -> Iterator[Terminal]:
    folder = server_folder / "up"
    folder.mkdir(mode=0o755)
    made = Terminal(folder)
    made.up()
    yield made
    if made.process and made.process.poll() is None:
        made.interrupt()


def test_it_tells_scripts_where_everything_is(terminal: Terminal) -> None:
    told = terminal.told()
    assert set(told) == {"web", "render", "signals", "smtp", "inbox", "api_key", "write_key", "users"}
    assert stat.S_IMODE(terminal.run_file.stat().st_mode) == 0o600
    assert [user["role"] for user in told["users"]] == ["manager", "support", "admin"]
    assert all(ready(told[name]) for name in ("web", "render", "signals", "inbox"))
    assert set(terminal.pids()) == PARTS


def test_it_gives_render_neither_database_nor_subject_key(terminal: Terminal) -> None:
    environ = Path(f"/proc/{terminal.pids()['render']}/environ").read_bytes()
    assert b"LATEBIND_REDIS_URL=" in environ
    for name in (b"DATABASE_URL", b"SUBJECT_KEY", b"SESSION_KEY", b"QUEUE_URL", b"SMTP_URL"):
        assert b"LATEBIND_" + name not in environ


def test_it_is_found_by_commands_beside_it(terminal: Terminal) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "latebind"), "user", "list"],
        cwd=ROOT,
        env=os.environ | terminal.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} >= {u["email"] for u in terminal.told()["users"]}


def test_it_refuses_a_second_start_on_the_same_folder(terminal: Terminal) -> None:
    command = [str(Path(sys.executable).parent / "latebind"), "up"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | terminal.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"latebind: Latebind already runs on {terminal.var}.")
    assert ready(terminal.told()["web"])


@pytest.mark.parametrize("name", ["recorder", "sender", "inbox"])
def test_it_starts_a_killed_process_again(terminal: Terminal, name: str) -> None:
    before = terminal.pids()[name]
    os.killpg(before, signal.SIGKILL)
    until(lambda: terminal.pids().get(name, before) != before)
    assert terminal.process
    assert terminal.process.poll() is None


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_it_starts_a_killed_server_again_on_the_same_data(terminal: Terminal, name: str) -> None:
    before = terminal.servers()[name]
    os.kill(before, signal.SIGKILL)
    until(lambda: terminal.servers()[name] != before and command_line(terminal.servers()[name]))
    until(lambda: ready(terminal.told()["signals"]) and ready(terminal.told()["web"]))


def test_it_tries_a_server_again_until_it_starts(terminal: Terminal) -> None:
    before = terminal.servers()["valkey"]
    log = terminal.var / "log" / "valkey.log"
    folder = terminal.var / "valkey" / "appendonlydir"
    aside = folder.with_name("aside")
    os.kill(before, signal.SIGSTOP)
    folder.rename(aside)
    folder.write_text("no folder, so that it cannot start")
    os.kill(before, signal.SIGKILL)
    until(lambda: "a server does not start" in terminal.output.read_text())
    assert terminal.process
    assert terminal.process.poll() is None, log.read_text()[-500:]
    folder.unlink()
    aside.rename(folder)
    until(lambda: terminal.servers()["valkey"] != before and command_line(terminal.servers()["valkey"]))
    until(lambda: ready(terminal.told()["signals"]))


def test_it_comes_up_again_after_being_killed_itself(terminal: Terminal) -> None:
    left = {**terminal.pids(), **terminal.servers()}
    keys = terminal.told()
    assert terminal.process
    terminal.process.kill()
    terminal.process.wait()
    assert command_line(left["postgres"])
    terminal.run_file.unlink()
    terminal.up()
    assert terminal.told() == keys
    now = {**terminal.pids(), **terminal.servers()}
    assert [name for name, pid in left.items() if pid not in now.values() and command_line(pid)] == []


def test_it_keeps_what_it_acknowledged_when_everything_dies_at_once(terminal: Terminal) -> None:
    told = terminal.told()
    login = base64.b64encode(f"{told['write_key']}:".encode()).decode()
    acknowledged: list[str] = []
    dying = threading.Event()

    def tell(sender: int) -> None:
        for number in itertools.count():
            names = [f"cut-{sender}-{number}-{line}" for line in range(5)]
            calls = [
                {"type": "track", "userId": f"u{line}", "messageId": name, "event": "Product Viewed"}
                for line, name in enumerate(names)
            ]
            asked = urllib.request.Request(
                f"{told['signals']}/v1/batch",
                json.dumps({"batch": calls}).encode(),
                {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    if answer.status == 200:
                        acknowledged.extend(names)
            except OSError:
                if dying.is_set():
                    return

    senders = [threading.Thread(target=tell, args=(number,)) for number in range(2)]
    for sender in senders:
        sender.start()
    until(lambda: len(acknowledged) >= 100)
    assert terminal.process
    groups, servers = list(terminal.pids().values()), list(terminal.servers().values())
    dying.set()
    # Nobody is to see that another is gone, as when the power goes.
    for signal_ in (signal.SIGSTOP, signal.SIGKILL):
        os.kill(terminal.process.pid, signal_)
        for group in groups:
            os.killpg(group, signal_)
        for server in servers:
            os.kill(server, signal_)
    terminal.process.wait(30)
    for sender in senders:
        sender.join(30)
    terminal.run_file.unlink()
    terminal.up()
    until(lambda: ready(told["signals"]))
    engine = db.connect(settings_here(terminal.environ, ()).database_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT message_id FROM event WHERE message_id LIKE 'cut-%'")).scalars().all()
    engine.dispose()
    stored = Counter(found)
    assert set(stored) >= set(acknowledged)
    assert set(stored.values()) == {1}


def test_it_stops_everything_it_started(terminal: Terminal) -> None:
    started = {**terminal.pids(), **terminal.servers()}
    assert terminal.interrupt() == 0
    assert {name: line for name, pid in started.items() if (line := command_line(pid))} == {}
    assert not terminal.run_file.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=int(terminal.environ["LATEBIND_POSTGRES_PORT"]), dbname="latebind")
