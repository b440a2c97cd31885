"""What the home page says: what is live, what goes out next, and what needs a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from redis import RedisError
from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from base.queues import QueueName, queue
from base.recordstreams import RecordStreams
from base.stores import Store
from campaigns import atopens, instance
from campaigns.deliveries import is_our_fault
from campaigns.leftaside import LeftAside
from campaigns.models import Campaign, Creative, Delivery, Offer
from campaigns.opens import Decision
from render.starting import STARTING
from signals.engagement import is_no_own_mail
from signals.events import Event, RejectedEvent
from signals.profiles import Profile

FIRST_STEPS = ("people", "offers", "designs", "campaign")
"""What a new installation lacks before its first campaign, in the order in which it is done."""
MAX_LISTED = 12
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Overview:
    """Counts of the last hour and day, and short lists; tests are counted nowhere.

    `live` are being sent, or paused in it; mails of those that are `finished` still open. `unsettled`: campaign, its
    name, mails of unknown outcome. `troubled` are campaigns whose mails do not leave, `aside` segments of which nobody
    is told who is in them. `unsent_day` are those of `failed_day` that failed here, before a server was asked to take
    them. `steps` are those of FIRST_STEPS that are to be done; none once a campaign was published.
    """

    blocked: str | None
    live: list[Campaign]
    finished: list[Campaign]
    next: list[Campaign]
    drafts: list[Campaign]
    troubled: list[Campaign]
    aside: list[LeftAside]
    mails_day: int
    failed_day: int
    unsent_day: int
    opens_hour: int
    fallback_hour: int
    signals_hour: int
    rejected_day: int
    unsettled: list[tuple[int, str, int]]
    steps: list[str]

    @property
    def fallback_share(self) -> float | None:
        """Share of the hour's decisions that fell back to the default; None without decisions."""
        return self.fallback_hour / self.opens_hour if self.opens_hour else None


def overview(session: Session, now: datetime) -> Overview:
    """The state of things at `now`. Every count is bounded by an index on time or state."""

    def listed(*states: str) -> list[Campaign]:
        query = select(Campaign).where(Campaign.state.in_(states)).order_by(Campaign.updated_at.desc())
        return list(session.scalars(query.limit(MAX_LISTED)))

    by_default = func.count().filter(Decision.rung == "default")
    lanes = select(func.count(), by_default).where(Decision.at >= now - HOUR, Decision.lane == "live")
    opens, fallback = session.execute(lanes).one()
    settled = select(Delivery.state, Delivery.reason, func.count())
    settled = settled.where(Delivery.state.in_(("accepted", "failed")))
    settled = settled.where(Delivery.settled_at >= now - DAY, Delivery.occurrence < TEST_BIT)
    rows = session.execute(settled.group_by(Delivery.state, Delivery.reason)).all()
    stuck = select(Campaign).where(Campaign.trouble.is_not(None), Campaign.state.in_(("sending", "paused")))
    return Overview(
        blocked=instance.told_lately(session, now),
        live=listed("sending", "paused"),
        finished=listed("finished"),
        next=listed("scheduled"),
        drafts=listed("draft"),
        troubled=list(session.scalars(stuck.order_by(Campaign.id).limit(MAX_LISTED))),
        aside=atopens.left_aside(session)[:MAX_LISTED],
        mails_day=sum(number for state, _, number in rows if state == "accepted"),
        failed_day=sum(number for state, _, number in rows if state == "failed"),
        unsent_day=sum(number for state, reason, number in rows if state == "failed" and is_our_fault(reason)),
        opens_hour=opens,
        fallback_hour=fallback,
        signals_hour=session.scalar(
            select(func.count()).select_from(Event).where(Event.received_at >= now - HOUR, is_no_own_mail())
        )
        or 0,
        rejected_day=session.scalar(
            select(func.count()).select_from(RejectedEvent).where(RejectedEvent.at >= now - DAY)
        )
        or 0,
        unsettled=_unsettled(session),
        steps=_first_steps(session),
    )


def _first_steps(session: Session) -> list[str]:
    if session.scalar(select(exists().where(Campaign.state != "draft"))):
        return []
    shipped = {one.name for one in STARTING}
    designed = or_(Creative.name.not_in(shipped), Creative.updated_at > Creative.created_at)
    done = {
        "people": exists().where(Profile.made_up.is_(False)),
        "offers": exists().where(Offer.kind != "neutral"),
        "designs": exists().where(designed),
        "campaign": exists().where(Campaign.id.is_not(None)),
    }
    return [step for step in FIRST_STEPS if not session.scalar(select(done[step]))]


def _unsettled(session: Session) -> list[tuple[int, str, int]]:
    rows = session.execute(
        select(Campaign.id, Campaign.name, func.count())
        .join(Delivery, Delivery.campaign_id == Campaign.id)
        .where(Delivery.state == "unknown", Delivery.occurrence < TEST_BIT)
        .group_by(Campaign.id)
        .order_by(Campaign.id)
        .limit(MAX_LISTED)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def waiting(store: Store | None, queues: Store | None) -> list[tuple[str, int | None]]:
    """What waits where, in words; None where a store is away, as one of None is known to be. One is asked once."""
    rows: list[tuple[str, int | None]] = []
    try:
        records = None if store is None else RecordStreams(store).length()
    except RedisError:
        records = None
    rows.append(("Records of opens, on their way to the database", records))
    for name in QueueName:
        try:
            jobs = None if queues is None else queue(name, queues).count
        except RedisError:
            jobs, queues = None, None
        rows.append((f"Jobs in the queue “{name.value}”", jobs))
    return rows
