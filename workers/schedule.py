"""The schedule loop: freezes the audience of what is due, keeps the send queue filled, finishes what is done.

Any number of these loops may run. A due run is one row: whoever locks it freezes it in the same transaction, and the
others pass it by. What was lost on the way (a job, a sender) is found here and brought back.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from redis import Redis, RedisError
from rq.registry import StartedJobRegistry
from sqlalchemy import func, select, update

from base import logs
from base.blobs import FolderBlobs
from base.clock import Clock
from base.db import Sessions, transaction
from base.errors import Refused, Unavailable, reason
from base.queues import SERIALIZER, QueueName, queue
from base.settings import Settings
from base.stores import Store
from campaigns import (
    arms,
    atopens,
    deliveries,
    exits,
    exports,
    keyring,
    opentally,
    permits,
    publish,
    reckoning,
    relations,
    scores,
    segments,
    sweeping,
    tally,
    transitions,
    troubles,
    windows,
)
from campaigns.instance import Guard
from campaigns.models.campaign import Campaign, Occurrence
from campaigns.models.sending import DeliveryCount
from campaigns.opens import ensure_months
from campaigns.retention import Policy
from signals import likely, productpictures
from signals.intake import Intake
from workers import trainings
from workers.engagement import Engagement
from workers.freezing import Freezing
from workers.jobs import (
    enqueue_exports,
    enqueue_judging,
    enqueue_likely,
    enqueue_pictures,
    enqueue_relations,
    enqueue_results,
    enqueue_scores,
    enqueue_send,
    enqueue_training,
)
from workers.members import Members
from workers.retention import Retention

BATCH: Final = 100
"""Deliveries a job carries."""
MAX_JOBS: Final = 200
"""Jobs waiting at once; the rest of an audience stays in the ledger until there is room."""
LOST_AFTER: Final = timedelta(minutes=15)
"""A row whose job has not claimed it by then gets another job; should both run, the claim tells who sends."""
TAKEN_WITHIN: Final = timedelta(seconds=90)
"""The same where no job waits: a job that runs claims its rows at once."""
TICK_SECONDS: Final = 1.0
REFRESH_TICKS: Final = 5
JUDGE_TICKS: Final = 120
"""How often models on trial are brought up to date."""
LESSON: Final = timedelta(hours=1)
DRIFT_TICKS: Final = 30 * JUDGE_TICKS
"""How often it is asked whether the drift of live models must be measured."""
MEMBER_TICKS: Final = 60
ENGAGEMENT_BESIDE_SENDS, ENGAGEMENT_ALONE = 0.1, 0.4
"""How long a round tells of clicks and opens, at least one piece, in seconds: while mails leave, and while none do."""
FIRST_SECONDS, BESIDE_SENDS_SECONDS, ALONE_SECONDS = 1.0, 0.05, 0.5
"""How long a round writes into states who is in segments, at least one piece: in the round in which one is newly named,
while mails leave, and while none do."""
EXPIRE_TICKS: Final = 600
"""How often it is looked for records that have expired; while there are some, a piece of them goes every tick."""
CHECK_TICKS: Final = 600
"""How often the sizes of compared groups are looked at."""
_log = logs.logger(__name__)


@dataclass
class Tick:
    """What one round did."""

    frozen: list[tuple[int, int]] = field(default_factory=list)
    enqueued: int = 0
    swept: dict[str, int] = field(default_factory=dict)
    finished: list[int] = field(default_factory=list)
    refreshed: int = 0


class Scheduler:
    """One loop. `sessions` should have no limit on the time of a statement: freezing a large audience takes long."""

    def __init__(
        self, settings: Settings, sessions: Sessions, store: Store, queues: Redis, blobs: FolderBlobs, clock: Clock
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._queues = queues
        self._blobs = blobs
        self._clock = clock
        self._freezing = Freezing(sessions, store, blobs, settings.hash_key)
        self._rounds = 0
        self._guard = Guard(settings, "schedule")
        self._why: str | None = None
        self._months: set[tuple[int, int]] = set()
        self._retention = Retention(sessions, blobs, Policy.of(settings))
        self._expire_at = self._fold_at = 0
        self._intake = Intake(sessions, store, settings.hash_key)
        self._members = Members(self._intake, self._clock.now)
        self._engagement = Engagement(self._intake)
        self._asked_at: datetime | None = None
        self._seen: int | None = None
        self._let_in_after = ""

    def tick(self) -> Tick:
        """One round. A part that fails is logged and comes round again; the other parts go on."""
        now = self._clock.now()
        done = Tick()
        if self._is_kept_from_it(now):
            return done
        parts: list[Callable[[Tick, datetime], None]] = [
            self._ensure_months, self._turn, self._name_segments, self._freeze_due, self._end_for_buyers,
            self._keep_windows, self._sweep, self._enqueue,
            self._finish, self._keep_members, self._tell_engagement,
        ]  # fmt: skip
        if self._rounds % REFRESH_TICKS == 0:
            parts.insert(1, self._refresh)
            parts += [self._fetch_pictures, self._compute_scores, self._learn_relations]
            parts.append(self._find_likely)
            parts.append(self._tell_receivers)
        if self._rounds % JUDGE_TICKS == 0:
            parts += [self._judge_models, self._retrain]
        if self._rounds % MEMBER_TICKS == 0:
            parts.append(self._count_results)
        if self._rounds >= self._expire_at:
            parts.append(self._expire)
        if self._rounds >= self._fold_at:
            parts.append(self._fold_counts)
        if self._rounds % CHECK_TICKS == CHECK_TICKS - 1:
            parts += [self._check_groups, self._forget_exported]
        self._rounds += 1
        for part in parts:
            try:
                part(done, now)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
                if isinstance(error, Unavailable | RedisError) and not isinstance(error, Refused):
                    _log.warning("a server is away", part=part.__name__, error=str(error))
                else:
                    _log.error("a part of the round failed", part=part.__name__, error=reason(error))
        return done

    def _is_kept_from_it(self, now: datetime) -> bool:
        """Whether this database is not ours to work with, or cannot be asked."""
        try:
            with transaction(self._sessions) as session:
                why = self._guard.blocked(session, now)
        except Unavailable as error:
            _log.warning("a server is away", part="instance", error=str(error))
            return True
        if why is not None and why != self._why:
            _log.error("nothing is scheduled", why=why)
        self._why = why
        return why is not None

    def run(self) -> None:
        """Tick every second until SIGTERM or Ctrl-C."""
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        while not stopping.is_set():
            done = self.tick()
            if done.frozen or done.finished:
                _log.info("tick", frozen=done.frozen, finished=done.finished, enqueued=done.enqueued)
            stopping.wait(TICK_SECONDS)

    def _turn(self, _done: Tick, now: datetime) -> None:
        with transaction(self._sessions) as session:
            publish.turn(session, now)

    def _end_for_buyers(self, _done: Tick, now: datetime) -> None:
        """Have who bought leave the campaigns that end with it."""
        with transaction(self._sessions) as session:
            seen = exits.end_new(session, self._blobs, now, self._seen)
        self._seen = seen

    def _refresh(self, done: Tick, _now: datetime) -> None:
        with transaction(self._sessions) as session:
            done.refreshed = publish.refresh(session, self._store, self._blobs)
            done.refreshed += keyring.refresh(session, self._store)

    def _freeze_due(self, done: Tick, now: datetime) -> None:
        for frozen in self._freezing.due(now, self._members.unready):
            done.frozen.append(frozen)

    def _keep_windows(self, _done: Tick, now: datetime) -> None:
        with transaction(self._sessions) as session:
            windows.keep(session, now)

    def _check_groups(self, _done: Tick, now: datetime) -> None:
        with transaction(self._sessions) as session:
            arms.keep_checks(session, now)

    def _forget_exported(self, _done: Tick, now: datetime) -> None:
        with transaction(self._sessions) as session:
            lost = exports.forget(session, now)
        if lost:
            _log.warning("receivers never confirmed that they removed erased people", people=lost)

    def _sweep(self, done: Tick, now: datetime) -> None:
        with transaction(self._sessions) as session:
            done.swept = sweeping.sweep(session, now)

    def _enqueue(self, done: Tick, now: datetime) -> None:
        """Put waiting rows on the queue, as many as there is room for.

        When no job is left, whatever still waits in the ledger was lost on the way, and is enqueued once more; so is,
        after a while, what no sender took up: the job of a killed sender looks alive to RQ for an hour. That while is
        short where all jobs are running.
        """
        sends = queue(QueueName.SEND, self._queues)
        room = MAX_JOBS - sends.count
        idle = room == MAX_JOBS and not StartedJobRegistry(queue=sends, serializer=SERIALIZER).count
        with transaction(self._sessions) as session:
            self._let_in_after = permits.let_in(session, now, self._let_in_after)
            most = permits.room(session, now)
        # What waits in jobs already will use the limits' room first.
        mails = room * BATCH if most is None else min(room * BATCH, most - sends.count * BATCH)
        if mails <= 0:
            return
        # The clock may stand still, so "before" is a moment after now.
        before = now + timedelta(microseconds=1) if idle else now - (LOST_AFTER if sends.count else TAKEN_WITHIN)
        with transaction(self._sessions) as session:
            ids = deliveries.take_waiting(session, now, mails, before)
        # After the commit: a job must find its rows. A crash here leaves them to the next idle round.
        for start in range(0, len(ids), BATCH):
            enqueue_send(self._queues, ids[start : start + BATCH])
        done.enqueued = len(ids)

    def _fold_counts(self, _done: Tick, now: datetime) -> None:
        """Fold a piece of what was counted; the next one in the next round while there is more."""
        self._fold_at = self._rounds - 1 + REFRESH_TICKS
        with transaction(self._sessions) as session:
            tally.fold(session)
            folded = opentally.fold(session)
            permits.prune(session, now)
        if folded == opentally.PIECE:
            self._fold_at = self._rounds

    def _fetch_pictures(self, _done: Tick, now: datetime) -> None:
        """Have the product pictures fetched that are due: the ledger of pictures says which, the job is only a hint."""
        with transaction(self._sessions) as session:
            due = productpictures.is_any_due(session, now)
        if due:
            enqueue_pictures(self._queues)

    def _tell_receivers(self, _done: Tick, now: datetime) -> None:
        """Have the receivers of audience exports told whose turn it is."""
        with transaction(self._sessions) as session:
            due = exports.is_any_due(session, now)
        if due:
            enqueue_exports(self._queues)

    def _judge_models(self, _done: Tick, _now: datetime) -> None:
        """Have models on trial looked at, and now and then those that are live."""
        named = Campaign.shadow_hash.is_not(None) | Campaign.canary_hash.is_not(None)
        if self._rounds % DRIFT_TICKS == 1:
            named |= Campaign.model_hash.is_not(None)
        with transaction(self._sessions) as session:
            is_any = session.scalar(select(Campaign.id).where(named).limit(1)) is not None
        if is_any:
            enqueue_judging(self._queues)

    def _name_segments(self, _done: Tick, _now: datetime) -> None:
        """Have the segments followed that opens ask for; of a few people a newly named one is written at once."""
        with transaction(self._sessions) as session:
            wanted = atopens.named(session)
            atopens.follow(session, wanted)
        if self._members.want(wanted, anew=self._rounds % MEMBER_TICKS == 0):
            self._members.go_on(FIRST_SECONDS)

    def _keep_members(self, _done: Tick, _now: datetime) -> None:
        """Go on writing who is in them: a small part of each round while mails leave, half of it while none do."""
        self._members.go_on(BESIDE_SENDS_SECONDS if self._is_sending() else ALONE_SECONDS)

    def _tell_engagement(self, _done: Tick, now: datetime) -> None:
        """Go on telling who clicked in mails, and opened them."""
        self._engagement.tell(now, ENGAGEMENT_BESIDE_SENDS if self._is_sending() else ENGAGEMENT_ALONE)

    def _is_sending(self) -> bool:
        sends = queue(QueueName.SEND, self._queues)
        return bool(sends.count or StartedJobRegistry(queue=sends, serializer=SERIALIZER).count)

    def _compute_scores(self, _done: Tick, now: datetime) -> None:
        """Have scores computed that were asked for, or whose newest are older than they may be."""
        with transaction(self._sessions) as session:
            wanted = scores.is_run_due(session, now, timedelta(hours=self._settings.score_hours))
        if wanted:
            enqueue_scores(self._queues)

    def _count_results(self, _done: Tick, now: datetime) -> None:
        """Have the results of large campaigns and the segments counted that are due."""
        with transaction(self._sessions) as session:
            due = reckoning.due(session, now) or segments.due(session, now)
        if due:
            enqueue_results(self._queues)

    def _find_likely(self, _done: Tick, now: datetime) -> None:
        """Have customers who are probably one looked for, when that was asked for or is due again."""
        with transaction(self._sessions) as session:
            wanted = likely.is_run_due(session, now, timedelta(hours=self._settings.match_hours))
        if wanted:
            enqueue_likely(self._queues)

    def _learn_relations(self, _done: Tick, now: datetime) -> None:
        """Have stored orders learnt from when that is due; one that is under way is given an hour to end."""
        if self._asked_at is not None and now - self._asked_at < LESSON:
            return
        with transaction(self._sessions) as session:
            due = relations.is_due(session, now)
        if due:
            self._asked_at = now
            enqueue_relations(self._queues)

    def _retrain(self, _done: Tick, now: datetime) -> None:
        """Have a model trained where that is wanted and the last training is long enough ago."""
        every = timedelta(days=self._settings.retrain_days)
        if not every:
            return
        with transaction(self._sessions) as session:
            is_due = trainings.is_due(session, now, every)
        if is_due:
            enqueue_training(self._queues)

    def _expire(self, _done: Tick, now: datetime) -> None:
        """Let go of a piece of what was kept long enough."""
        self._expire_at = self._rounds + EXPIRE_TICKS
        if self._retention.step(now):
            self._expire_at = self._rounds

    def _finish(self, done: Tick, now: datetime) -> None:
        """End the runs whose rows are all settled, and the campaigns whose runs have all ended."""
        waiting = (
            select(DeliveryCount.campaign_id)
            .where(
                DeliveryCount.campaign_id == Occurrence.campaign_id,
                DeliveryCount.occurrence == Occurrence.number,
                DeliveryCount.state.in_(tally.OPEN),
            )
            .group_by(DeliveryCount.campaign_id)
            .having(func.sum(DeliveryCount.number) > 0)
            .exists()
        )
        settled = select(Occurrence.campaign_id).where(Occurrence.state == "sending", ~waiting).distinct()
        ended = update(Occurrence).where(Occurrence.state == "sending", ~waiting)
        ended = ended.values(state="finished", finished_at=now)
        sending = select(Campaign.id).where(Campaign.state == "sending").order_by(Campaign.id)
        with transaction(self._sessions) as session:
            for number in session.scalars(settled.order_by(Occurrence.campaign_id)).all():
                with troubles.apart(session, number, now, "its runs cannot be ended"):
                    session.execute(ended.where(Occurrence.campaign_id == number))
        # Apart: others lock a campaign before its runs.
        with transaction(self._sessions) as session:
            for number in session.scalars(sending).all():
                with troubles.apart(session, number, now, "it cannot be ended"):
                    if transitions.finish(session, number, now):
                        done.finished.append(number)

    def _ensure_months(self, _done: Tick, now: datetime) -> None:
        """The partitions of this month and the next, looked at once a month."""
        month = (now.year, now.month)
        if month in self._months:
            return
        following = now.date().replace(day=1) + timedelta(days=32)
        with transaction(self._sessions) as session:
            ensure_months(session.connection(), (now.date(), following))
        self._months.add(month)
