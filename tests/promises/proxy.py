"""A TCP proxy in front of a server that can stop passing bytes on, as a stalled network or host does, and listen."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class StallingProxy:
    """Passes bytes between its clients and a Redis-protocol server; while stalled it accepts and keeps silent."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._server = (place.hostname or "127.0.0.1", place.port or 6379)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._heard: bytearray | None = None
        self.url = place._replace(netloc=f"127.0.0.1:{self._socket.getsockname()[1]}").geturl()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def stall(self) -> None:
        """Pass nothing on until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass on what was held back, and all that comes."""
        self._flowing.set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[bytearray]:
        """All bytes that clients send meanwhile, of every connection in the order they came."""
        self._heard = heard = bytearray()
        try:
            yield heard
        finally:
            self._heard = None

    def close(self) -> None:
        """Close every connection."""
        self._flowing.set()
        self._socket.close()
        with self._lock:
            for one in list(self._open):
                one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                try:
                    server = socket.create_connection(self._server, timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target, source is client), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_asking: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if is_asking and (heard := self._heard) is not None:
                    heard += data
                self._flowing.wait()
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        with self._lock:
            self._open -= {source, target}
