"""The hot store as an open uses it: one raw connection a thread, commands in one flight, every wait bounded.

An open pays for each round trip with its deadline, so a reply that takes longer than `REPLY_SECONDS` is given up. After
two in a row, or when nobody listens, nobody in the process asks for `PAUSE_SECONDS` but one probe: a store that stalls
costs a few opens their time-out, not all of them. redis-py's client would cost a third more processor time a trip.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakSet

import hiredis

from base import keys
from base.clock import monotonic
from base.errors import SettingError, Unavailable

REPLY_SECONDS: Final = 0.08
PAUSE_SECONDS: Final = 0.5
MAX_LATE: Final = 2
"""Replies in a row that may be late before the store counts as away; one alone is a busy machine."""
_CHUNK: Final = 65_536
Command = tuple[bytes | str | int, ...]
# hiredis' own types say a tuple of one.
_pack: Final = cast("Callable[[Command], bytes]", hiredis.pack_command)


@cache
def trust() -> ssl.SSLContext:
    """Whose certificates are good: the machine's authorities, or those of the file that SSL_CERT_FILE names.

    Read once: it takes 40 ms, half of what an open waits for a reply, and each thread connects to each node.
    """
    return ssl.create_default_context()


class _Broken(Exception):
    """The connection ended between commands: the server was restarted, or closed an idle connection."""


class Address:
    """Where the store is: redis, rediss, valkey, valkeys or unix, as `LATEBIND_REDIS_URL` spells it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme in ("rediss", "valkeys")
        self.path = unquote(parts.path) if parts.scheme == "unix" else ""
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 6379
        self.username = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        number = parse_qs(parts.query).get("db", [""])[0] or ("" if self.path else parts.path.strip("/"))
        if number and not number.isdigit():
            raise SettingError("LATEBIND_REDIS_URL", "names a database that is not a number")
        self.database = int(number or 0)

    def connect(self, seconds: float) -> socket.socket:
        """A connected socket whose every wait ends after `seconds`. Raises OSError."""
        if self.path:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(seconds)
            made.connect(self.path)
            return _bounded(made, seconds)
        made = socket.create_connection((self.host, self.port), timeout=seconds)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.secure:
            return trust().wrap_socket(made, server_hostname=self.host)
        return _bounded(made, seconds)

    def greeting(self) -> list[Command]:
        """What a new connection says first."""
        words: list[Command] = []
        if self.password:
            words.append(("AUTH", self.username, self.password) if self.username else ("AUTH", self.password))
        if self.database:
            words.append(("SELECT", self.database))
        return words


def _bounded(made: socket.socket, seconds: float) -> socket.socket:
    """The socket with its time-outs kept by the kernel: Python's own ask before every send and receive."""
    wait = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
    made.settimeout(None)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
    return made


