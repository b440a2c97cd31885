"""The SMTP or LMTP server in front of the return desk, open to strangers and therefore bounded in everything.

It takes mail for the envelope senders of our own mails, which nobody else can make up, and a little for a few named
mailboxes. Connections, those of one host, the bytes of a mail and the time of a session are limited; whoever oversteps
is cut off, and a mail server tries again.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections import Counter, deque
from typing import Any, Final
from urllib.parse import urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from base import db
from base.clock import clock_from, monotonic
from base.errors import Unavailable
from base.logs import logger
from base.settings import Settings
from base.vault import Vault
from signals import keymarks
from workers.bounces import ReturnDesk

MAX_BYTES: Final = 2 * 1024 * 1024
"""Our mails have less than 100 kB, so what comes back whole is smaller by far."""
MAX_SENT: Final = 2 * MAX_BYTES
"""Bytes of one mail and its commands after which a connection is cut: aiosmtpd reads on past `MAX_BYTES`, in memory."""
MAX_CONNECTIONS: Final = 100
MAX_OF_ONE_HOST: Final = 30
SECONDS: Final = 60
SESSION_SECONDS: Final = 300
"""Of silence, and of a whole session: a mail server that has more to bring comes again."""
NAMED_A_MINUTE: Final = 60
"""Mails to the named mailboxes, by all who write there."""
_log = logger(__name__)


class Doors:
    """How many connections are open, and how many mails came to named mailboxes lately. For one event loop."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._named: deque[float] = deque(maxlen=NAMED_A_MINUTE)

    def enter(self, host: str) -> bool:
        """Count a connection of this host; whether it may stay."""
        self._open[host] += 1
        return self._open.total() <= MAX_CONNECTIONS and self._open[host] <= MAX_OF_ONE_HOST

    def leave(self, host: str) -> None:
        """A connection that entered is gone."""
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]

    def take_named(self, now: float) -> bool:
        """Whether one more mail to a named mailbox may come, `now` in seconds; it counts then."""
        if len(self._named) == NAMED_A_MINUTE and now - self._named[0] < 60:
            return False
        self._named.append(now)
        return True


class BoundedSmtp(SMTP):
    """A server whose connections end: by number, by bytes and by time."""

    def __init__(self, doors: Doors, handler: Handler, **settings: Any) -> None:
        self._doors = doors
        self._host = ""
        self._sent = 0
        self._end: asyncio.TimerHandle | None = None
        super().__init__(handler, **settings)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or say at once that there are too many."""
        super().connection_made(transport)
        self._host = str((transport.get_extra_info("peername") or ("",))[0])
        self._end = self.loop.call_later(SESSION_SECONDS, self._cut)
        if not self._doors.enter(self._host) and isinstance(transport, asyncio.WriteTransport):
            transport.write(b"421 4.7.0 Too many connections, please try again later\r\n")
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Make room for another one."""
        self._doors.leave(self._host)
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Pass on what arrives, as long as one mail has not brought too much."""
        self._sent += len(data)
        if self._sent > MAX_SENT:
            self._cut()
        else:
            super().data_received(data)

    def _set_post_data_state(self) -> None:
        self._sent = 0
        super()._set_post_data_state()  # type: ignore[no-untyped-call]

    def _cut(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()  # Not closed: that would wait for a reader of what is still to be written.


class BoundedLmtp(BoundedSmtp, LMTP):
    """The same by LMTP (RFC 2033)."""


class Listener:
    """An SMTP or LMTP server in a thread of its own, in front of a desk."""

    def __init__(self, desk: ReturnDesk, scheme: str, host: str, port: int) -> None:
        self._controller = _Controller(desk, BoundedLmtp if scheme == "lmtp" else BoundedSmtp, host, port)

    def start(self) -> None:
        """Return when it listens. Raises OSError when the port is taken."""
        self._controller.start()

    def stop(self) -> None:
        """Stop listening and end the thread."""
        self._controller.stop()


class _Controller(Controller):
    def __init__(self, desk: ReturnDesk, server: type[BoundedSmtp], host: str, port: int) -> None:
        self._server = server
        self._doors = Doors()
        super().__init__(
            Handler(desk, self._doors),
            hostname=host, port=port, data_size_limit=MAX_BYTES, ready_timeout=10, timeout=SECONDS,
        )  # fmt: skip

    def factory(self) -> SMTP:
        """A server for one connection."""
        return self._server(self._doors, self.handler, **self.SMTP_kwargs)


class Handler:
    """What aiosmtpd calls for each mail."""

    def __init__(self, desk: ReturnDesk, doors: Doors) -> None:
        self._desk = desk
        self._doors = doors

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Whether a recipient is one of ours, before a byte of the mail is read."""
        if envelope.rcpt_tos:
            # LMTP answers for each recipient; one at a time leaves no doubt which answer is whose.
            return "452 4.5.3 One recipient at a time, please"
        if not self._desk.is_sealed(address):
            if not self._desk.is_named(address):
                return "550 5.1.1 No such mailbox here"
            if not self._doors.take_named(monotonic()):
                return "450 4.7.1 Too many mails to this mailbox, please try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail in."""
        content: Any = envelope.original_content or b""
        try:
            outcome = await asyncio.to_thread(self._desk.take, content, list(envelope.rcpt_tos))
        except Unavailable:
            return "451 4.3.0 Please try again later"
        _log.info("returned mail", outcome=outcome)
        return "250 2.0.0 Taken"


def serve(settings: Settings) -> None:
    """Listen where LATEBIND_BOUNCE_LISTEN says until SIGTERM or Ctrl-C."""
    # aiosmtpd tells every connection and command at the level of news.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind bounces")
    place = urlsplit(settings.bounce_listen)
    port = place.port or (24 if place.scheme == "lmtp" else 25)
    sessions, clock = db.sessions(engine), clock_from(settings)
    keymarks.settle(sessions, settings, clock.now())
    listener = Listener(ReturnDesk(settings, sessions, clock), place.scheme, place.hostname or "", port)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    listener.start()
    _log.info("bounces listening", scheme=place.scheme, port=port)
    stopping.wait()
    listener.stop()
    engine.dispose()
