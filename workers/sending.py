"""Sending: a batch of deliveries is claimed, built, handed over and settled, so that nobody gets a mail twice.

1. One transaction claims the rows (consent and suppression are looked at in the same statement) and keeps what is known
   of each person now. It is committed before anything is sent.
2. The mails are built. Groups of HANDING of them are marked as being handed over, with the permits that rate limits ask
   for, committed, and only then sent; the outcomes of a group are written together with the mark of the next one.
3. Claims are short, and renewed while this process works. Whatever ends it in between: rows that were not marked go
   back to the queue when their claim runs out, marked ones become unknown, which a person settles. So at most HANDING
   mails of a killed sender are in doubt.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from msgspec import UNSET
from redis import RedisError
from sqlalchemy.orm import Session

from base import keys, logs
from base.blobs import FolderBlobs
from base.clock import Clock, monotonic, pause
from base.db import Sessions, transaction
from base.errors import Conflict, InvalidInput, NotFound, Unavailable
from base.settings import Settings
from base.stores import Store
from campaigns import breaker, deliveries, exits, instance, permits, sentfacts, transitions, troubles
from campaigns.accounting import is_taken_since
from campaigns.deliveries import GATEWAY_SHUT, HOLD, MAIL_GONE, NOT_BUILT, UNSIGNABLE, Claimed, Held, Settled
from campaigns.dkimkeys import Keyring, Unopenable
from campaigns.gateways import Shut
from campaigns.instance import Guard
from campaigns.sendlimits import domain_of
from campaigns.sentfacts import PersonFacts, SharedFacts
from render.agree import balance
from render.guard import suppressed
from render.plan import Plan
from signals.readings import RuleFacts
from signals.state import decode
from signals.suppression import BOUNCED, suppress_hash
from workers.composers import Composers
from workers.handover import REFUSED_DELAY, Handover, Ready
from workers.heartbeat import Heartbeat
from workers.ways import Ways, by_way

HANDING: Final = 20
LATELY: Final = timedelta(days=2)
"""A relay that took a campaign's mail within this time takes ours: what it refuses now and then concerns the person.

