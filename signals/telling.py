"""Signals that we tell ourselves of profiles we know: a consent withdrawn in a mail, a click, a word of support."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from signals import belonging, outbox
from signals.folding import Standing, published
from signals.intake import Intake, absorb, moved, publish, regroup, stored_states
from signals.journal import find
from signals.reading import Item, Outcome, Reading
from signals.signal import Arrival
from signals.sources import Sender


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that we tell of a profile, as a `track` call: what happened, and when.

    `message_id` makes it idempotent: the same fact told twice counts once.
    """

    profile: int
    event: str
    properties: Mapping[str, Any]
    at: datetime
    message_id: str


def tell(
    intake: Intake,
    sender: Sender,
    profile: int,
    event: str,
    properties: Mapping[str, Any],
    *,
    at: datetime,
    now: datetime,
    message_id: str,
    along: Callable[[Session], None] = lambda session: None,
) -> Outcome | None:
    """Store one `track` call about this profile, fold and publish it, as if a server had sent it.

    `message_id` makes it idempotent: the same fact told twice counts once. `along` is done in the same transaction,
    with the first of them. None when there is no such profile or it was erased. Raises InvalidInput naming the
    property, Unavailable when a store is away.
    """
    return tell_all(intake, sender, [Fact(profile, event, properties, at, message_id)], now, along=along)


def tell_all(
    intake: Intake,
    sender: Sender,
    facts: Sequence[Fact],
    now: datetime,
    *,
    along: Callable[[Session], None],
    first: Callable[[Session], None] | None = None,
) -> Outcome | None:
    """Tell several facts of one person as `tell` does one, all or none; those that were told before are left out.

    Their profiles may be several that were merged; None also when they are not one person. `first` is done before them
    in the same transaction, with nobody else changing the person until it ends; what it raises ends that.
    """
    reading = read(intake, sender, facts, now)
    if reading.refusals:
        raise InvalidInput(reading.refusals[0].field, reading.refusals[0].message)
    profile = facts[0].profile
    settled = intake.settle(partial(_told, intake, sender, facts, reading, along, first))
    if settled is None:
        return None
    outcome, standings, notes = settled
    states = published(standings)
    if not states:
        states = intake.settle(lambda session: stored_states(session, [profile]))
    publish(intake, states)
    intake.told(notes)
    regroup(intake, moved(standings) if standings else {profile}, now)
    return outcome


def read(intake: Intake, sender: Sender, facts: Sequence[Fact], now: datetime) -> Reading:
    """These facts in the form in which they are stored, each with its place in `facts` as its index; those that may not
    be told are refused. Raises Unavailable."""
    calls = [
        {
            "type": "track",
            "event": fact.event,
            "messageId": fact.message_id,
            "timestamp": fact.at.isoformat(),
            "properties": dict(fact.properties),
        }
        for fact in facts
    ]
    return intake.reader.read(sender, [msgspec.json.encode(call) for call in calls], Arrival(now, known=True))


def keep(session: Session, intake: Intake, sender: Sender, facts: Sequence[Fact], reading: Reading) -> list[Standing]:
    """Store and fold what was read of these facts (`read`) and is news, in the caller's transaction; the states that it
    made, to be published. Of who was erased, or refuses it, nothing is kept.

    Raises Lost on a lost race.
    """
    roots = belonging.living(session, {fact.profile for fact in facts})
    stored = find(session, sender, [item.signal.message_id for item in reading.items])
    fresh: list[Item] = []
    for item in reading.items:
        profile = facts[item.index].profile
        if profile in roots and item.signal.message_id not in stored:
            item.known = belonging.member(profile, roots[profile])
            fresh.append(item)
    return absorb(session, intake, sender, fresh, reading.now) if fresh else []


def _told(
    intake: Intake,
    sender: Sender,
    facts: Sequence[Fact],
    reading: Reading,
    along: Callable[[Session], None],
    first: Callable[[Session], None] | None,
    session: Session,
) -> tuple[Outcome, list[Standing], list[int]] | None:
    profiles = {fact.profile for fact in facts}
    roots = belonging.living(session, profiles)
    if roots.keys() != profiles or len(set(roots.values())) > 1:
        return None
    root = roots[facts[0].profile]
    if first is not None:
        belonging.lock(session, [root])
        first(session)
    stored = find(session, sender, [item.signal.message_id for item in reading.items])
    fresh: list[Item] = [item for item in reading.items if item.signal.message_id not in stored]
    if not fresh:
        return Outcome("duplicate"), [], []
    for item in fresh:
        item.known = belonging.member(facts[item.index].profile, root)
    standings = absorb(session, intake, sender, fresh, reading.now)
    along(session)
    return Outcome("accepted"), standings, outbox.note(session, [entry.root.id for entry in standings])
