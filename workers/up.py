"""The whole system on one machine: embedded servers, schema, all processes, and the file that says where they are.

`latebind up`, the demo and the tests use the same `System`. It starts everything or nothing, and stops everything that
it started. What an earlier `kill -9` left running is ended first.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from base import db
from base.clock import clock_from, monotonic, pause
from base.embedded import PostgresServer, Server, ValkeyServer, end_left_over_postgres, end_left_over_valkey
from base.environment import environment
from base.errors import StartError
from base.logs import logger
from base.processes import check_port
from base.secrets import PASSWORD_BYTES, secret, with_generated_keys
from base.settings import WITHHELD_FROM_RENDER, Settings
from base.vault import Vault
from signals import keymarks
from workers.crew import Crew, end_left_over_crew
from workers.first_run import Access, prepare
from workers.migration import migrate

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 180.0
MAX_PAUSE_SECONDS = 30.0
"""Between two tries to start a server that died."""
APPS = ("render", "signals", "web")


class System:
    """Everything Latebind is, running here.

    `settings` may leave out servers, relay and keys: those are started or made under `var`. After `start`, `settings`
    is complete and `environ` is what the processes were given. `echo` is where their lines are shown.
    """

    def __init__(self, settings: Settings, echo: TextIO | None = None) -> None:
        self.settings = settings
        self.access = Access()
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None
        self._echo = echo
        self._crew: Crew | None = None
        self._lock: int | None = None
        self._ending = threading.Event()
        self._watch: threading.Thread | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the processes; all but render get it whole."""
        return _outer_environment() | environment(self.settings)

    def start(self) -> None:
        """Start all and return when all answer. Raises StartError with one line, and then nothing is left running."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> str:
        """Return when the system cannot go on: why, as one sentence."""
        while not self._ending.wait(0.2):
            if self._crew and self._crew.failed:
                return self._crew.failed
        return ""

    def stop(self) -> None:
        """Stop the processes, then the servers. Harmless when called twice or after a failed start."""
        self._ending.set()
        if self._watch:
            self._watch.join()
            self._watch = None
        if self._crew:
            self._crew.stop()
            self._crew = None
        for server in self._servers():
            server.stop()
        self.postgres = self.valkey = None
        if self._lock is not None:
            self._run_file.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def pid(self, name: str) -> int:
        """The process id of a line of the Procfile; 0 while it is being started again."""
        return self._crew.pid(name) if self._crew else 0

    def places(self) -> list[str]:
        """Where to look and how to get in, a line each."""
        lines = [f"Pages    {self.settings.web_url}", f"Signals  {self.settings.signals_url}"]
        if not self.settings.is_sending:
            lines.append(f"Inbox    {self._inbox_url}")
        lines += [f"         {user['role']}: {user['email']}  {user['password']}" for user in self.access.users]
        if self._is_own:
            lines.append(f"Keys     {self._run_file}")
        else:
            lines.append(
                "Add people with `latebind user add`: demo logins are only made for a database of this machine's own."
            )
        return lines

    def _start(self) -> None:
        var = self.settings.var
        _check_folder(var)
        self._lock = _take(var / "up.lock")
        self._run_file.unlink(missing_ok=True)
        end_left_over_crew(var)
        end_left_over_postgres(var / "postgres")
        end_left_over_valkey(var / "valkey")
        self._check_ports()
        if self.settings.redis_url and not self.settings.queue_url:
            raise self.settings.missing("queue_url")
        self.settings = with_generated_keys(self.settings)
        self._start_servers()
        migrate(self.settings.database_url, Vault.of(self.settings), self.settings.hash_key)
        self._settle_keys()
        if self._is_own:
            self.access = prepare(self.settings)
        self._start_crew()
        self._watch = threading.Thread(target=self._keep_servers, name="servers")
        self._watch.start()
        self._await_ready()
        if self._crew:
            self._crew.settle()
        if self._is_own:
            self._write_run_file()

    def _settle_keys(self) -> None:
        engine = db.connect(self.settings.database_url, vault=Vault.of(self.settings), application="latebind up")
        try:
            keymarks.settle(db.sessions(engine), self.settings, clock_from(self.settings).now())
        finally:
            engine.dispose()

    def _check_ports(self) -> None:
        settings = self.settings
        for name in APPS:
            check_port(getattr(settings, f"{name}_port"), f"LATEBIND_{name.upper()}_PORT", settings.bind)
        if not self.settings.is_sending:
            check_port(settings.smtp_port, "LATEBIND_SMTP_PORT")
            check_port(settings.inbox_port, "LATEBIND_INBOX_PORT")
        if not settings.database_url:
            check_port(settings.postgres_port, "LATEBIND_POSTGRES_PORT")
        if not settings.redis_url:
            check_port(settings.valkey_port, "LATEBIND_VALKEY_PORT")

    def _start_servers(self) -> None:
        settings, var = self.settings, self.settings.var
        if not settings.database_url:
            self.postgres = PostgresServer(
                var / "postgres",
                settings.postgres_port,
                var / "log" / "postgres.log",
                password=secret(var / "secrets", "postgres_password", PASSWORD_BYTES),
            )
            self.postgres.start()
            self.settings = settings = replace(settings, database_url=self.postgres.url)
        if not settings.redis_url:
            self.valkey = ValkeyServer(
                var / "valkey",
                settings.valkey_port,
                var / "log" / "valkey.log",
                password=secret(var / "secrets", "valkey_password", PASSWORD_BYTES),
            )
            self.valkey.start()
            self.settings = replace(
                settings, redis_url=self.valkey.url, queue_url=settings.queue_url or self.valkey.url
            )

    def _start_crew(self) -> None:
        procfile = ROOT / "Procfile"
        if not procfile.exists():
            raise StartError("`latebind up` needs the Procfile: run it from an installation of the source tree.")
        whole = self.environ
        bare = _outer_environment() | environment(self.settings, without=WITHHELD_FROM_RENDER)
        text = procfile.read_text()
        names = [line.partition(":")[0] for line in text.splitlines() if ":" in line]
        self._crew = Crew(self.settings.var, ROOT, self._echo)
        self._crew.start(
            text,
            {name: bare if name == "render" else whole for name in names},
            self._left_out,
        )

    def _await_ready(self) -> None:
        host = "127.0.0.1" if self.settings.bind in {"0.0.0.0", "::"} else self.settings.bind  # noqa: S104 — compared only
        waiting = [f"http://{host}:{getattr(self.settings, f'{name}_port')}/readyz" for name in APPS]
        waiting += [f"{self._inbox_url}/readyz"] if not self.settings.is_sending else []
        deadline = monotonic() + READY_SECONDS
        while waiting:
            if self._crew and self._crew.failed:
                raise StartError(self._crew.failed)
            if monotonic() > deadline:
                raise StartError(
                    f"No answer from {waiting[0]} within {READY_SECONDS:.0f} s; see {self.settings.var / 'log'}."
                )
            waiting = [url for url in waiting if not _answers(url)]
            pause(0.1)

    def _keep_servers(self) -> None:
        """Start a server again that died, as often as it takes (a disk was full); the apps bridge the gap."""
        again: dict[str, float] = {}
        pauses: dict[str, float] = {}
        while not self._ending.wait(0.2):
            for server in self._servers():
                name = type(server).__name__
                if server.running or self._ending.is_set() or monotonic() < again.get(name, 0.0):
                    continue
                try:
                    server.start()
                    pauses.pop(name, None)
                except Exception as error:  # noqa: BLE001 — whatever it is: nobody else keeps the servers.
                    pauses[name] = min(MAX_PAUSE_SECONDS, 2 * pauses.get(name, 0.5))
                    again[name] = monotonic() + pauses[name]
                    logger(__name__).error("a server does not start", why=str(error), again_in_s=pauses[name])

    def _servers(self) -> list[Server]:
        return [server for server in (self.valkey, self.postgres) if server is not None]

    def _write_run_file(self) -> None:
        settings = self.settings
        content: dict[str, Any] = {
            "web": settings.web_url,
            "render": settings.render_url,
            "signals": settings.signals_url,
            "smtp": "" if settings.is_sending else settings.relay_url,
            "inbox": "" if settings.is_sending else self._inbox_url,
            "api_key": self.access.api_key,
            "write_key": self.access.write_key,
            "users": self.access.users,
        }
        draft = self._run_file.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
        draft.replace(self._run_file)

    @property
    def _run_file(self) -> Path:
        return self.settings.var / "run.json"

    @property
    def _is_own(self) -> bool:
        """Whether database and apps are for this machine alone, so that demo logins and a file of keys do no harm."""
        return self.postgres is not None and self.settings.loopback

    @property
    def _left_out(self) -> frozenset[str]:
        """Lines of the Procfile that nothing is set for."""
        wanted = {"inbox": not self.settings.is_sending, "bounces": bool(self.settings.bounce_listen)}
        return frozenset(name for name, is_wanted in wanted.items() if not is_wanted)

    @property
    def _inbox_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.inbox_port}"


def _check_folder(var: Path) -> None:
    try:
        var.mkdir(parents=True, exist_ok=True)
        probe = var / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StartError(f"Cannot write to {var}: {error.strerror}. Set LATEBIND_VAR to another folder.") from None


def _take(path: Path) -> int:
    """The locked file that says whose folder this is; whoever ends, however, lets go of it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartError(
            f"Latebind already runs on {path.parent}. Stop it, or set LATEBIND_VAR to another folder."
        ) from None
    return descriptor


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 — our own loopback address
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def _outer_environment() -> dict[str, str]:
    """Our environment without settings, our programs first on the path."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    outer["PATH"] = str(Path(sys.executable).parent) + os.pathsep + outer.get("PATH", os.defpath)
    outer["PYTHONUNBUFFERED"] = "1"
    return outer
