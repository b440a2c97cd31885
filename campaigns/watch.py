"""What an operator watches: how opens are answered, and how far behind the parts are that nobody waits for.

Opens and signals are looked at over the last five minutes by the installation's clock, so the numbers are those of the
stored rows. What waits is aged by the clock of the server on which it waits. What cannot be asked is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec
from redis import RedisError
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from base import stores
from base.blobs import FolderBlobs
from base.queues import QueueName, queue
from base.recordstreams import RecordStreams
from base.stores import Store
from campaigns import arms, feedtrust
from campaigns.drift import Drift
from campaigns.models import Campaign, ModelDrift
from campaigns.opens import Decision
from signals import feedhealth
from signals.sources import INTERNAL

WINDOW: Final = timedelta(minutes=5)
DRIFT_HOLDS: Final = timedelta(days=3)
"""Drift is measured daily: what is older than this says nothing of today."""
SAMPLE: Final = 20_000
"""Rows of the window looked at, at most: a scrape costs the same however many mails are opened."""
FALLBACKS: Final = ("last", "default", "static")
QUANTILES: Final = (0.5, 0.95, 0.99)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Measures:
    """Shares are 0 to 1, None where nothing happened; ages and lags are seconds."""

    store_up: bool
    record_lag: float | None
    set_aside: int | None
    job_lag: float | None
    signal_age: float | None
    fetches: int = 0
    fallback_share: float | None = None
    open_seconds: dict[float, float] = field(default_factory=dict)
    decisions: dict[str, int] = field(default_factory=dict)
    modelless_share: float | None = None
    cap_refusal_share: float | None = None
    model_drift: float | None = None
    model_gap: float | None = None
    broken_groups: int | None = None
    stale_feeds: int | None = None


def measures(session: Session, blobs: FolderBlobs, store: Store, queues: Store, now: datetime) -> Measures:
    """Everything at `now`. Raises what the database raises."""
    since = now - WINDOW
    fetches, fallbacks, seconds = _fetches(session, since)
    # One that does not answer is asked once: whoever looks at the page waits for it.
    store_up = _asked(lambda: stores.answers(store)) or False
    queues_up = store_up or queues is not store
    drifts = _drifts(session, now)
    return Measures(
        store_up=store_up,
        record_lag=_asked(lambda: _record_lag(store)) if store_up else None,
        set_aside=_asked(RecordStreams(store).set_aside) if store_up else None,
        job_lag=_asked(lambda: max(_job_lag(name, queues) for name in QueueName)) if queues_up else None,
        signal_age=_signal_age(session, now),
        fetches=fetches,
        fallback_share=fallbacks / fetches if fetches else None,
        open_seconds=seconds,
        decisions=_decisions(session, since),
        modelless_share=_modelless(session, since),
        cap_refusal_share=_cap_refusals(session, since),
        model_drift=max((one.largest for one in drifts), default=None),
        model_gap=max((one.gap for one in drifts), default=None),
        broken_groups=arms.broken(session, now),
        stale_feeds=_stale_feeds(session, blobs, now),
    )


def _asked(question: Callable[[], Value]) -> Value | None:
    """What a store answers; None while it is away."""
    try:
        return question()
    except RedisError:
        return None


def _record_lag(store: Store) -> float:
    """How long the oldest record has waited on the stream."""
    oldest = RecordStreams(store).oldest_ms()
    return max(0.0, _clock(store) - oldest / 1000) if oldest is not None else 0.0


def _job_lag(name: QueueName, queues: Store) -> float:
    """How long the oldest job of a queue has waited."""
    waiting = queue(name, queues).get_jobs(0, 1)
    if not waiting or waiting[0].enqueued_at is None:
        return 0.0
    return max(0.0, _clock(queues) - waiting[0].enqueued_at.timestamp())


def _clock(store: Store) -> float:
    seconds, micros = store.time()
    return seconds + micros / 1e6


_NEWEST_SIGNAL: Final = text("""
    SELECT max(n.received_at) FROM source s CROSS JOIN LATERAL (
        SELECT e.received_at FROM event e WHERE e.source_id = s.id ORDER BY e.id DESC LIMIT 1
    ) n WHERE s.name <> :ours
