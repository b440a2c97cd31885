"""Handing a mail over to the relay by SMTP, and what its answer means.

Three verdicts: permanent (5yz: never again), temporary (4yz, or nothing was taken), unknown. Unknown is only what
happens after the final dot was sent and before the answer came: the server may have taken the mail or not, and nobody
can tell by asking again (RFC 1047). Decisions rest on the codes, never on the words.
"""

from __future__ import annotations

import ipaddress
import re
import smtplib
import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from base import logs
from base.errors import PermanentFailure, SettingError, TemporaryFailure, UnknownOutcome
from base.settings import Settings
from workers.replies import is_permanent

CONNECT_SECONDS: Final = 10.0
COMMAND_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 600.0
"""How long a server may think about a mail after the final dot (RFC 5321 §4.5.3.2.6)."""
MAILS_A_CONNECTION: Final = 1000
CLOSING: Final = 421
MAX_REPLY: Final = 500
_DOTS: Final = re.compile(rb"(?m)^\.")
_END: Final = b".\r\n"


class Unreachable(TemporaryFailure):
    """There is no session with the relay: no mail was tried, so none has failed."""


class SenderRefused(TemporaryFailure):
    """The relay takes no mail from this sender address: no recipient was tried, so none has failed."""


@dataclass(frozen=True)
class Relay:
    """Where mail goes. `implicit_tls` is smtps; else STARTTLS is used when the relay offers it."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    implicit_tls: bool = False


def relay_from(settings: Settings) -> Relay:
    """The relay of LATEBIND_SMTP_URL; the embedded sink when none is set, and always in a dry run."""
    if settings.dry_run or not settings.smtp_url:
        return Relay("127.0.0.1", settings.smtp_port)
    parts = urlsplit(settings.smtp_url)
    secure = parts.scheme == "smtps"
    if not parts.hostname:
        raise SettingError("LATEBIND_SMTP_URL", "names no host")
    port = parts.port or (465 if secure else 25)
    return Relay(parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""), secure)


class Transport:
    """One connection to the relay, made when needed and used again. For one thread."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._connection: smtplib.SMTP | None = None
        self._sent = 0

    def hand_over(self, sender: str, recipient: str, content: bytes) -> str:
        """Hand one mail to the relay and return its answer; `content` has CRLF line ends.

        Raises PermanentFailure, TemporaryFailure or UnknownOutcome; of the temporary ones, Unreachable when there is no
        session and SenderRefused when the relay does not take the sender.
        """
        connection = self._envelope(sender, recipient)
        try:
            self._check(*connection.docmd("DATA"), expected=354)
            self._send(connection, _DOTS.sub(b"..", content) + _END)
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            self.close()
            raise TemporaryFailure(f"connection lost before the end of the mail: {_words(error)}") from error
        try:
            self._wait_at_most(connection, ANSWER_SECONDS)
            code, text = connection.getreply()
            self._wait_at_most(connection, COMMAND_SECONDS)
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            self.close()
            raise UnknownOutcome(f"connection lost after the mail was sent: {_words(error)}") from error
        self._sent += 1
        return self._check(code, text, expected=250)

    @staticmethod
    def _send(connection: smtplib.SMTP, data: bytes) -> None:
        """Send all of it. Raises OSError only while the last byte, the final dot's, has not been given to the system.

        `sendall` would not say how far it came; so a broken connection could mean anything.
        """
        if connection.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        rest = memoryview(data)
        while rest:
            rest = rest[connection.sock.send(rest) :]

    @staticmethod
    def _wait_at_most(connection: smtplib.SMTP, seconds: float) -> None:
        if connection.sock is not None:
            connection.sock.settimeout(seconds)

    def close(self) -> None:
        """Leave the relay; the next mail connects anew."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def quit(self) -> None:
        """Leave politely, if there is a connection."""
        if self._connection is not None:
            try:
                self._connection.quit()
            except (OSError, smtplib.SMTPException):
                self.close()
            self._connection = None

    def _envelope(self, sender: str, recipient: str) -> smtplib.SMTP:
        """MAIL and RCPT, on a new connection if the old one turns out to be gone: nothing was sent yet."""
        fresh = self._connection is None
        try:
            connection = self._connected()
            code, text = connection.mail(sender)
            if code == CLOSING and not fresh:
                # A server that was left waiting said good-bye before it was asked.
                raise smtplib.SMTPServerDisconnected("closed while idle")
            self._take_sender(code, text)
            self._check(*connection.rcpt(recipient), expected=250)
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            self.close()
            if fresh:
                raise Unreachable(f"the relay does not answer: {_words(error)}") from error
            return self._envelope(sender, recipient)
        return connection

    def _take_sender(self, code: int, text: bytes) -> None:
        """The answer to MAIL. A relay that will not take our sender says nothing of the recipient: nobody is tried."""
        try:
            self._check(code, text, expected=250)
        except (PermanentFailure, TemporaryFailure) as error:
            raise SenderRefused(error.reply) from error

    def _connected(self) -> smtplib.SMTP:
        if self._connection is not None and self._sent >= MAILS_A_CONNECTION:
            self.quit()
        if self._connection is None:
            self._connection = self._connect()
            self._sent = 0
        return self._connection

    def _connect(self) -> smtplib.SMTP:
        relay = self._relay
        encrypted = relay.implicit_tls
        context = ssl.create_default_context()
        try:
            if relay.implicit_tls:
                connection: smtplib.SMTP = smtplib.SMTP_SSL(
                    relay.host, relay.port, timeout=CONNECT_SECONDS, context=context, local_hostname="latebind.invalid"
                )
            else:
                connection = smtplib.SMTP(
                    relay.host, relay.port, timeout=CONNECT_SECONDS, local_hostname="latebind.invalid"
                )
                connection.ehlo()
                if connection.has_extn("starttls"):
                    connection.starttls(context=context)
                    connection.ehlo()
                    encrypted = True
            if relay.user and not (encrypted or is_this_machine(relay.host)):
                connection.close()
                raise Unreachable(
                    "no session with the relay: it offers no encryption, and a password must not go in clear"
                )
            if relay.user:
                connection.login(relay.user, relay.password)
        except (OSError, smtplib.SMTPException) as error:
            raise Unreachable(f"no session with the relay: {_words(error)}") from error
        if connection.sock is not None:
            connection.sock.settimeout(COMMAND_SECONDS)
            # A mail's last packet is small: without this it would wait for the other side's acknowledgement.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _check(self, code: int, text: bytes, expected: int) -> str:
        """The reply, if it is the expected one (250 also for 251); else the verdict it means."""
        reply = f"{code} {_masked(text.decode('utf-8', 'replace'))}"
        if code == expected or (expected == 250 and code == 251):
            return reply
        if code == CLOSING:
            # The server is closing; what follows on this connection would fail for that alone.
            self.close()
        elif self._connection is not None:
            self._reset(self._connection)
        raise PermanentFailure(reply) if is_permanent(reply) else TemporaryFailure(reply)

    def _reset(self, connection: smtplib.SMTP) -> None:
        try:
            connection.rset()
        except (OSError, smtplib.SMTPException):
            self.close()


def is_this_machine(host: str) -> bool:
    """Whether what is said to a host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _words(error: Exception) -> str:
    return _masked(f"{type(error).__name__} {error}")


def _masked(text: str) -> str:
    """A server's words on one line, without addresses."""
    masked: object = logs.masked(None, "", {"reply": " ".join(text.split())[:MAX_REPLY]})["reply"]
    return str(masked)
