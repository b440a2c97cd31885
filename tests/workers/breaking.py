"""A server that closes the connection at a chosen phase of SMTP."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType

from base.settings import Settings

PHASES = ("greeting", "mail", "rcpt", "data", "body", "dot")


class Breaking:
    """Speaks SMTP up to a phase, then closes without a word. "body" closes in the middle, "dot" after the end."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def settings(self) -> Settings:
        """Settings whose relay this is."""
        return Settings(var=Path("var"), smtp_url=f"smtp://127.0.0.1:{self._socket.getsockname()[1]}")

    def __enter__(self) -> Breaking:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                self._speak(connection)

    def _speak(self, connection: socket.socket) -> None:
        if self._phase == "greeting":
            return
        connection.sendall(b"220 ready\r\n")
        answers = {
            b"EHLO": b"250 breaking",
            b"MAIL": b"250 ok",
            b"RCPT": b"250 ok",
            b"RSET": b"250 ok",
            b"DATA": b"354 go",
        }
        with connection.makefile("rb") as lines:
            for line in lines:
                word = line[:4].upper()
                if word.decode(errors="replace").lower() == self._phase:
                    return
                connection.sendall(answers.get(word, b"250 ok") + b"\r\n")
                if word == b"DATA":
                    break
            if self._phase == "body":
                lines.read(10_000)
                return
            for line in lines:
                if line == b".\r\n":
                    return
