"""Telling receivers of audience exports who came and who left, by calls that are signed as Standard Webhooks are.

Additions are noted as offered before the call and as told after its answer; a call that was cut off is made again, with
the same `webhook-id` for the same content. Removals stand before additions and are to be applied first.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from base import logs
from base.clock import Clock
from base.db import Sessions, transaction
from base.errors import InvalidInput
from base.sealing import unseal
from campaigns import exports
from campaigns.exports import Changes
from campaigns.instance import Guard
from campaigns.models.exports import AudienceExport
from campaigns.receivers import SEALED_AS

MAX_CALLS: Final = 200
"""Calls to one receiver in a run; what is left comes with the next."""
MAX_RECEIVERS: Final = 20
Post = Callable[[str, bytes, Mapping[str, str]], int]
_log = logs.logger(__name__)


@dataclass
class Told:
    """What a run did: receivers that are told, receivers at fault, people added and removed."""

    receivers: int = 0
    faults: int = 0
    added: int = 0
    removed: int = 0


def signed(secret: bytes, name: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a call; `at` is in Unix seconds."""
    mac = hmac.new(secret, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


class Exporter:
    """Tells receivers. `post` is Downloads.post: nothing else may follow a receiver's address."""

    def __init__(self, sessions: Sessions, clock: Clock, subject_key: bytes, guard: Guard, *, post: Post) -> None:
        self._sessions = sessions
        self._guard = guard
        self._clock = clock
        self._key = subject_key
        self._post = post

    def run(self) -> Told:
        """Look after every receiver whose turn it is. Raises Unavailable; a lease that is left then runs out."""
        done = Told()
        with transaction(self._sessions) as session:
            # A copy of the database must not speak for the installation that it was copied from.
            if self._guard.blocked(session, self._clock.now()) is not None:
                return done
        for _ in range(MAX_RECEIVERS):
            with transaction(self._sessions) as session:
                export = exports.claim(session, self._clock.now())
                number = export.id if export is not None else None
            if number is None:
                break
            self._tell(number, done)
        return done

    def _tell(self, number: int, done: Told) -> None:
        fault: str | None = None
        try:
            with transaction(self._sessions) as session:
                exports.sync(session, session.get_one(AudienceExport, number), self._clock.now())
            for _ in range(MAX_CALLS):
                fault = self._call(number, done)
                if fault is not None:
                    break
        except InvalidInput as error:
            fault = f"the receiver {error.message}" if error.field == "url" else f"{error.field} {error.message}"
        with transaction(self._sessions) as session:
            export = session.get_one(AudienceExport, number)
            exports.settle(export, fault or None, self._clock.now())
            standing = exports.standing(session, number)
            if not fault and export.state == "ending" and not standing.members and not standing.removals:
                export.state = "ended"
        done.receivers += not fault
        done.faults += bool(fault)
        if fault:
            _log.warning("a receiver was not told", export=number, reason=fault)

    def _call(self, number: int, done: Told) -> str | None:
        """One call; empty when there is nothing more to tell, else why it failed, or None."""
        with transaction(self._sessions) as session:
            now = self._clock.now()
            # Asked each time: a database is set back, or taken over, also while a receiver is being told.
            if (why := self._guard.blocked(session, now)) is not None:
                return why
            export = session.get_one(AudienceExport, number)
            changes = exports.changes(session, export)
            if not changes or export.url is None or export.secret is None:
                return ""
            exports.offer(changes)
            export.lease_until = now + exports.LEASE
            body = _body(export, changes)
            url, secret = export.url, unseal(export.secret, self._key, SEALED_AS)
            session.flush()
            session.expunge_all()
        status = self._post(url, body, signed(secret, changes.name, int(now.timestamp()), body))
        if not 200 <= status < 300:
            return f"the receiver answers with status {status}"
        with transaction(self._sessions) as session:
            exports.confirm(session, number, changes)
            session.get_one(AudienceExport, number).told_at = self._clock.now()
        done.added += len(changes.additions)
        done.removed += len(changes.removals)
        return None


def _body(export: AudienceExport, changes: Changes) -> bytes:
    return msgspec.json.encode(
        {
            "type": "audience.changed",
            "export": export.id,
            "name": export.name,
            "format": export.format,
            "removals": [row.names for row in changes.removals],
            "additions": [row.names for row in changes.additions],
        }
    )
