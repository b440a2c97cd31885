"""Erasure, whole: what the signals know of a person, and the keys without which records of their opens say nothing.

What was counted stays: decisions, fetches and clicks keep their rows under a random name, so no total changes.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from base.errors import NotFound
from campaigns import admin_log, customers
from campaigns.admin_log import Actor
from campaigns.models.delivery import SentFacts
from campaigns.opens import Click, Decision, Fetch, Outcome, Subject
from signals import erasure
from signals.intake import Intake


def erase_person(intake: Intake, profile: int, now: datetime, by: Actor) -> None:
    """Erase the person this profile belongs to, with every profile merged into them. Not to be undone.

    Doing it again does no harm, and finishes what was interrupted. Raises NotFound and Unavailable.
    """
    if not erasure.erase(intake, profile, now):
        raise NotFound("customer", profile)

    # Only now: who is marked as erased gets no new key (`subjects.subject_keys`).
    def drop_keys(session: Session) -> None:
        root = customers.root_of(session, profile).id
        members = customers.members(session, root)
        session.execute(delete(Subject).where(Subject.profile_id.in_(members)))
        session.execute(delete(SentFacts).where(SentFacts.profile_id.in_(members)))
        for table in (Decision, Fetch, Click, Outcome):
            # The rows stay under their random subject, so every total stays; they lead to nobody any more.
            session.execute(update(table).where(table.profile_id.in_(members)).values(profile_id=None))
        admin_log.record(session, by, "erase", "customer", root, now)

    intake.settle(drop_keys)
