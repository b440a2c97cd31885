"""Erasure, whole: what the signals know of a person, and the keys without which records of their opens say nothing.

What was counted stays: decisions, fetches and clicks keep their rows under a random name, and what the person's orders
came to stays as sums (`campaigns/remainder.py`), so no total changes. An erasure that is interrupted, by a store that
is away or by `kill -9`, is finished by a recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from base.blobs import Blobs
from base.db import transaction
from base.errors import NotFound, Unavailable
from campaigns import admin_log, customers, remainder
from campaigns.admin_log import SYSTEM, Actor
from campaigns.models import Delivery
from campaigns.opens import Click, Decision, Subject
from signals import erasure
from signals.events import Event
from signals.intake import Intake
from signals.publishing import HOT_STORE

UNDER_WAY: Final = timedelta(minutes=1)
"""For so long an erasure may still be with whoever began it."""


@dataclass(frozen=True)
class Extent:
    """What an erasure of somebody reaches: signals that are deleted, orders among them; mails, opens (contacts among
    them) and clicks that stay as numbers and lose the person."""

    signals: int
    orders: int
    mails: int
    opens: int
    clicks: int


def extent(session: Session, members: Sequence[int]) -> Extent:
    """What an erasure of these profiles, which are one person, would reach."""

    def rows(table: type[Event | Delivery | Decision | Click]) -> int:
        return session.scalar(select(func.count()).where(table.profile_id.in_(members))) or 0

    orders = select(func.count(Event.order_id.distinct())).where(Event.profile_id.in_(members))
    return Extent(rows(Event), session.scalar(orders) or 0, rows(Delivery), rows(Decision), rows(Click))


def erase_person(
    intake: Intake,
    blobs: Blobs,
    profile: int,
    now: datetime,
    by: Actor,
    check: Callable[[Session, int], None] = lambda session, root: None,
) -> None:
    """Erase the person this profile belongs to, with every profile merged into them. Not to be undone.

    `check` is called with the person's root under its lock, before anything goes, and keeps them by what it raises; it
    is not asked of who is erased already. Doing it again does no harm, and finishes what was interrupted; the log has
    one line of it, of who began. Raises NotFound and Unavailable.
    """

    def keep(session: Session, root: int) -> None:
        check(session, root)
        admin_log.record(session, by, "erase", "customer", root, now)
        remainder.keep_sums(session, blobs, root, now)

    if not erasure.erase(intake, profile, now, keep):
        raise NotFound("customer", profile)

    # Only now: who is marked as erased gets no new key (`subjects.subject_keys`). Deleting the old one waits for
    # whoever is keeping something under it, so that what they kept is unnamed as well.
    def drop_keys(session: Session) -> None:
        root = customers.root_of(session, profile).id
        members = customers.members(session, root)
        session.execute(delete(Subject).where(Subject.profile_id.in_(members)))
        remainder.unname(session, members)
        erasure.finish(session, members)

    intake.settle(drop_keys)


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
