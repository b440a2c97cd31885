"""Freezing runs whose time has come: who gets the mail is fixed, or the run is put off, left out, or put to a person.

A due run is one row: whoever locks it moves it, and makes the one after it, in the same transaction; others pass it by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from base import keys, logs
from base.blobs import FolderBlobs
from base.db import Sessions, transaction
from base.errors import NotFound
from base.ids import TEST_BIT
from base.stores import Store
from campaigns import approvals, atopens, audience, joining, plans, publish, runs, transitions, troubles
from campaigns.models.campaign import Campaign, Occurrence

_log = logs.logger(__name__)


class Freezing:
    """The part of a schedule loop that begins runs."""

    def __init__(self, sessions: Sessions, store: Store, blobs: FolderBlobs, hash_key: bytes) -> None:
        self._sessions = sessions
        self._store = store
        self._blobs = blobs
        self._hash_key = hash_key

    def due(self, now: datetime, unready: Collection[int] = ()) -> Iterator[tuple[int, int]]:
        """Move all runs whose time has come; the campaign and number of those that were frozen, each when it is.

        Campaigns whose opens ask for one of the segments `unready` wait until states say who is in them.
        """
        while (run := self._next(now, unready)) is not None:
            if run.frozen_at is not None:
                yield run.campaign_id, run.number

    def _next(self, now: datetime, unready: Collection[int]) -> Occurrence | None:
        """Freeze the audience of the run that goes first, then of the one due longest; the run as it is then."""
        with transaction(self._sessions) as session:
            waiting = atopens.asking(session, unready) if unready else []
            run = session.scalars(
                select(Occurrence)
                .join(Campaign, Campaign.id == Occurrence.campaign_id)
                .where(
                    Occurrence.state == "due",
                    Occurrence.due_at <= now,
                    Occurrence.number < TEST_BIT,
                    Campaign.state.in_(("scheduled", "sending")),
                    Campaign.id.not_in(waiting),
                )
                .order_by(Campaign.priority.desc(), Occurrence.due_at, Occurrence.campaign_id, Occurrence.number)
                .limit(1)
                .with_for_update(of=Occurrence, skip_locked=True)
            ).first()
            if run is None:
                return None
            # It was sound when it was scheduled; something it names may be gone since, or a value it meets not fit.
            with troubles.apart(session, run.campaign_id, now, "its audience cannot be fixed"):
                self._freeze(session, run, now)
            return run

    def _freeze(self, session: Session, run: Occurrence, now: datetime) -> None:
        """Fix who gets the mail of a run; one that waits for people who are not there yet is only put off."""
        campaign = session.get_one(Campaign, run.campaign_id)
        if runs.is_spent(session, campaign, run):
            _log.error("a second run of what goes out once, left out", campaign=campaign.id, run=run.number)
            run.state, run.finished_at = "cancelled", now
            return
        if runs.is_late(campaign, run, now):
            self._settle_late(session, campaign, run, now)
            return
        if runs.waits(campaign) and self._waits(session, campaign, run, now):
            return
        # Opens follow the first mail within seconds: what they read must be there before.
        publish.refresh(session, self._store, self._blobs)
        if not self._store.exists(keys.plan(str(campaign.plan_hash))):
            raise NotFound("plan", campaign.plan_hash)
        approvals.check_send(session, campaign, published=plans.brand(self._blobs, campaign.plan_hash))
        atopens.check(session, campaign)
        counted = audience.freeze(session, campaign.id, run.number, now, self._hash_key)
        run.state, run.frozen_at, run.plan_hash = "sending", now, campaign.plan_hash
        run.counts = {"total": counted.total, "sendable": counted.sendable, "content_held": counted.content_held}
        run.counts |= counted.excluded
        transitions.begin(session, campaign.id, now)
        runs.follow(session, campaign, run, now)

    def _settle_late(self, session: Session, campaign: Campaign, run: Occurrence, now: datetime) -> None:
        """What the campaign says of a run that could not begin in time: a person is asked, or it is left out."""
        if runs.asks(campaign):
            run.missed = runs.ASKED
            transitions.pause(session, campaign.id, now, troubles.SCHEDULE, trouble=runs.late_words(run, now))
            return
        transitions.begin(session, campaign.id, now)
        runs.leave_out(session, campaign, run, now)

    def _waits(self, session: Session, campaign: Campaign, run: Occurrence, now: datetime) -> bool:
        """Whether nobody is there yet for whom the campaign waits: the run is put off, or ended with the campaign.

        At its end it is looked once more, however late that is; a campaign that had not begun by then mails nobody.
        """
        is_new = transitions.begin(session, campaign.id, now)
        is_over = campaign.ends_at is not None and now >= campaign.ends_at
        if is_over and is_new:
            run.state, run.finished_at = "finished", now
            return True
        if runs.passes_over(campaign, run):
            joining.enter_everybody(session, campaign, run.number, now)
            run.state, run.frozen_at, run.finished_at = "finished", now, now
            runs.follow(session, campaign, run, now)
            return True
        if audience.is_anybody_due(session, campaign, now, self._hash_key):
            return False
        if is_over:
            run.state, run.finished_at = "finished", now
        else:
            run.due_at = runs.look_again(campaign, now)
        return True
