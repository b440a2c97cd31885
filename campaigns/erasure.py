"""Erasure, whole: what the signals know of a person, and the keys without which records of their opens say nothing.

What was counted stays: decisions, fetches and clicks keep their rows under a random name, and what the person's orders
came to stays as sums (`campaigns/remainder.py`), so no total changes. An erasure that is interrupted, by a store that
is away or by `kill -9`, is finished by a recorder.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from base.blobs import Blobs
from base.db import transaction
from base.errors import NotFound, Unavailable
from campaigns import admin_log, customers, remainder
from campaigns.admin_log import SYSTEM, Actor
from campaigns.opens import Subject
from signals import erasure
from signals.intake import Intake
from signals.publishing import HOT_STORE

UNDER_WAY: Final = timedelta(minutes=1)
"""For so long an erasure may still be with whoever began it."""


def erase_person(intake: Intake, blobs: Blobs, profile: int, now: datetime, by: Actor) -> None:
    """Erase the person this profile belongs to, with every profile merged into them. Not to be undone.

    Doing it again does no harm, and finishes what was interrupted. Raises NotFound and Unavailable.
    """
    if not erasure.erase(intake, profile, now, keep=partial(_keep, blobs, now)):
        raise NotFound("customer", profile)

    # Only now: who is marked as erased gets no new key (`subjects.subject_keys`). Deleting the old one waits for
    # whoever is keeping something under it, so that what they kept is unnamed as well.
    def drop_keys(session: Session) -> None:
        root = customers.root_of(session, profile).id
        members = customers.members(session, root)
        session.execute(delete(Subject).where(Subject.profile_id.in_(members)))
        remainder.unname(session, members)
        admin_log.record(session, by, "erase", "customer", root, now)
        erasure.finish(session, members)

    intake.settle(drop_keys)


def _keep(blobs: Blobs, now: datetime, session: Session, root: int) -> None:
    remainder.keep_sums(session, blobs, root, now)


def finish_erasures(intake: Intake, blobs: Blobs, now: datetime) -> int:
    """Finish erasures that were begun more than a minute ago and are not done; how many.

    Where a cluster's node is away, those of others are finished all the same. Raises Unavailable, then at the end.
    """
    with transaction(intake.sessions) as session:
        begun = erasure.unfinished(session, now - UNDER_WAY)
    failed: Unavailable | None = None
    for profile in begun:
        try:
            erase_person(intake, blobs, profile, now, SYSTEM)
        except Unavailable as error:
            if error.part != HOT_STORE or not intake.publisher.is_clustered:
                raise
            failed = error
    if failed is not None:
        raise failed
    return len(begun)
