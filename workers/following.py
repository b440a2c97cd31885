"""What follows from records: withdrawals reach the signals, shadows are computed, orders credited, keys restored.

And what else must not stay half done: restarts of the hot store, interrupted erasures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace
from redis import RedisError
from redis.exceptions import OutOfMemoryError
from sqlalchemy import select

from base import keys
from base.clock import monotonic
from base.db import transaction
from base.errors import Unavailable
from base.ids import Delivery
from base.logs import logger
from base.storecluster import is_of_another_kind
from base.stores import is_clustered
from campaigns import chain, mailreports, messageevents, remainder
from campaigns.channels import EMAIL
from campaigns.erasure import finish_erasures
from campaigns.models import Campaign
from campaigns.models import Delivery as DeliveryRow
from render import agree
from render.record import THIS_CHANNEL, ConsentRecord, RepairRecord
from signals import journal
from signals.consent import set_consent
from signals.due import publish_due
from signals.intake import Intake, regroup
from signals.products import publish_due_products
from signals.profiles import Profile
from signals.publishing import HOT_STORE
from signals.suppression import unsubscribe_address
from workers import hindsight, outcomes
from workers.backlog import Backlog, Mark
from workers.recorder import RecorderParts
from workers.recording import Written, date_late, moment
from workers.repair import Repairs
from workers.restarts import Restarts
from workers.shadow import Shadows

CREDIT_SECONDS = 2.0
FREE_SECONDS = 20.0
RESTART_SECONDS = 5.0
TIE_SECONDS = 60.0
"""How often the chain grows: a proof tells every entry up to the end of a day."""
RESERVATION_LIFE = timedelta(seconds=60)
log = logger(__name__)


class Following:
    """Does what follows from a batch that was recorded. One per recorder."""

    def __init__(self, parts: RecorderParts) -> None:
        self._parts = parts
        self._backlog = Backlog(parts.store)
        self._intake = Intake(parts.sessions, parts.store, parts.settings.hash_key)
        self._blobs = parts.blobs
        self._shadows = Shadows(parts.blobs, parts.settings.subject_key)
        self._repairs = Repairs(parts.sessions, parts.store, parts.blobs, self._intake, parts.settings.subject_key)
        self._restarts = Restarts(parts.sessions, parts.store, self._intake)
        self._credited_at = self._looked_at = 0.0
        self._freed_at = 0.0
        self._tied_at = 0.0
        self._to_free: tuple[Mark, datetime] | None = None
        self._to_credit: tuple[Mark, int] | None = None
        self._lost_caps: dict[str, RepairRecord] = {}
        self._to_open: tuple[Mark, dict[str, RepairRecord]] | None = None
        self._unsent: dict[Delivery, hindsight.Span] = {}

    def __call__(self, written: Written) -> None:
        """Everything that a batch asks for, first of all that withdrawals are in effect. Raises Unavailable or
        redis.RedisError while a server is away."""
        for consent in written.consents:
            self._withdraw(consent)
        self._settle(written.reserved)
        self._repairs.counts.told(written.counted, written.shown)
        self._look_back(hindsight.spans(written.told))
        if written.live_decisions:
            with transaction(self._parts.sessions) as session:
                self._shadows.compute(session, written.live_decisions)
        self._lost_caps |= {record.name: record for record in written.repairs if record.what == "cap"}
        self._repairs.repair([record for record in written.repairs if record.what != "cap"])

    def idle(self) -> None:
        """What is done now and then: orders are credited, mail reports find their mails, needless reservations are
        given back, restarts noticed, erasures and households finished that were interrupted."""
        now = monotonic()
        if now - self._tied_at > TIE_SECONDS:
            with transaction(self._parts.sessions) as session:
                tied = chain.tie(session, self._parts.clock.now())
            # A full piece is followed by the next at once.
            self._tied_at = now if tied < chain.AT_ONCE else self._tied_at
        if now - self._looked_at > RESTART_SECONDS:
            self._looked_at = now
            self._finish()
        if self._to_credit is None and now - self._credited_at > CREDIT_SECONDS:
            self._credited_at = now
            self._look_back(self._unsent)
            with transaction(self._parts.sessions) as session:
                upto = journal.newest(session)
                mailreports.link(session)
            # After the orders: what was seen before them is in these entries or earlier ones.
            mark = self._backlog.mark()
            self._to_credit = (mark, upto) if mark is not None else None
        if self._to_credit is not None:
            mark, upto = self._to_credit
            # An order must not go to an older sight while the record of its own still waits on a stream.
            absent = self._backlog.absent(mark)
            if absent is not None:
                with transaction(self._parts.sessions) as session:
                    date_late(session)
                    outcomes.credit(session, self._intake.categories, upto, self._parts.clock.now(), absent)
                self._to_credit = None
        self._open_caps()
        if self._to_free is None and now - self._freed_at > FREE_SECONDS:
            self._freed_at = now
            mark = self._backlog.mark()
            self._to_free = (mark, self._parts.clock.now() - RESERVATION_LIFE) if mark is not None else None
        if self._to_free is not None:
            mark, before = self._to_free
            # A reservation whose record still waits on a stream is not one without a record.
            absent = self._backlog.absent(mark)
            if absent is not None:
                self._repairs.free_reservations(before, absent)
                self._to_free = None

    def _open_caps(self) -> None:
        """Open total caps that the store has lost. How much is left of one is on record once nothing waits on a stream
        any more that came before it was missed, of a cluster's node that is away neither."""
        if self._to_open is None and self._lost_caps:
            mark = self._backlog.mark()
            if mark is not None:
                self._to_open, self._lost_caps = (mark, self._lost_caps), {}
        if self._to_open is not None:
            mark, caps = self._to_open
            absent = self._backlog.absent(mark)
            if absent is not None and not absent:
                self._repairs.repair(list(caps.values()))
                self._to_open = None

    def _settle(self, reserved: Sequence[tuple[int, str]]) -> None:
        """Note that reservations have their record. `Repairs.free_reservations` does what a node's absence or a full
        store prevents; where there is no cap any more there is nothing to note."""
        for offer, name in reserved:
            try:
                agree.settle(self._parts.store, offer, name)
            except RedisError as error:
                if is_of_another_kind(error):
                    log.warning("a cap is of another kind, nothing is noted in it", key=keys.cap(offer))
                elif not (is_clustered(self._parts.store) or isinstance(error, OutOfMemoryError)):
                    raise

    def _withdraw(self, record: ConsentRecord) -> None:
        """`withdraw`; where a cluster's node is away, the store is full or will not have this one state, it is written
        when it can be, and others need not wait. What is taken back is in effect in a full store too: no state says
        otherwise there."""
        try:
            self.withdraw(record)
        except Unavailable as error:
            if isinstance(error.__cause__, OutOfMemoryError):
                if not record.granted:
                    self._drop(record.profile)
            elif self._is_one_node(error) or is_of_another_kind(error.__cause__):
                log.warning("a state waits to be written", key=keys.state(record.profile))
                self._restarts.missed()
            else:
                raise

    def _drop(self, profile: int) -> None:
        with transaction(self._parts.sessions) as session:
            root = select(Profile.root_id).where(Profile.id == profile).scalar_subquery()
            members = list(session.scalars(select(Profile.id).where(Profile.root_id == root)))
        self._intake.publisher.drop_states(members)

    def _is_one_node(self, error: RedisError | Unavailable) -> bool:
        """Whether what failed is the hot store, and perhaps no more of it than a node of a cluster."""
        failed_there = isinstance(error, RedisError) or error.part == HOT_STORE
        return failed_there and is_clustered(self._parts.store)

    def _finish(self) -> None:
        """What must not stay half done, each even where another cannot be done now. What waits for a node of a cluster
        keeps nothing else waiting."""
        now = self._parts.clock.now()
        failed: RedisError | Unavailable | None = None
        for step in (
            self._restarts.look,
            self._repairs.counts.follow,
            partial(finish_erasures, self._intake, self._blobs, now),
            partial(self._unname, now),
            partial(publish_due, self._intake, self._repairs.restore_person),
            partial(publish_due_products, self._intake),
            partial(regroup, self._intake, None, now),
        ):
            try:
                step()
            except (RedisError, Unavailable) as error:
                if not self._is_one_node(error):
                    failed = failed or error
        if failed is not None:
            raise failed

    def _unname(self, now: datetime) -> None:
        """What many people are written of in one transaction, as when orders are credited, no erasure waits for."""
        with transaction(self._parts.sessions) as session:
            remainder.unname_late(session, now)

    def _leave(self, record: ConsentRecord) -> None:
        mailed = select(DeliveryRow.address_hash).where(
            DeliveryRow.campaign_id == record.campaign,
            DeliveryRow.occurrence == record.occurrence,
            DeliveryRow.profile_id == record.profile,
            DeliveryRow.channel == EMAIL,
        )
        with transaction(self._parts.sessions) as session:
            for hashed in session.scalars(mailed):
                if hashed is not None:
                    unsubscribe_address(session, hashed, moment(record.at_ms))

    def _look_back(self, deliveries: Mapping[Delivery, hindsight.Span]) -> None:
        """Tell classes by what is known now; mails that are still being handed over are looked at again."""
        if not deliveries:
            return
        with transaction(self._parts.sessions) as session:
            looked = hindsight.look_back(session, deliveries)
        kept = {delivery: span for delivery, span in self._unsent.items() if delivery not in deliveries}
        self._unsent = dict([*kept.items(), *looked.waiting.items()][-hindsight.MAX_WAITING :])

    def withdraw(self, record: ConsentRecord) -> None:
        """Tell the signals that a consent was given or withdrawn; it is in effect when this returns.

        The record's id is the message's, so the same record twice is one fact. An erased person has nothing left to
        withdraw, and a test mail says nothing of the person it was made for. Who leaves a mailing list speaks for the
        mailbox: whoever else has the address is not mailed there either. Messages to a number or to devices need
        everybody's own yes, so that taking it back is enough, and no number comes on the list of addresses for it.
        """
        if Delivery(record.profile, record.campaign, record.occurrence).is_test:
            return
        with transaction(self._parts.sessions) as session:
            if record.purpose == THIS_CHANNEL:
                by = session.scalar(select(Campaign.channel).where(Campaign.id == record.campaign))
                record = replace(record, purpose=by or EMAIL)
            messageevents.note_consent(session, record)
        if record.purpose == "email" and not record.granted:
            self._leave(record)
        set_consent(
            self._intake,
            record.profile,
            record.purpose,
            record.granted,
            at=moment(record.at_ms),
            now=self._parts.clock.now(),
            via=record.via,
            message_id=f"consent-{record.id}",
            wording="link in a mail",
        )
