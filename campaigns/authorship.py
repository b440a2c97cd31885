"""Who wrote a version of a campaign: whoever changed anything that it contains, and whoever asked for it.

They cannot approve it. What is counted is all that was written since the last approval: of the campaign, its message
and scenarios, the offers it may show, the creatives that draw them and the segments of its rules. Of what the version
that was approved last did not have, all that was ever written counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from campaigns import approvals, compiling, segments
from campaigns.admin_log import Actor
from campaigns.models.accounts import AdminEntry, ApiKey
from campaigns.models.approval import Approval
from campaigns.models.campaign import Campaign
from campaigns.models.scenario import Scenario
from render.plan import LAYERS

WRITING: Final = ("create", "change", "delete")


def authors(session: Session, row: Campaign, by: Approval) -> set[str]:
    """Everybody who wrote the version, and who asked for it: people by number, keys by name; see `persons`."""
    last = approvals.approved(session, row.id)
    query = select(AdminEntry.actor, AdminEntry.user_id).where(or_(*_written(session, row, last))).distinct()
    named = persons(session, Actor(by.asked_by, by.asked_id))
    for actor, user_id in session.execute(query):
        named |= persons(session, Actor(actor, user_id))
    return named


def persons(session: Session, who: Actor) -> set[str]:
    """Everybody whom an actor stands for: a person, or a key together with the person who made it."""
    named = set() if who.user_id is None else {f"user {who.user_id}"}
    prefix, _, key_id = who.name.rpartition(" ")
    if prefix == "api key":
        named.add(who.name)
        key = session.get(ApiKey, key_id)
        if key is not None and key.created_by is not None:
            named.add(f"user {key.created_by}")
    return named


def _written(session: Session, row: Campaign, last: Approval | None) -> Iterator[ColumnElement[bool]]:
    """The entries of the admin log that tell of a writing, one condition for each kind of thing."""
    since = last.settled_at if last is not None else None
    before: dict[str, Any] = last.content["campaign"] if last is not None else {}
    yield _of("campaign", [row.id], since)
    yield _of("message", [row.message_id], since if before.get("message_id") == row.message_id else None)
    yield _of("scenario", session.scalars(select(Scenario.id).where(Scenario.campaign_id == row.id)), since)
    # One that was taken away is asked no more, which is a change of what was approved too.
    yield and_(_of("scenario", None, since), AdminEntry.before["campaign_id"].as_integer() == row.id)

    shown = compiling.offers_of(session, row)
    known = {number for place in before.get("slots", ()) for number in (*place["offers"], place["default"])}
    kept = [offer for offer in shown if offer.id in known and not _is_any(session, _of("offer", [offer.id], since))]
    yield _of("offer", known.intersection(offer.id for offer in shown), since)
    yield _of("offer", [offer.id for offer in shown if offer.id not in known], None)
    # Which creative a changed offer had is not known: all that was written of the one it has now counts.
    drew = {offer.creative_id for offer in kept} | compiling.swapped(before.get("arms", ()))
    draw = {offer.creative_id for offer in shown} | compiling.swapped(row.arms)
    yield _of("creative", draw & drew, since)
    yield _of("creative", draw - drew, None)

    by_offers = (getattr(one, name) for one in shown for name in LAYERS)
    asked = segments.within(session, [row.audience, row.suppress, *by_offers])
    named = segments.within(session, [before.get("audience"), before.get("suppress")])
    if last is not None:
        named |= {int(number) for number in last.content["segments"]}
    yield _of("segment", asked & named, since)
    yield _of("segment", asked - named, None)


def _of(kind: str, numbers: Iterable[object] | None, since: datetime | None) -> ColumnElement[bool]:
    """Entries of things of a kind (None: of all of it) that were written after a moment (None: ever)."""
    wanted = [AdminEntry.object_type == kind, AdminEntry.action.in_(WRITING)]
    if numbers is not None:
        wanted.append(AdminEntry.object_id.in_([str(number) for number in numbers]))
    if since is not None:
        wanted.append(AdminEntry.at > since)
    return and_(*wanted)


def _is_any(session: Session, wanted: ColumnElement[bool]) -> bool:
    return bool(session.scalar(select(exists().where(wanted))))
