"""Taking in mails that came back, by SMTP or LMTP: which delivery they are about, and what follows.

A mail is about a delivery if it names what only we can make: the sealed envelope sender, its unsubscribe link, or its
Message-ID together with the address it went to. Whoever a mail was forwarded to knows the last two: on their word an
address is unsubscribed, which its reader can take back, or has a soft bounce, and no more. Whose mail stops is read
from the ledger, never from the report: a forger with a mail of their own can stop their own mails and nobody else's.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy.orm import Session as Transaction

from base import db
from base.clock import Clock, clock_from
from base.db import Sessions, transaction
from base.errors import BadToken, Unavailable
from base.ids import Delivery
from base.logs import logger
from base.returnpath import ReturnPaths
from base.settings import Settings
from base.tokens import Purpose, TokenKeys
from campaigns import mailreports as ledger
from campaigns.models.delivery import Delivery as Row
from signals import mailreports
from signals.mailreports import Outcome, Patience, Report
from workers.returned import Returned, read

MAX_BYTES: Final = 2 * 1024 * 1024
"""Our mails have less than 100 kB, so what comes back whole is smaller by far."""
SECONDS: Final = 60
_log = logger(__name__)


class ReturnDesk:
    """Takes in mails that came back, one at a time. For many threads."""

    def __init__(self, settings: Settings, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._paths = ReturnPaths.from_settings(settings)
        self._tokens = TokenKeys.from_settings(settings)
        self._hash_key = settings.hash_key
        self._patience = Patience.of(settings)

    def is_ours(self, recipient: str) -> bool:
        """Whether mail to this address is taken in at all: its domain is the bounce domain."""
        return bool(self._paths.domain) and recipient.lower().rpartition("@")[2] == self._paths.domain

    def take(self, content: bytes, recipients: Sequence[str]) -> Outcome:
        """Take a mail in; what became of it, which is also counted. Raises Unavailable while the database is away."""
        returned = read(content)
        with transaction(self._sessions) as session:
            outcome = "no report" if returned is None else self._settled(session, returned, recipients)
            if outcome not in ("taken", "repeated"):  # those are counted where they are kept
                mailreports.tally(session, returned.via if returned else "dsn", outcome, self._clock.now())
        return outcome

    def _settled(self, session: Transaction, returned: Returned, recipients: Sequence[str]) -> Outcome:
        if returned.kind is None:
            return "no report"
        sealed, forged = self._sealed(returned, recipients)
        found = _first(session, sealed)
        is_sealed = found is not None
        told, false = self._told(returned)
        found = found or _first(session, told)
        for message_id in returned.message_ids if found is None else ():
            found = found or ledger.delivery_by_message(session, self._hash_key, message_id, returned.recipients)
        if found is None:
            return "forged" if (forged or false) and not (sealed or told) else "unknown mail"
        mail = Delivery(found.profile_id, found.campaign_id, found.occurrence)
        now = self._clock.now()
        report = Report(
            kind="soft" if returned.kind == "hard" and not is_sealed else returned.kind,
            via=returned.via,
            name=f"{mail.profile}.{mail.name}\0{returned.kind}\0{returned.name}",
            at=returned.at or now,
            mail=mail,
            address_hash=None if mail.is_test else found.address_hash,
            message_id=found.message_id,
            status=returned.status,
            words=returned.words,
            is_sealed=is_sealed,
        )
        return "taken" if mailreports.take(session, report, self._patience, now) else "repeated"

    def _sealed(self, returned: Returned, recipients: Sequence[str]) -> tuple[list[Delivery], bool]:
        """The deliveries whose envelope sender is named, and whether one is that looks so and is not ours."""
        mails: dict[Delivery, None] = {}
        forged = False
        for address in (*recipients, *returned.senders):
            try:
                mails[self._paths.read(address)] = None
            except BadToken:
                forged = forged or self._paths.is_like(address)
        return list(mails), forged

    def _told(self, returned: Returned) -> tuple[list[Delivery], bool]:
        """The deliveries whose unsubscribe link is quoted, and whether one is that is not ours."""
        mails: dict[Delivery, None] = {}
        forged = False
        for text in returned.unsubscribe:
            try:
                mails[self._tokens.read(text, Purpose.UNSUBSCRIBE).delivery] = None
            except BadToken:
                forged = True
        return list(mails), forged


def _first(session: Transaction, mails: Sequence[Delivery]) -> Row | None:
    """The ledger's row of the first of these mails that has one."""
    return next((row for mail in mails if (row := ledger.delivery(session, mail)) is not None), None)


class Listener:
    """An SMTP or LMTP server in a thread of its own, in front of a desk."""

    def __init__(self, desk: ReturnDesk, scheme: str, host: str, port: int) -> None:
        made = _Lmtp if scheme == "lmtp" else Controller
        self._controller = made(
            _Handler(desk), hostname=host, port=port, data_size_limit=MAX_BYTES, ready_timeout=10, timeout=SECONDS
        )

    def start(self) -> None:
        """Return when it listens. Raises OSError when the port is taken."""
        self._controller.start()

    def stop(self) -> None:
        """Stop listening and end the thread."""
        self._controller.stop()


class _Lmtp(Controller):
    def factory(self) -> SMTP:
        """A server that speaks LMTP (RFC 2033)."""
        return LMTP(self.handler, **self.SMTP_kwargs)


class _Handler:
    """What aiosmtpd calls for each mail."""

    def __init__(self, desk: ReturnDesk) -> None:
        self._desk = desk

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if not self._desk.is_ours(address):
            return "550 5.7.1 No mail is taken here for that domain"
        if envelope.rcpt_tos:
            # LMTP answers for each recipient; one at a time leaves no doubt which answer is whose.
            return "452 4.5.3 One recipient at a time, please"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
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
    engine = db.connect(settings.database_url, application="latebind bounces")
    place = urlsplit(settings.bounce_listen)
    port = place.port or (24 if place.scheme == "lmtp" else 25)
    listener = Listener(
        ReturnDesk(settings, db.sessions(engine), clock_from(settings)), place.scheme, place.hostname or "", port
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    listener.start()
    _log.info("bounces listening", scheme=place.scheme, port=port)
    stopping.wait()
    listener.stop()
    engine.dispose()