class _Wire:
    """One connection. Not for two threads at once."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._socket = address.connect(seconds)
        self._reader = hiredis.Reader()
        greeting = address.greeting()
        if greeting:
            self.exchange(greeting)

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all, then read as many replies. An error reply of any command is raised, after all were read."""
        self.send(commands)
        replies = self.receive(len(commands))
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
        return replies

    def send(self, commands: Sequence[Command]) -> None:
        """Send all; as many replies must then be received."""
        packed = _pack(commands[0]) if len(commands) == 1 else b"".join(map(_pack, commands))
        try:
            self._socket.sendall(packed)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            raise _Broken from error

    def receive(self, count: int) -> list[Any]:
        """So many replies, error replies among them."""
        replies: list[Any] = []
        gets = self._reader.gets
        while len(replies) < count:
            reply = gets()
            if reply is False:
                self._receive()
                continue
            replies.append(reply)
        return replies

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            raise _Broken from error
        if not data:
            raise _Broken
        self._reader.feed(data)

    def close(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        """A thread that ends takes its connection with it."""
        if hasattr(self, "_socket"):
            self._socket.close()


AWAY: Final = object()
"""In the place of a reply that a cluster's node, being away, did not give (`Hot.gather`)."""


NOT_LOCAL: Final = "non local key"
"""In what Valkey and Redis say of a script that names a key of another node."""


class Hot(Protocol):
    """The hot store as opens use it: one server (`HotStore`), or a cluster (render/hotcluster.py)."""

    @property
    def is_away(self) -> bool:
        """Whether nobody should be asked to wait for it."""
        ...

    def call(self, *commands: Command) -> list[Any]:
        """The replies to commands sent in one flight, as bytes, int, list or None.

        Raises Unavailable when a server that they concern is away or slow, hiredis.ReplyError when one refuses a
        command. Commands may be sent twice, so they must bear being done twice.
        """
        ...

    def gather(self, *commands: Command) -> list[Any]:
        """As `call`, but what a cluster's lost node would have said is AWAY, within an MGET as well.

        Raises Unavailable only when the store is one server.
        """
        ...

    def stream_beside(self, key: str, but: str = "") -> str:
        """A record stream that a script may write together with this key, but not that one. Raises Unavailable."""
        ...

    def stream(self, near: str = "") -> str:
        """A record stream that takes entries now, if it can be on the node of that key. Raises Unavailable."""
        ...

    def names(self, prefix: bytes, most: int) -> list[bytes]:
        """Keys that begin like this, at least `most` of them where there are as many. Raises as `call`."""
        ...

    def close(self) -> None:
        """Close every thread's connections; nobody may be using one."""
        ...


class HotStore:
    """Valkey for opens, shared by the threads of a process; each has a connection of its own, made when first used."""

    def __init__(self, url: str, reply_seconds: float = REPLY_SECONDS, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._address = Address(url)
        self._reply_seconds = reply_seconds
        self._pause_seconds = pause_seconds
        self._away_until = 0.0
        self._late = 0
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: WeakSet[_Wire] = WeakSet()

    @property
    def is_away(self) -> bool:
        """Whether the last exchange failed and nobody should be asked to wait for the next one."""
        return monotonic() < self._away_until

    def call(self, *commands: Command) -> list[Any]:
        """As `Hot.call`: commands sent over a connection that had ended are sent once more on a new one."""
        if self._away_until and not self._may_probe():
            raise Unavailable("Valkey")
        try:
            replies = self._exchange(commands)
        except hiredis.ReplyError:
            self._well()
            raise
        except (TimeoutError, BlockingIOError) as error:
            self._ill(late=True)
            raise Unavailable("Valkey") from error
        except (OSError, _Broken, hiredis.ProtocolError) as error:
            self._ill(late=False)
            raise Unavailable("Valkey") from error
        if self._late or self._away_until:
            self._well()
        return replies

    gather = call

    def begin(self, commands: Sequence[Command]) -> None:
        """Send commands, which `finish` is then asked for by the same thread. Raises Unavailable."""
        if self._away_until and not self._may_probe():
            raise Unavailable("Valkey")
        with self._judged():
            try:
                self._wire().send(commands)
            except _Broken:
                self._drop()
                self._wire().send(commands)

    def finish(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to what `begin` sent, error replies among them. Raises Unavailable."""
        with self._judged():
            try:
                replies = self._wire().receive(len(commands))
            except _Broken:
                self._drop()
                self._wire().send(commands)
                replies = self._wire().receive(len(commands))
        if self._late or self._away_until:
            self._well()
        return replies

    def stream_beside(self, key: str, but: str = "") -> str:
        """The one record stream."""
        return keys.RECORDS

    def stream(self, near: str = "") -> str:
        """The one record stream."""
        return keys.RECORDS

    def names(self, prefix: bytes, most: int) -> list[bytes]:
        """As `Hot.names`."""
        found: dict[bytes, None] = {}
        cursor: bytes | int = 0
        while True:
            ((cursor, names),) = self.call(("SCAN", cursor, "MATCH", prefix + b"*", "COUNT", 1000))
            found |= dict.fromkeys(names)
            if cursor == b"0" or len(found) >= most:
                return list(found)

    def close(self) -> None:
        """Close every thread's connection; nobody may be using one."""
        with self._lock:
            for wire in list(self._open):
                wire.close()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Half of an exchange: what goes wrong in it counts against the store. Raises Unavailable then."""
        try:
            yield
        except (TimeoutError, BlockingIOError) as error:
            self._ill(late=True)
            raise Unavailable("Valkey") from error
        except (OSError, _Broken, hiredis.ReplyError, hiredis.ProtocolError) as error:
            self._ill(late=False)
            raise Unavailable("Valkey") from error

    def _well(self) -> None:
        self._away_until, self._late = 0.0, 0

    def _ill(self, *, late: bool) -> None:
        """Give this thread's connection up: a late reply may still arrive on it."""
        self._drop()
        self._late += 1
        if not late or self._late >= MAX_LATE:
            self._away_until = monotonic() + self._pause_seconds

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return self._wire().exchange(commands)
        except _Broken:
            self._drop()
            return self._wire().exchange(commands)

    def _wire(self) -> _Wire:
        wire: _Wire | None = getattr(self._mine, "wire", None)
        if wire is None:
            wire = self._mine.wire = _Wire(self._address, self._reply_seconds)
            with self._lock:
                self._open.add(wire)
        return wire

    def _drop(self) -> None:
        wire: _Wire | None = getattr(self._mine, "wire", None)
        if wire is not None:
            wire.close()
            self._mine.wire = None

    def _may_probe(self) -> bool:
        """Whether this caller may try again; while it does, the others do not."""
        with self._lock:
            now = monotonic()
            if now < self._away_until:
                return False
            self._away_until = now + self._pause_seconds
            return True
