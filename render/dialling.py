"""Connections to hot stores, made side by side: the time that several servers take is that of the slowest.

Every wait ends at a moment that the caller names. Names are looked up by others (render/hostnames.py).
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from collections.abc import Sequence
from errno import EINPROGRESS
from functools import cache
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from base.clock import monotonic
from base.errors import SettingError
from render.hostnames import Hostnames, Spot

Greeting = tuple[str | int, ...]
LEAST_SECONDS: Final = 0.001
"""A wait that has no time left still takes what is there; 0 would mean for ever."""


@cache
def trust() -> ssl.SSLContext:
    """Whose certificates are good: the machine's authorities, or those of the file that SSL_CERT_FILE names.

    Read once: it takes 40 ms, half of what an open waits for a reply, and each thread connects to each node.
    """
    return ssl.create_default_context()


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
        if self.secure:
            trust()  # Before anybody waits for a connection.

    def spots(self, names: Hostnames, until: float) -> tuple[Spot, ...]:
        """Where to connect to, the first to be tried first. Raises OSError."""
        return ((socket.AF_UNIX, self.path),) if self.path else names.spots(self.host, self.port, until)

    def greeting(self) -> list[Greeting]:
        """What a new connection says first."""
        words: list[Greeting] = []
        if self.password:
            words.append(("AUTH", self.username, self.password) if self.username else ("AUTH", self.password))
        if self.database:
            words.append(("SELECT", self.database))
        return words


def dial(addresses: Sequence[Address], names: Hostnames, until: float) -> list[socket.socket | OSError | None]:
    """A connected socket for each address, or what went wrong by then (monotonic seconds).

    None for one that there was no time left for: nothing is known of it.
    """
    for address in addresses:
        if not address.path:
            names.look(address.host, address.port)
    calls = _Calls(len(addresses))
    # Those whose names must be waited for come last, when the others are under way.
    later = [at for at, address in enumerate(addresses) if not _try(calls, at, address, names, monotonic())]
    for at in later:
        _try(calls, at, addresses[at], names, until)
    calls.wait(until)
    made: list[socket.socket | OSError | None] = []
    for address, answer in zip(addresses, calls.answers, strict=True):
        made.append(_ready(answer, address, until) if isinstance(answer, socket.socket) else answer)
        if isinstance(made[-1], OSError) and not address.path:
            names.missed(address.host, address.port)
    return made


def bound(made: socket.socket, seconds: float) -> None:
    """Have every wait of a socket end after so long, kept by the kernel: Python's own ask before each send and receive.

    Only a connection over TLS has Python's.
    """
    seconds = max(seconds, LEAST_SECONDS)
    if isinstance(made, ssl.SSLSocket):
        made.settimeout(seconds)
        return
    wait = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)


class _Calls:
    """Connections under way. `answers` holds a socket or an error for each that has an end."""

    def __init__(self, count: int) -> None:
        self.answers: list[socket.socket | OSError | None] = [None] * count
        self._poll = select.poll()
        self._under_way: dict[int, tuple[int, socket.socket, tuple[Spot, ...]]] = {}

    def begin(self, at: int, spots: tuple[Spot, ...]) -> None:
        """Begin to connect to the first of the spots; the others are tried when it refuses."""
        (family, spot), *others = spots
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        code = made.connect_ex(spot)
        if code in (0, EINPROGRESS):
            self._under_way[made.fileno()] = (at, made, tuple(others))
            self._poll.register(made, select.POLLOUT)
        else:
            self._failed(at, made, code, tuple(others))

    def wait(self, until: float) -> None:
        """Until all have an end, or the time has come: then what is left was too slow."""
        while self._under_way:
            left = until - monotonic()
            ready = self._poll.poll(max(0.0, left) * 1000)
            for number, _ in ready:
                at, made, others = self._under_way.pop(number)
                self._poll.unregister(number)
                code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self._failed(at, made, code, others)
                else:
                    self.answers[at] = made
            if not ready and left <= 0:
                break
        for at, made, _ in self._under_way.values():
            made.close()
            self.answers[at] = TimeoutError("nobody answered in time")
        self._under_way.clear()

    def _failed(self, at: int, made: socket.socket, code: int, others: tuple[Spot, ...]) -> None:
        made.close()
        if others:
            self.begin(at, others)
        else:
            self.answers[at] = OSError(code, os.strerror(code))


def _try(calls: _Calls, at: int, address: Address, names: Hostnames, until: float) -> bool:
    """Whether it was known where to connect to by then."""
    try:
        calls.begin(at, address.spots(names, until))
    except OSError as error:
        calls.answers[at] = error
        return False
    return True


def _ready(made: socket.socket, address: Address, until: float) -> socket.socket | OSError | None:
    """The connection as commands go over it; None when the time was over before it could be secured."""
    left = until - monotonic()
    if not address.path:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setblocking(True)
    if not address.secure:
        return made
    if left <= 0:
        made.close()
        return None
    made.settimeout(left)
    try:
        return trust().wrap_socket(made, server_hostname=address.host)
    except OSError as error:
        made.close()
        return error
