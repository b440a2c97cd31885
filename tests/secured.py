"""TLS before servers that speak none themselves: the embedded Valkey is built without."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

PATIENCE_SECONDS = 5.0


class Secured:
    """Listens on loopback for each server that it is given, and passes on what comes by TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listening: list[socket.socket] = []
        self.strangers = 0
        """Callers with whom no TLS came about."""

    def __call__(self, port: int) -> int:
        """Stand before a server's port; the port to call instead."""
        listening = socket.create_server(("127.0.0.1", 0))
        self._listening.append(listening)
        threading.Thread(target=self._accept, args=(listening, port), daemon=True).start()
        return int(listening.getsockname()[1])

    @property
    def ports(self) -> list[int]:
        """The ports to call, in the order of the servers."""
        return [int(one.getsockname()[1]) for one in self._listening]

    def close(self) -> None:
        """Take no more calls."""
        for listening in self._listening:
            listening.close()

    def _accept(self, listening: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listening.accept()
                threading.Thread(target=self._serve, args=(caller, port), daemon=True).start()

    def _serve(self, caller: socket.socket, port: int) -> None:
        caller.settimeout(PATIENCE_SECONDS)
        try:
            secure = self._context.wrap_socket(caller, server_side=True)
        except OSError:
            self.strangers += 1
            caller.close()
            return
        with secure, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
            secure.settimeout(None)
            _carry(secure, server)


def _carry(secure: ssl.SSLSocket, server: socket.socket) -> None:
    """Pass bytes both ways until one side ends. One thread: a TLS connection is not for two."""
    while True:
        ready = [secure] if secure.pending() else select.select([secure, server], [], [])[0]
        for source, target in ((secure, server), (server, secure)):
            if source in ready:
                data = source.recv(65_536)
                if not data:
                    return
                target.sendall(data)
