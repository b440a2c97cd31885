"""A small HTTP load generator for loopback: keep-alive connections, prepared requests, latencies to the microsecond.

Closed loop (`rate` None): each connection asks again as soon as it is answered. Open loop: requests leave at the rate
whether or not earlier ones were answered, and latency counts from the moment a request *should* have left, so that a
stalled server cannot hide behind a waiting client. It stops by itself after the last request or `seconds`.
"""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter, sleep

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class Result:
    """What came back: latencies in seconds in the order of completion, and how often each status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
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


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer = b""
        self.began = 0.0

    def ask(self, request: bytes, began: float) -> None:
        """Send a whole request; requests are small, so the socket's buffer always takes them at once."""
        self.began = began
        self.buffer = b""
        self.socket.send(request)

    def receive(self) -> tuple[int, int] | None:
        """Status and body length once the answer is whole."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        lower = self.buffer[:head].lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < head + 4 + length:
            return None
        return int(self.buffer[9:12]), length


def get(host: str, port: int, path: str, headers: dict[str, str] | None = None) -> bytes:
    """A GET request's bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}\r\n".encode()


def post(host: str, port: int, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A POST request's bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def run(
    host: str,
    port: int,
    requests: Sequence[bytes],
    connections: int = 16,
    seconds: float = 30.0,
    rate: float | None = None,
) -> Result:
    """Send each request once, over so many connections. Refuses any host but loopback."""
    if host not in LOOPBACK:
        raise ValueError("load goes to loopback only")
    result = Result()
    selector = selectors.DefaultSelector()
    idle: deque[_Connection] = deque(_Connection(host, port) for _ in range(connections))
    for connection in idle:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    started = perf_counter()
    end = started + seconds
    sent = answered = 0
    while answered < len(requests):
        now = perf_counter()
        if now > end:
            break
        while idle and sent < len(requests):
            due = now if rate is None else started + sent / rate
            if due > now:
                break
            idle.popleft().ask(requests[sent], due)
            sent += 1
        wait = 0.05 if rate is None or sent >= len(requests) else max(0.0, started + sent / rate - perf_counter())
        if len(idle) == connections:
            sleep(min(wait, 0.05))
            continue
        for key, _ in selector.select(min(wait, 0.05) if idle else 0.05):
            connection = key.data
            answer = connection.receive()
            if answer is None:
                continue
            status, length = answer
            result.latencies.append(perf_counter() - connection.began)
            result.statuses[status] = result.statuses.get(status, 0) + 1
            result.bytes += length
            answered += 1
            idle.append(connection)
    result.seconds = perf_counter() - started
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    return result
