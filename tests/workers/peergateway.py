"""A gateway that misbehaves on command: a real HTTP server on loopback that keeps to `Idempotency-Key`, or lies."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.serving import serving

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that lets a closed connection break off."""


@dataclass
class Said:
    """One call: its headers in small letters, and its body."""

    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.content)
        return told


Answer = Callable[["_Handler", Said], None]


def answers(status: int, words: str = "", **headers: str) -> Answer:
    """An answer with this status."""

    def give(handler: _Handler, _said: Said) -> None:
        handler.send_response(status)
        body = words.encode()
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return give


def hangs_up(handler: _Handler, _said: Said) -> None:
    """Break off once the whole call is there."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    handler.connection.close()


def says_nonsense(handler: _Handler, _said: Said) -> None:
    """Answer with what is no HTTP."""
    handler.wfile.write(b"\x16\x03\x01 what?\r\n\r\n")


def kills(handler: _Handler, said: Said) -> None:
    """End the sender, whose process id stands behind the message, while it waits for the answer; take the message."""
    os.kill(handler.server.victim, 9)
    answers(202)(handler, said)


def remembers(handler: _Handler, said: Said) -> None:
    """Take a message and break off; say afterwards, by its key, whether what comes again is the same."""
    key = said.headers["idempotency-key"]
    earlier = [one.content for one in handler.server.calls[:-1] if one.headers["idempotency-key"] == key]
    if earlier:
        answers(202 if set(earlier) == {said.content} else 422, "another body")(handler, said)
    else:
        hangs_up(handler, said)


def is_silent(handler: _Handler, _said: Said) -> None:
    """Say nothing until the gateway is stopped."""
    handler.server.stopping.wait(30)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PeerGateway

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        said = Said({name.lower(): value for name, value in self.headers.items()}, content)
        self.close_connection = True
        self.server.calls.append(said)
        number = str(said.body["to"])
        self.server.answers.get(number, self.server.usual)(self, said)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class PeerGateway(ThreadingHTTPServer):
    """`answers` says what becomes of a message by whom it is for, `usual` of all others; `calls` is what came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.usual: Answer = answers(202)
        self.calls: list[Said] = []
        self.victim = 0
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/messages"

    def told(self) -> list[str]:
        """Whom the calls so far were for, in their order; they are forgotten."""
        found = [str(said.body["to"]) for said in self.calls]
        self.calls.clear()
        return found

    def handle_error(self, request: object, client_address: object) -> None:
        """Who hangs up on us is what these tests are about."""


@contextmanager
def peer_gateway() -> Iterator[PeerGateway]:
    """The gateway while the block runs."""
    server = PeerGateway()
    with serving(server):
        try:
            yield server
        finally:
            server.stopping.set()
