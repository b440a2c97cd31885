"""A relay that does as it is told, mail by mail: accepts, refuses, puts off, or breaks off after the final dot."""

from __future__ import annotations

import asyncio
import email
import threading
from collections import Counter
from collections.abc import Callable

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from base.processes import free_port

HOST = "127.0.0.1"
Answer = Callable[[str], str]
"""From a recipient to the server's line; "" accepts."""


class Relay:
    """An SMTP server in a thread. `mails` are (recipient, content) in order of arrival, also those then lost."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, bytes]] = []
        self.sessions = 0
        self.at_mail: Answer = lambda _sender: ""
        self.at_rcpt: Answer = lambda _recipient: ""
        self.at_dot: Answer = lambda _recipient: ""
        self.before_answer: Callable[[str], None] = lambda _recipient: None
        self._lock = threading.Lock()
        self.offers_smtputf8 = True
        self.port = free_port()
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        return f"smtp://{HOST}:{self.port}"

    def start(self) -> None:
        """Return when it listens."""
        self._controller = Controller(
            _Handler(self), hostname=HOST, port=self.port, ready_timeout=10, enable_SMTPUTF8=self.offers_smtputf8
        )
        self._controller.start()

    def stop(self) -> None:
        """Stop listening; `start` begins again on the same port."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def received(self) -> Counter[str]:
        """How many mails reached each recipient."""
        with self._lock:
            return Counter(recipient for recipient, _ in self.mails)

    def message_ids(self) -> list[str]:
        """The Message-IDs of all mails, in order."""
        with self._lock:
            return [str(email.message_from_bytes(content)["Message-ID"]) for _, content in self.mails]

    def keep(self, recipient: str, content: bytes) -> None:
        """Note a mail whose final dot was seen."""
        with self._lock:
            self.mails.append((recipient, content))


class _Handler:
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def handle_EHLO(  # noqa: N802
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self._relay.sessions += 1
        return responses

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self._relay.at_mail(address)
        if not answer:
            envelope.mail_from = address
        return answer or "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self._relay.at_rcpt(address)
        if not answer:
            envelope.rcpt_tos.append(address)
        return answer or "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        recipient = envelope.rcpt_tos[0]
        answer = self._relay.at_dot(recipient)
        if not answer or answer == "drop":
            self._relay.keep(recipient, envelope.original_content or b"")
        self._relay.before_answer(recipient)
        if answer == "drop":
            # The mail was taken; the sender never hears of it.
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return answer or "250 2.0.0 Taken"
