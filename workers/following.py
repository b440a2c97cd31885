"""What follows from records: withdrawals reach the signals, shadows are computed, orders credited, keys restored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from sqlalchemy import select

from base.clock import monotonic
from base.db import Sessions, transaction
from base.logs import logger
from render import agree
from render.record import ConsentRecord
from signals.intake import Intake, take
from signals.profiles import Identifier, Profile
from signals.sources import INTERNAL, keyless_sender
from workers import outcomes
from workers.recorder import RecorderParts
from workers.recording import Written, moment
from workers.repair import Repairs
from workers.shadow import Shadows

CREDIT_SECONDS = 2.0
FREE_SECONDS = 20.0
RESERVATION_LIFE = timedelta(seconds=60)


class Following:
    """Does what follows from a batch that was recorded. One per recorder."""

    def __init__(self, parts: RecorderParts) -> None:
        self._parts = parts
        self._intake = Intake(parts.sessions, parts.store, parts.settings.hash_key)
        self._shadows = Shadows(parts.blobs, parts.settings.subject_key)
        self._repairs = Repairs(parts.sessions, parts.store, parts.blobs, self._intake)
        self._credited_at = 0.0
        self._freed_at = 0.0

    def __call__(self, written: Written) -> None:
        """Everything that a batch asks for. Raises Unavailable or redis.RedisError while a server is away."""
        for offer, name in written.reserved:
            agree.settle(self._parts.store, offer, name)
        for consent in written.consents:
            self.withdraw(consent)
        if written.live_decisions:
            with transaction(self._parts.sessions) as session:
                self._shadows.compute(session, written.live_decisions)
        self._repairs.repair(written.repairs)

    def idle(self) -> None:
        """What is done when no record waits: crediting orders, freeing what was reserved for nothing."""
        now = monotonic()
        if now - self._credited_at > CREDIT_SECONDS:
            self._credited_at = now
            with transaction(self._parts.sessions) as session:
                outcomes.credit(session, self._parts.clock.now())
        if now - self._freed_at > FREE_SECONDS:
            self._freed_at = now
            self._repairs.free_reservations(self._parts.clock.now() - RESERVATION_LIFE)

    def withdraw(self, record: ConsentRecord) -> None:
        """Tell the signals that a consent was given or withdrawn; it is in effect when this returns.

        The record's id is the message's, so the same record twice is one fact. A person whose identifiers are gone
        (erased) has nothing left to withdraw.
        """
        with transaction(self._parts.sessions) as session:
            sender = keyless_sender(session, INTERNAL, self._parts.clock.now())
        name = _name_of(self._parts.sessions, record.profile)
        if name is None:
            return
        body = name | {
            "type": "track",
            "event": "Consent Changed",
            "messageId": f"consent-{record.id}",
            "timestamp": moment(record.at_ms).isoformat(),
            "properties": {"consents": {record.purpose: record.granted}, "wording": f"link in a mail, {record.via}"},
        }
        for outcome in take(self._intake, sender, [msgspec.json.encode(body)], self._parts.clock.now()):
            if outcome.status == "rejected":
                logger(__name__).error("a withdrawal was refused", field=outcome.field, message=outcome.message)


def _name_of(sessions: Sessions, profile: int) -> dict[str, object] | None:
    """How a call names this person: by any identifier of theirs, the strongest first."""
    with transaction(sessions) as session:
        root = select(Profile.root_id).where(Profile.id == profile).scalar_subquery()
        members = select(Profile.id).where(Profile.root_id == root)
        rows: Sequence[tuple[str, str]] = session.execute(
            select(Identifier.type, Identifier.value).where(Identifier.profile_id.in_(members)).limit(50)
        ).all()
    known: dict[str, str] = {}
    for kind, value in rows:
        known.setdefault(kind, value)
    if "user_id" in known:
        return {"userId": known["user_id"]}
    if "anonymous_id" in known:
        return {"anonymousId": known["anonymous_id"]}
    traits = {{"loyalty_id": "loyaltyId"}.get(kind, kind): value for kind, value in known.items()}
    return {"anonymousId": f"mail-{profile}", "context": {"traits": traits}} if traits else None
