"""An SMTP server that misbehaves on command: it answers each command as it is told, or breaks off there."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from base.settings import Settings

DROP: Final = "drop"
"""In place of an answer: the connection is closed without a word."""
SILENT: Final = "silent"
"""In place of an answer: nothing is said, and the connection stays."""
DOT: Final = "."
"""The name of the answer to a mail."""
BODY: Final = "BODY"
"""DROP here: the connection is closed in the middle of a mail."""
GREETING: Final = "GREETING"
WELL: Final = {
    GREETING: "220 ready", "EHLO": "250 peer", "HELO": "250 peer", "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok",
    "DATA": "354 go ahead", DOT: "250 2.0.0 taken", "RSET": "250 2.0.0 ok", "QUIT": "221 2.0.0 bye",
    "STARTTLS": "220 2.0.0 go ahead", "AUTH": "235 2.7.0 welcome",
}  # fmt: skip


class Peer:
    """Serves one connection after another. `offers` are the lines of its EHLO, `answers` what differs from WELL.

    An answer may be one text, for good, or a list, one a time and then as before. `flights` holds what arrived in one
    piece, `mails` the contents of mails whose final dot was seen, `heard` each command.
    """

    def __init__(
        self,
        answers: Mapping[str, str | list[str]] | None = None,
        *,
        offers: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.answers: dict[str, str | list[str]] = dict(answers or {})
        self.offers = offers
        self.flights: list[bytes] = []
        self.heard: list[str] = []
        self.mails: list[bytes] = []
        self.sessions = 0
        self._tls = tls
        self._ended = threading.Event()
        self._socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._host = f"[{host}]" if ":" in host else host
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def settings(self, **more: Any) -> Settings:
        """Settings whose relay this is."""
        return Settings(var=Path("var"), smtp_url=f"smtp://{self._host}:{self.port}", **more)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            # Closing alone would not wake a thread that waits in accept().
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._socket.accept()
                self.sessions += 1
                connection.settimeout(20)
                session = _Session(self, connection)
                try:
                    session.run()
                finally:
                    session.end()

    def answer(self, command: str) -> str:
        """What the command is answered this time."""
        told = self.answers.get(command, WELL.get(command, "500 5.5.2 unknown"))
        if isinstance(told, list):
            return told.pop(0) if told else WELL[command]
        return told

    def secured(self, connection: socket.socket) -> socket.socket:
        """The connection after the handshake. Raises OSError where that fails."""
        assert self._tls is not None
        return self._tls.wrap_socket(connection, server_side=True)

    def wait(self) -> None:
        """Until the test is over."""
        self._ended.wait(20)


class _Session:
    def __init__(self, peer: Peer, connection: socket.socket) -> None:
        self._peer = peer
        self._connection = connection
        self._rest = b""

    def run(self) -> None:
        if not self._say(GREETING):
            return
        while line := self._line():
            command = line.split()[0].decode("latin-1").upper() if line.split() else ""
            self._peer.heard.append(line.rstrip(b"\r\n").decode())
            if command == "STARTTLS" and self._peer.answers.get("STARTTLS") is None:
                self._connection.sendall(b"220 2.0.0 go ahead\r\n")
                self._connection = self._peer.secured(self._connection)
                self._rest = b""
                continue
            if not self._say(command):
                return
            if command == "QUIT":
                return
            if command == "DATA" and self._granted and not self._take():
                return

    def end(self) -> None:
        """Close the connection, as it is by now."""
        self._connection.close()

    def _say(self, command: str) -> bool:
        """Whether the session goes on."""
        told = self._peer.answer(command)
        if told == DROP:
            return False
        if told == SILENT:
            self._peer.wait()
            return False
        self._granted = told.startswith("354")
        lines = [told]
        if command == "EHLO" and told.startswith("250"):
            words = [told[4:], *self._peer.offers]
            lines = [f"250{'-' if number < len(words) - 1 else ' '}{word}" for number, word in enumerate(words)]
        self._connection.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return not told.startswith("421")

    def _take(self) -> bool:
        """A mail up to its final dot."""
        lines: list[bytes] = []
        while (line := self._line()) not in (b".\r\n", b""):
            lines.append(line)
            if self._peer.answers.get(BODY) == DROP:
                return False
        if not line:
            return False
        self._peer.mails.append(b"".join(lines))
        return self._say(DOT)

    def _line(self) -> bytes:
        while b"\n" not in self._rest:
            data = self._connection.recv(65_536)
            if not data:
                return b""
            self._peer.flights.append(data)
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line + b"\n"
