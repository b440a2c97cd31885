"""Counting ahead: the results of large campaigns (`campaigns/reckoning.py`) and, once a day, who is in each segment."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from base import logs
from base.blobs import FolderBlobs
from base.clock import Clock
from base.db import Sessions, is_away, transaction
from base.errors import NotFound, reason
from campaigns import arms, disagreement, exits, fairness, goals, profit, reckoning, segments
from campaigns.guardreport import guard_report
from campaigns.models import Campaign
from campaigns.reckoning import Reckoning

_log: Final = logs.logger(__name__)


class Reckoner:
    """Counts what is due. `sessions` should have no limit on the time of a statement."""

    def __init__(self, sessions: Sessions, blobs: FolderBlobs, clock: Clock) -> None:
        self._sessions = sessions
        self._blobs = blobs
        self._clock = clock

    def run(self) -> int:
        """Count the results of the campaigns that are due, and the segments; how many campaigns.

        One that fails, whatever its error is, is logged, and the others go on: a campaign comes round again, a segment
        the next day or when it is saved anew. Raises Unavailable while the database is away.
        """
        with transaction(self._sessions) as session:
            due = reckoning.due(session, self._clock.now())
        counted = 0
        for campaign in due:
            try:
                with transaction(self._sessions) as session:
                    count(session, self._blobs, campaign, self._clock.now())
            except Exception as error:
                if is_away(error):
                    raise
                _log.error("results were not counted", campaign=campaign, error=reason(error))
            else:
                counted += 1
        self._count_segments()
        return counted

    def _count_segments(self) -> None:
        with transaction(self._sessions) as session:
            due = segments.due(session, self._clock.now())
        for segment in due:
            try:
                with transaction(self._sessions) as session:
                    segments.count(session, segment, self._clock.now())
            except NotFound:
                continue  # It was deleted meanwhile.
            except Exception as error:
                if is_away(error):
                    raise
                _log.error("a segment cannot be counted", segment=segment, error=reason(error))
                with transaction(self._sessions) as session:
                    segments.cannot_be_counted(session, segment, self._clock.now())


def count(session: Session, blobs: FolderBlobs, campaign: int, now: datetime) -> None:
    """Count all results of a campaign anew and keep them; what is no result of it any more goes. The caller commits."""
    row = session.get_one(Campaign, campaign)
    goals.outcomes(session, campaign, now, anew=True)
    arms.checks(session, row, now)
    disagreement.counted(session, campaign, now)
    profit.profit(session, campaign, now, anew=True)
    exits.exits(session, blobs, row, now, anew=True)
    fairness.groups(session, campaign, fairness.TRAITS, fairness.LIMIT, now)
    if row.guard != "off":
        guard_report(session, campaign, now)
    session.execute(delete(Reckoning).where(Reckoning.campaign_id == campaign, Reckoning.at < now))
