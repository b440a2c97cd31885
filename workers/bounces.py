"""Taking in mails that came back: which delivery they are about, and what follows; workers/listening.py hears them.

A mail is about a delivery if it names what only we can make: the sealed envelope sender, its unsubscribe link, or its
Message-ID together with the address it went to. Whoever a mail was forwarded to knows the last two: on their word an
address is unsubscribed, which its reader can take back, or has a soft bounce, and no more. Whose mail stops is read
from the ledger, never from the report: a forger with a mail of their own can stop their own mails and nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.orm import Session as Transaction

from base.clock import Clock
from base.db import Sessions, transaction
from base.errors import BadToken
from base.ids import Delivery
from base.returnpath import ReturnPaths
from base.settings import Settings
from base.tokens import Purpose, TokenKeys
from campaigns import mailreports as ledger
from campaigns.models.delivery import Delivery as Row
from signals import mailreports
from signals.mailreports import Outcome, Patience, Report
from workers.returned import Returned, read

NAMED: Final = frozenset({"abuse", "complaints", "fbl", "postmaster"})
"""The only other mailboxes of the bounce domain: feedback loops are registered with one of them."""


class ReturnDesk:
    """Takes in mails that came back, one at a time. For many threads."""

    def __init__(self, settings: Settings, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._paths = ReturnPaths.from_settings(settings)
        self._tokens = TokenKeys.from_settings(settings)
        self._hash_key = settings.hash_key
        self._patience = Patience.of(settings)

    def is_sealed(self, recipient: str) -> bool:
        """Whether this address is the envelope sender of a mail of ours."""
        try:
            self._paths.read(recipient)
        except BadToken:
            return False
        return True

    def is_named(self, recipient: str) -> bool:
        """Whether this is a mailbox of the bounce domain that anybody may write to."""
        local, _, domain = recipient.lower().rpartition("@")
        return bool(self._paths.domain) and domain == self._paths.domain and local in NAMED

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