""")


def _signal_age(session: Session, now: datetime) -> float | None:
    """Seconds since the newest signal of a source was received, what we tell ourselves not counted; None before the
    first."""
    newest = session.scalar(_NEWEST_SIGNAL, {"ours": INTERNAL})
    return None if newest is None else max(0.0, (now - newest).total_seconds())


def _stale_feeds(session: Session, blobs: FolderBlobs, now: datetime) -> int | None:
    """Product feeds that are older than a campaign trusts them for; None where no campaign needs any."""
    needed = feedtrust.needed(feedtrust.trusts(session, blobs, now))
    return feedhealth.quiet(session, needed, now) if any(needed.values()) else None


def _fetches(session: Session, since: datetime) -> tuple[int, int, dict[float, float]]:
    """Pictures served to people and proxies, those from a fallback's rung, and the time that opens took."""
    row = session.execute(
        text(
            "SELECT count(*) AS n, count(*) FILTER (WHERE rung = ANY(:fallbacks)) AS fallbacks,"
            " percentile_cont(CAST(:quantiles AS float8[])) WITHIN GROUP (ORDER BY ms) AS ms"
            " FROM (SELECT rung, ms FROM \"fetch\" WHERE at >= :since AND lane = 'live'"
            " AND kind IN ('picture', 'dark') LIMIT :sample) AS newest"
        ),
        {"fallbacks": list(FALLBACKS), "quantiles": list(QUANTILES), "since": since, "sample": SAMPLE},
    ).one()
    took = [] if row.ms is None else [None if ms is None else ms / 1000 for ms in row.ms]
    seconds = {share: ms for share, ms in zip(QUANTILES, took, strict=False) if ms is not None}
    return row.n, row.fallbacks, seconds


def _decisions(session: Session, since: datetime) -> dict[str, int]:
    """New opens by the rung of their decision."""
    recent = select(Decision.rung).where(Decision.at >= since, Decision.lane == "live").limit(SAMPLE).subquery()
    rows = session.execute(select(recent.c.rung, func.count()).group_by(recent.c.rung)).all()
    return {str(rung): int(n) for rung, n in rows}


def _modelless(session: Session, since: datetime) -> float | None:
    """Of the new opens of campaigns that name a live model: the share that the rules decided."""
    named = Campaign.plan_hash.is_not(None), Campaign.model_hash.is_not(None)
    wanting = [
        row.id
        for row in session.execute(select(Campaign.id, Campaign.slots).where(*named))
        if any(slot["mode"] == "model" for slot in row.slots)
    ]
    rungs = (
        select(Decision.rung)
        .where(Decision.at >= since, Decision.lane == "live", Decision.campaign_id.in_(wanting))
        .where(Decision.rung.in_(("model", "rules")))
        .limit(SAMPLE)
        .subquery()
    )
    by_rules = func.count().filter(rungs.c.rung == "rules")
    all_of_them, without = session.execute(select(func.count(), by_rules).select_from(rungs)).one()
    return without / all_of_them if all_of_them else None


def _drifts(session: Session, now: datetime) -> list[Drift]:
    """What was found of each live model within the last days."""
    live = select(Campaign.model_hash).where(Campaign.model_hash.is_not(None))
    newest = select(func.max(ModelDrift.id)).where(ModelDrift.model_hash.in_(live)).group_by(ModelDrift.model_hash)
    found = select(ModelDrift.document).where(ModelDrift.id.in_(newest), ModelDrift.at > now - DRIFT_HOLDS)
    return [msgspec.convert(document, Drift) for document in session.scalars(found)]


def _cap_refusals(session: Session, since: datetime) -> float | None:
    """The share of new opens for which a total cap refused what had been chosen."""
    row = session.execute(
        text(
            "SELECT count(*) AS n, count(*) FILTER (WHERE public NOT LIKE :nobody) AS refused"
            " FROM (SELECT public FROM decision WHERE at >= :since AND lane = 'live' LIMIT :sample) AS newest"
        ),
        # The canonical form of every record has the list of caps that refused.
        {"nobody": b'%"refused":[]%', "since": since, "sample": SAMPLE},
    ).one()
    return row.refused / row.n if row.n else None
