"""Counting ahead: the results of large campaigns (`campaigns/reckoning.py`) and, once a day, who is in each segment."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from base import logs
from base.blobs import FolderBlobs
from base.clock import Clock
from base.db import Sessions, transaction
from base.errors import InvalidInput, NotFound
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

        One that fails is logged and comes round again.

        Raises Unavailable while the database is away.
        """
        with transaction(self._sessions) as session:
            due = reckoning.due(session, self._clock.now())
        counted = 0
        for campaign in due:
            try:
                with transaction(self._sessions) as session:
                    count(session, self._blobs, campaign, self._clock.now())
            except SQLAlchemyError as error:
                _log.error("results were not counted", campaign=campaign, error=type(error).__name__)
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
            except InvalidInput as error:
                _log.warning("a segment cannot be counted, its rule does not hold", segment=segment, error=str(error))
                with transaction(self._sessions) as session:
                    segments.cannot_be_counted(session, segment, self._clock.now())
            except NotFound:
                continue  # It was deleted meanwhile.
            except SQLAlchemyError as error:
                _log.error("a segment was not counted", segment=segment, error=type(error).__name__)


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
