"""A small HTTP load generator for loopback: keep-alive connections, prepared requests, latencies to the microsecond.

Closed loop (`rate` None): each connection asks again as soon as it is answered. Open loop: requests leave at the rate
whether or not earlier ones were answered, and latency counts from the moment a request *should* have left, so that a
stalled server cannot hide behind a waiting client. It stops by itself after the last request or `seconds`.
"""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter, sleep

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class Result:
    """What came back: latencies in seconds in the order of completion, and how often each status.

    `numbers` says of each latency which request it was.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """A latency percentile in milliseconds; `share` 0 to 1."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Closed(Exception):
    """The server closed a connection on which it had not begun to answer, as it may with one that was idle."""


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self.request = b""
        self.began = 0.0
        self.number = 0
        self.buffer = b""
        self.open()

    def open(self) -> None:
        """Connect, or connect anew."""
        self.socket = socket.create_connection(self._address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def ask(self, request: bytes, began: float, number: int) -> None:
        """Send a whole request; requests are small, so the socket's buffer always takes them at once."""
        self.request, self.began, self.number, self.buffer = request, began, number, b""
        with suppress(BrokenPipeError, ConnectionResetError):  # `receive` will see it closed
            self.socket.send(request)

    def receive(self) -> tuple[int, int] | None:
        """Status and body length once the answer is whole. Raises _Closed, or ConnectionError within an answer."""
        try:
            data = self.socket.recv(262_144)
        except ConnectionResetError:
            data = b""
        if not data and self.buffer:
            raise ConnectionError("the server closed the connection within an answer")
        if not data:
            raise _Closed
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        lower = self.buffer[:head].lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < head + 4 + length:
            return None
        status = int(self.buffer[9:12])
        self.buffer = b""  # What is closed from now on is closed between answers.
        return status, length


def get(host: str, port: int, path: str, headers: dict[str, str] | None = None) -> bytes:
    """A GET request's bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}\r\n".encode()


def post(host: str, port: int, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A POST request's bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def _again(selector: selectors.BaseSelector, connection: _Connection) -> None:
    """Connect anew, and ask again what was not answered, as browsers do."""
    selector.unregister(connection.socket)
    connection.socket.close()
    connection.open()
    selector.register(connection.socket, selectors.EVENT_READ, connection)
    if connection.request:
        connection.ask(connection.request, connection.began, connection.number)


def _moments(rate: float | None, due: Sequence[float] | None) -> Callable[[int], float] | None:
    """When a request should leave, by its number, in seconds from the start; None: as soon as a connection is idle."""
    if due is not None:
        return due.__getitem__
    return None if rate is None else lambda number: number / rate


def run(
    host: str,
    port: int,
    requests: Sequence[bytes],
    connections: int = 16,
    seconds: float = 30.0,
    rate: float | None = None,
    due: Sequence[float] | None = None,
) -> Result:
    """Send each request once, over so many connections, at `rate` a second or each when it is `due` (seconds from now).

    Refuses any host but loopback.
    """
    if host not in LOOPBACK:
        raise ValueError("load goes to loopback only")
    result = Result()
    selector = selectors.DefaultSelector()
    idle: deque[_Connection] = deque(_Connection(host, port) for _ in range(connections))
    for connection in idle:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    moment = _moments(rate, due)
    started = perf_counter()
    end = started + seconds
    sent = answered = 0
    while answered < len(requests):
        now = perf_counter()
        if now > end:
            break
        while idle and sent < len(requests):
            at = now if moment is None else started + moment(sent)
            if at > now:
                break
            idle.pop().ask(requests[sent], at, sent)
            sent += 1
        wait = 0.05 if moment is None or sent >= len(requests) else max(0.0, started + moment(sent) - perf_counter())
        if len(idle) == connections:
            sleep(min(wait, 0.05))
            continue
        for key, _ in selector.select(min(wait, 0.05) if idle else 0.05):
            connection = key.data
            try:
                answer = connection.receive()
            except _Closed:
                _again(selector, connection)
                continue
            if answer is None:
                continue
            connection.request = connection.buffer = b""
            status, length = answer
            result.latencies.append(perf_counter() - connection.began)
            result.numbers.append(connection.number)
            result.statuses[status] = result.statuses.get(status, 0) + 1
            result.bytes += length
            answered += 1
            idle.append(connection)
    result.seconds = perf_counter() - started
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    return result