It is more than MAX_TRIES take, so that a person who is refused is given up before it is forgotten.
"""
MAIL_LOST: Final = (
    "The published mail is not in the blob store any more. Bring it back, or publish the same text again."
)
SETTLE_TRIES: Final = 6
SOON: Final = timedelta(seconds=2)
"""For room within a limit that comes so soon a sender waits; for any other the row goes back to the ledger."""
PATIENCE: Final = 10.0
"""Seconds that a sender waits for room in one batch, in all."""
LOOK_AGAIN: Final = 0.02
_log = logs.logger(__name__)


@dataclass
class Report:
    """What became of a batch, by delivery state; `claimed` counts what this process got of it."""

    claimed: int = 0
    states: dict[str, int] = field(default_factory=dict)

    def count(self, outcomes: Sequence[Settled]) -> None:
        for outcome in outcomes:
            self.states[outcome.state] = self.states.get(outcome.state, 0) + 1


class Sender:
    """Sends batches, mail with one relay connection. Keep it for the life of a process; for one thread."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        store: Store,
        blobs: FolderBlobs,
        clock: Clock,
        *,
        handing: int = HANDING,
        patience: float = PATIENCE,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._handing = handing
        self._patience = patience
        self._guard = Guard(settings, "sender")
        self._signing = Keyring(settings.subject_key)
        self._ways = Ways(settings, clock)
        self._composers = Composers(settings, sessions, blobs, self._signing)
        # Unique to this start: a process that gets the same pid later is another claimer.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._heartbeat = Heartbeat(sessions, clock, self.name)

    def send(self, ids: Sequence[int]) -> Report:
        """Send those of the deliveries that are queued; may be called with the same ids any number of times."""
        try:
            with self._heartbeat.over(ids):
                return self._send(ids)
        except Exception:
            self._give_back(ids)
            raise

    def _send(self, ids: Sequence[int]) -> Report:
        now = self._clock.now()
        report = Report()
        with transaction(self._sessions) as session:
            if why := self._guard.blocked(session, now):
                _log.error("kept from sending", why=why)
                return report
            claimed, lost = self._with_mail(deliveries.claim(session, ids, self.name, now), session)
            report.claimed = len(claimed) + len(lost)
            without = [_without_mail(row, reason, now) for row, reason, _ in lost]
            claimed, ruled_out = self._allowed(claimed, now)
            claimed, bought = self._not_gone(session, claimed, now)
            without += [*ruled_out, *bought]
            deliveries.settle(session, without, now)
            facts = self._facts(claimed)
            shared = {digest: self._shared(plan) for digest, plan in self._plans(claimed).items()}
            hashes = sentfacts.keep(session, facts, shared, self._settings.subject_key, now)
            mark = instance.advance(session)
        self._guard.here.note(mark)
        report.count(without)
        self._pause({row.key.campaign: words for row, _, words in lost if not row.key.is_test}, now)
        ready, outcomes = self._build(claimed, hashes, now)
        handovers = []
        for items in by_way(ready):
            handovers.append(self._hand_over(items, outcomes, report))
            outcomes = []
        self._tell(handovers, {row.key.campaign for row in claimed if not row.key.is_test})
        return report

    def _give_back(self, ids: Sequence[int]) -> None:
        """Have what a failed job left tried again soon."""
        try:
            with transaction(self._sessions) as session:
                deliveries.give_back(session, ids, self.name, self._clock.now())
        except Unavailable as error:
            _log.warning("rows of a failed job not given back", error=str(error))

    def _hand_over(self, remaining: list[Ready], outcomes: list[Settled], report: Report) -> Handover:
        """Hand over what goes one way, writing `outcomes`, which are known already, with it."""
        handover = Handover(self._ways.hand, self._clock, self._is_taken_lately, lambda: self._heartbeat.is_held)
        patience = self._patience
        try:
            while remaining:
                group, remaining = remaining[: self._handing], remaining[self._handing :]
                report.count(outcomes)
                started = monotonic()
                self._heartbeat.worked(started)
                allowed, kept = self._mark(handover, outcomes, group, may_wait=patience > 0)
                outcomes = []
                handover.group([item for item in group if item.row.id in allowed], started, outcomes)
                if kept and not allowed:
                    patience -= self._wait_for(
                        min(handover.granted.waits[item.row.id].until for item in kept), patience
                    )
                remaining = handover.sift([*remaining, *kept], outcomes)
        finally:
            # Also when something unforeseen ends the loop: what is known is written, the rest goes back.
            self._settle(handover, outcomes, [item.row for item in remaining])
            report.count(outcomes)
        return handover

    def close(self) -> None:
        """Leave the relay."""
        self._ways.close()

    def _mark(
        self, handover: Handover, outcomes: Sequence[Settled], group: Sequence[Ready], *, may_wait: bool
    ) -> tuple[set[int], list[Ready]]:
        """Write the last group's outcomes and mark the next group, in one commit before anything of it is sent.

        Returns the rows that may go, and the mails that are kept because there is room for them within a moment.
        """
        for wait in _waits():
            try:
                with transaction(self._sessions) as session:
                    self._write(session, handover, outcomes)
                    granted = permits.take(session, self._clock, self.name, [_counted(item) for item in group], HOLD)
                    rows = [item.row for item in group if item.row.id in granted.mails]
                    now = self._clock.now()
                    allowed = deliveries.hand_over(session, rows, self.name, now)
                    deliveries.release(session, [row for row in rows if row.id not in allowed])
                    soon = {n for n, one in granted.waits.items() if may_wait and one.until - now <= SOON}
                    deliveries.hold(
                        session,
                        [_held(item.row, granted) for item in group if item.row.id in granted.waits.keys() - soon],
                    )
                handover.granted = granted
                return allowed, [item for item in group if item.row.id in soon]
            except Unavailable:
                if wait is None:
                    raise
                pause(wait)
        return set(), []

    def _wait_for(self, until: datetime, patience: float) -> float:
        """Wait for a moment to come, as long as there is patience; returns how long it took, in seconds."""
        began = monotonic()
        while self._clock.now() < until and monotonic() - began < patience:
            pause(LOOK_AGAIN)
        return monotonic() - began

    def _settle(self, handover: Handover, outcomes: Sequence[Settled], untouched: Sequence[Claimed]) -> None:
        for wait in _waits():
            try:
                with transaction(self._sessions) as session:
                    self._write(session, handover, outcomes)
                    deliveries.release(session, untouched)
                    return
            except Unavailable:
                if wait is None:
                    raise
                pause(wait)

    def _write(self, session: Session, handover: Handover, outcomes: Sequence[Settled]) -> None:
        """What became of a group, which ends its permit, and its dead addresses: no campaign mails them again."""
        deliveries.settle(session, outcomes, self._clock.now())
        for address_hash, reply in handover.dead.items():
            suppress_hash(session, address_hash, BOUNCED, self._clock.now(), evidence=reply)
        permits.end(session, handover.granted, handover.tried, self._clock)

    def _is_taken_lately(self, campaign: int) -> bool:
        """Whether the relay took mails of a campaign in the last while; False when that cannot be asked."""
        try:
            with transaction(self._sessions) as session:
                return is_taken_since(session, campaign, self._clock.now() - LATELY)
        except Unavailable:
            return False

    def _with_mail(
        self, claimed: Sequence[Claimed], session: Session
    ) -> tuple[list[Claimed], list[tuple[Claimed, str, str]]]:
        """The rows whose mail can be built and signed; the others must not keep them waiting.

        The others come with the reason for the ledger, and with words for a person.
        """
        self._signing.refresh(session)
        self._ways.begin()
        lost: dict[str, tuple[str, str]] = {}
        for digest in {row.plan_hash for row in claimed}:
            try:
                _, composer, texts = self._composers.of(digest)
                if texts is None:
                    self._signing.of(composer.domain)
                else:
                    self._ways.open(session, texts.text.gateway)
            except NotFound:
                _log.error("a published mail is missing from the blobs", plan=digest)
                lost[digest] = MAIL_GONE, MAIL_LOST
            except Unopenable as error:
                _log.error("a mail cannot be signed", reason=str(error))
                lost[digest] = UNSIGNABLE, str(error)
            except Shut as error:
                lost[digest] = GATEWAY_SHUT, str(error)
        return (
            [row for row in claimed if row.plan_hash not in lost],
            [(row, *lost[row.plan_hash]) for row in claimed if row.plan_hash in lost],
        )

    def _allowed(self, claimed: Sequence[Claimed], now: datetime) -> tuple[list[Claimed], list[Settled]]:
        """The rows that still may go, and those whose person the campaign's suppression rule means by now."""
        allowed: list[Claimed] = []
        ruled_out: list[Settled] = []
        for row in claimed:
            plan = self._composers.plan(row.plan_hash)
            asked = plan.suppress is not UNSET and row.state is not None and not row.key.is_test
            if asked and suppressed(plan, RuleFacts(decode(row.state or b""), now)) is not None:
                ruled_out.append(Settled(row.id, row.fence, "skipped", "ruled_out_since", counted=False))
            else:
                allowed.append(row)
        return allowed, ruled_out

    def _not_gone(
        self, session: Session, claimed: Sequence[Claimed], now: datetime
    ) -> tuple[list[Claimed], list[Settled]]:
        """The rows of who is still in the campaign, and those of who left it by a purchase."""
        real = [row for row in claimed if not row.key.is_test]
        gone = exits.gone(session, self._blobs, [(row.key.campaign, row.key.profile) for row in real], now)
        bought = {
            row.id: Settled(row.id, row.fence, "skipped", gone[row.key.campaign, row.key.profile], counted=False)
            for row in real
            if (row.key.campaign, row.key.profile) in gone
        }
        return [row for row in claimed if row.id not in bought], list(bought.values())

    def _pause(self, campaigns: Mapping[int, str], now: datetime) -> None:
        """Pause campaigns whose mail cannot be made; one that is not sending (any more) is left as it is."""
        for campaign, words in campaigns.items():
            try:
                with transaction(self._sessions) as session:
                    transitions.pause(session, campaign, now, troubles.SENDER, trouble=words)
            except Conflict:
                continue

    def _tell(self, handovers: Sequence[Handover], sent: Collection[int]) -> None:
        """Note on the campaigns what relay and gateways think of them, and stop those of which too many mails fail.

        What is lost here, the next batch tells.
        """
        try:
            with transaction(self._sessions) as session:
                for handover in handovers:
                    troubles.over(session, handover.taken)
                    for campaign, words in handover.troubles.items():
                        troubles.note(session, campaign, words, self._clock.now())
                for campaign in sorted(sent):
                    breaker.look(session, campaign, self._clock.now())
        except Unavailable as error:
            _log.warning("trouble with the relay not noted", error=str(error))

    def _build(
        self, claimed: Sequence[Claimed], hashes: dict[int, bytes | None], now: datetime
    ) -> tuple[list[Ready], list[Settled]]:
        ready, failed = [], []
        for row in claimed:
            if hashes.get(row.id, b"") is None:
                failed.append(Settled(row.id, row.fence, "failed", f"{NOT_BUILT}: the person's key is damaged"))
                continue
            try:
                ready.append(self._composers.build(row, now, hashes.get(row.id)))
            except InvalidInput as error:
                failed.append(Settled(row.id, row.fence, "failed", f"{NOT_BUILT}: {error.field} {error.message}"))
            except (RedisError, Unavailable):
                raise  # No mail is to blame for a server that is away.
            except Exception as error:  # noqa: BLE001 - what one person's data break must not keep the others' mails
                _log.error("a mail could not be built", delivery=row.id, error=type(error).__name__, exc_info=error)
                failed.append(Settled(row.id, row.fence, "failed", f"{NOT_BUILT}: {type(error).__name__}"))
        return ready, failed

    def _plans(self, claimed: Sequence[Claimed]) -> dict[str, Plan]:
        return {digest: self._composers.plan(digest) for digest in {row.plan_hash for row in claimed}}

    def _facts(self, claimed: Sequence[Claimed]) -> dict[int, tuple[Claimed, PersonFacts]]:
        """What is known of each person now. A store that is away leaves `used` out, and the mail goes nevertheless."""
        used: list[bytes | None] = [None] * len(claimed)
        if claimed:
            try:
                used = self._store.mget([keys.used(row.key.profile) for row in claimed])  # type: ignore[assignment]
            except RedisError as error:
                _log.warning("store away, send-time use not kept", error=type(error).__name__)
        return {row.id: (row, PersonFacts(row.state, now)) for row, now in zip(claimed, used, strict=True)}

    def _shared(self, plan: Plan) -> str:
        """The hash of what all mails of a plan share now."""
        products: dict[str, bytes] = {}
        caps: dict[int, int] = {}
        try:
            if plan.product_ids:
                found: list[bytes | None] = self._store.mget([keys.product(name) for name in plan.product_ids])  # type: ignore[assignment]
                products = {name: data for name, data in zip(plan.product_ids, found, strict=True) if data is not None}
            for offer in plan.capped_ids:
                left = balance(self._store, offer)
                caps |= {} if left is None else {offer: left}
        except RedisError as error:
            _log.warning("store away, send-time products not kept", error=type(error).__name__)
        return sentfacts.put_shared(self._blobs, SharedFacts(products, caps))


def _without_mail(row: Claimed, reason: str, now: datetime) -> Settled:
    """A row whose mail cannot be made waits until it can; a test waits for nothing."""
    if row.key.is_test:
        return Settled(row.id, row.fence, "failed", reason)
    return Settled(row.id, row.fence, "deferred", reason, not_before=now + REFUSED_DELAY, counted=False)


def _counted(item: Ready) -> permits.Mail:
    """What a mail counts for in rate limits: a warm-up is of the domain in From, wherever bounces go."""
    if item.gateway is not None:
        return permits.Mail(item.row.id, "", "", item.gateway)
    return permits.Mail(item.row.id, domain_of(item.row.address), domain_of(item.domain))


def _held(row: Claimed, granted: permits.Granted) -> Held:
    """A row that waits for room within a limit."""
    wait = granted.waits[row.id]
    return Held(row.id, row.fence, wait.limit.reason, wait.limit.name, wait.until)


def _waits() -> Iterator[float | None]:
    """How long to wait after each failed try to write outcomes; None after the last: half a minute in all."""
    yield from (0.5 * 2**number for number in range(SETTLE_TRIES))
    yield None
