"""What keeps the mails of a running campaign from leaving, in the relay's words, and for how long that is waited out.

A gateway stands for the relay where a campaign goes by one.

A relay that takes none of our mails says nothing of the people: nobody fails. The campaign's mails are tried again and
again for PATIENCE; then the campaign is paused, and a person who has mended the cause resumes it. One of which the
schedule loop cannot do what is due is paused at once, and the loop goes on with the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final

from redis import RedisError
from sqlalchemy import case, func, update
from sqlalchemy.orm import Session

from base import logs
from base.db import is_away
from base.errors import Conflict, reason
from campaigns import transitions
from campaigns.admin_log import Actor
from campaigns.channels import EMAIL
from campaigns.models.campaign import Campaign

PATIENCE: Final = timedelta(hours=1)
SENDER: Final = Actor("sender")
SCHEDULE: Final = Actor("schedule")
_log = logs.logger(__name__)


@contextmanager
def apart(session: Session, campaign_id: int, now: datetime, words: str) -> Iterator[None]:
    """Do something for one campaign of several. Where it fails, whatever the error is, nothing of it is done and the
    campaign is paused, with these words for what cannot be done; then it goes on.

    Raises what says that a server is away. The caller commits.
    """
    try:
        with session.begin_nested():
            yield
    except RedisError:
        raise
    except Exception as error:
        if is_away(error):
            raise
        why = reason(error)
        _log.error("a campaign fails and is paused", campaign=campaign_id, what=words, error=why)
        with suppress(Conflict):  # It is paused already, or over.
            transitions.pause(session, campaign_id, now, SCHEDULE, trouble=f"{words}: {why}")


def note(session: Session, campaign_id: int, words: str, now: datetime) -> None:
    """Keep what the relay said of a campaign that is sending, and pause it when that lasts. The caller commits."""
    trouble = case(
        (Campaign.channel == EMAIL, f"The mail server takes no mails of ours: {words}"),
        else_=f"The gateway takes no messages of ours: {words}",
    )
    since = session.scalar(
        update(Campaign)
        .where(Campaign.id == campaign_id, Campaign.state == "sending")
        .values(trouble=trouble, trouble_since=func.coalesce(Campaign.trouble_since, now))
        .returning(Campaign.trouble_since)
    )
    if since is not None and now - since >= PATIENCE:
        transitions.pause(session, campaign_id, now, SENDER)


def over(session: Session, campaign_ids: Collection[int]) -> None:
    """The relay takes the mails of these campaigns. The caller commits."""
    if campaign_ids:
        session.execute(
            update(Campaign)
            .where(Campaign.id.in_(campaign_ids), Campaign.state == "sending", Campaign.trouble_since.is_not(None))
            .values(trouble=None, trouble_since=None)
        )
