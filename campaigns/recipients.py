"""Whom a test mail is sent as, where it is nobody real: the person whom a scenario of the campaign makes up."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import Conflict
from campaigns import plans, scenarios
from campaigns.campaigns import campaign
from signals.intake import Intake
from signals.madeup import make_up


def of_scenario(
    session: Session, intake: Intake, blobs: FolderBlobs, campaign_id: int, number: int, now: datetime
) -> int:
    """The profile of a new person as the scenario has them. Raises NotFound, Conflict, InvalidInput, Unavailable.

    They are made in a transaction of their own: a mail that then is not sent leaves somebody of whom nobody hears.
    """
    row = campaign(session, campaign_id)
    if row.plan_hash is None:
        raise Conflict("The campaign has not been published.")
    wanted = scenarios.content(scenarios.scenario(session, campaign_id, number))
    state = scenarios.recipient(plans.load(blobs, row.plan_hash), wanted, now)
    return make_up(intake, state, now)
