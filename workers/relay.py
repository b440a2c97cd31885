"""The relay that mails are handed to, and a session with it: encrypted where it can be, signed in, under our own name.

A certificate that is not the relay's ends the session before anything is said, also where TLS is not required: it would
protect from nobody. On this machine's own loopback nothing is encrypted unless that is required.
"""

from __future__ import annotations

import contextlib
import ipaddress
import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from base import logs
from base.errors import SettingError, TemporaryFailure
from base.processes import is_this_machine
from base.settings import Settings
from campaigns.domaincheck import unfit

CONNECT_SECONDS: Final = 30.0
"""For the connection and for each answer until the session stands; servers greet late on purpose, to annoy spammers."""
COMMAND_SECONDS: Final = 60.0
MAX_REPLY: Final = 500


class Unreachable(TemporaryFailure):
    """There is no session with the relay: no mail was tried, so none has failed."""


@dataclass(frozen=True)
class Relay:
    """Where mail goes. `implicit_tls` is smtps; else STARTTLS is used when the relay offers it, or always.

    `name` is what we call ourselves; empty stands for the address we connect from. `authorities` is a file of
    certificates to trust, in place of the machine's.
    """

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    implicit_tls: bool = False
    requires_tls: bool = False
    name: str = ""
    authorities: Path | None = None


def relay_from(settings: Settings) -> Relay:
    """The relay of LATEBIND_SMTP_URL; the embedded sink when none is set, and always in a dry run."""
    if not settings.is_sending:
        return Relay("127.0.0.1", settings.smtp_port)
    parts = urlsplit(settings.smtp_url)
    secure = parts.scheme == "smtps"
    if not parts.hostname:
        raise SettingError("LATEBIND_SMTP_URL", "names no host")
    try:
        port = parts.port or (465 if secure else 25)
    except ValueError:
        raise SettingError("LATEBIND_SMTP_URL", "has a port that is none") from None
    return Relay(
        parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""), secure,
        settings.smtp_tls == "required", settings.ehlo_name, settings.smtp_ca_file,
    )  # fmt: skip


def connect(relay: Relay, seconds: float = CONNECT_SECONDS) -> smtplib.SMTP:
    """A session, ready for mails. Raises Unreachable with words that say what stands in the way."""
    session: smtplib.SMTP | None = None
    try:
        if relay.implicit_tls:
            session = smtplib.SMTP_SSL(relay.host, relay.port, "", timeout=seconds, context=_context(relay))
        else:
            session = smtplib.SMTP(relay.host, relay.port, "", timeout=seconds)
        session.local_hostname = relay.name or _literal(session)
        _say_hello(session)
        if not relay.implicit_tls:
            _encrypt(session, relay)
        if relay.user:
            session.login(relay.user, relay.password)
        if session.sock is not None:
            session.sock.settimeout(COMMAND_SECONDS)
            # A mail's last packet is small: without this it would wait for the other side's acknowledgement.
            session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, smtplib.SMTPException, Unreachable) as error:
        if session is not None:
            with contextlib.suppress(OSError):
                session.close()
        if isinstance(error, Unreachable):
            raise
        raise Unreachable(f"no session with the relay: {_said(error, relay.host)}") from error
    return session


def is_encrypted(session: smtplib.SMTP) -> bool:
    """Whether what is said in this session can be read by nobody else."""
    return isinstance(session.sock, ssl.SSLSocket)


def _say_hello(session: smtplib.SMTP) -> None:
    """EHLO, or HELO to a server that has never heard of it."""
    session.ehlo_or_helo_if_needed()


def _encrypt(session: smtplib.SMTP, relay: Relay) -> None:
    is_near = is_this_machine(relay.host)
    if session.has_extn("starttls") and (relay.requires_tls or not is_near):
        session.starttls(context=_context(relay))
        # What was said before, somebody in between may have written (RFC 3207 §4.2).
        _say_hello(session)
    elif relay.requires_tls:
        raise Unreachable("no session with the relay: it offers no encryption, and LATEBIND_SMTP_TLS requires it")
    elif relay.user and not is_near:
        raise Unreachable("no session with the relay: it offers no encryption, and a password must not go in clear")


def _context(relay: Relay) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=relay.authorities)
    except OSError:
        raise Unreachable("no session with the relay: LATEBIND_SMTP_CA_FILE holds no certificates") from None


def _literal(session: smtplib.SMTP) -> str:
    """The address we connect from as a name (RFC 5321 §4.1.3): always true, and nobody has to be asked for it."""
    if session.sock is None:
        raise smtplib.SMTPServerDisconnected("not connected")
    address = ipaddress.ip_address(str(session.sock.getsockname()[0]).partition("%")[0])
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _said(error: Exception, host: str) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return unfit(error, host)
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'the handshake broke off'}"
        case smtplib.SMTPAuthenticationError(smtp_code=code, smtp_error=text):
            return f"it does not take user and password: {code} {masked(_text(text))}"
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=text):
            return f"{code} {masked(_text(text))}"
        case TimeoutError():
            return "no answer in time"
        case _:
            return words(error)


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def words(error: Exception) -> str:
    """An error on one line, without addresses."""
    return masked(f"{type(error).__name__} {error}")


def masked(text: str) -> str:
    """A server's words on one line, without addresses."""
    hidden: object = logs.masked(None, "", {"reply": " ".join(text.split())[:MAX_REPLY]})["reply"]
    return str(hidden)
