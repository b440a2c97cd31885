"""Segments: rules over profiles that have a name. They are live: whoever asks gets who fits now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, NotFound
from campaigns import admin_log, rulebook
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign, Segment
from campaigns.models.exports import AudienceExport
from campaigns.population import matching

MAX_NAME = 120


def create_segment(session: Session, name: str, rule: Mapping[str, Any], now: datetime, by: Actor) -> Segment:
    """Keep a new segment. Raises InvalidInput naming the path in the rule, Conflict when the name is taken."""
    _check(session, name, rule, None)
    row = Segment(name=name.strip(), rule=dict(rule), created_at=now, updated_at=now)
    session.add(row)
    session.flush()
    rulebook.expanded(session, {"segment": row.id}, "rule")
    admin_log.record(session, by, "create", "segment", row.id, now, after=admin_log.snapshot(row))
    return row


def update_segment(
    session: Session, segment_id: int, name: str, rule: Mapping[str, Any], now: datetime, by: Actor
) -> Segment:
    """Replace a segment's rule. Audiences that name it follow at once.

    Raises InvalidInput also where a segment or a campaign under way that contains it would not read any more.
    """
    row = segment(session, segment_id)
    before = admin_log.snapshot(row)
    _check(session, name, rule, segment_id)
    row.name, row.rule, row.updated_at = name.strip(), dict(rule), now
    session.flush()
    # A segment that names itself, over whatever detour, shows only now that it is stored.
    rulebook.expanded(session, {"segment": segment_id}, "rule")
    _check_around(session, segment_id)
    admin_log.record(session, by, "change", "segment", row.id, now, before=before, after=admin_log.snapshot(row))
    return row


def delete_segment(session: Session, segment_id: int, now: datetime, by: Actor) -> None:
    """Forget a segment. Raises Conflict while a campaign or another segment names it."""
    row = segment(session, segment_id)
    named = select(Campaign.name, Campaign.audience)
    for name, rule in [*session.execute(named), *session.execute(select(Segment.name, Segment.rule))]:
        if name != row.name and segment_id in names(rule):
            raise Conflict(f"{name} still names this segment.")
    exported = session.scalar(select(AudienceExport.name).where(AudienceExport.segment_id == segment_id).limit(1))
    if exported is not None:
        raise Conflict(f"The export {exported} still names this segment.")
    admin_log.record(session, by, "delete", "segment", row.id, now, before=admin_log.snapshot(row))
    session.delete(row)


def segment(session: Session, segment_id: int) -> Segment:
    """One segment. Raises NotFound."""
    row = session.get(Segment, segment_id)
    if row is None:
        raise NotFound("segment", segment_id)
    return row


def segments(session: Session) -> list[Segment]:
    """All segments by name."""
    return list(session.scalars(select(Segment).order_by(Segment.name)))


def count(session: Session, segment_id: int, now: datetime) -> int:
    """How many profiles are in the segment now; kept on the row with the moment."""
    row = segment(session, segment_id)
    members = matching(session, {"segment": segment_id}, now, "rule").subquery()
    row.count = session.scalar(select(func.count()).select_from(members)) or 0
    row.counted_at = now
    return row.count


def _check(session: Session, name: str, rule: Mapping[str, Any], segment_id: int | None) -> None:
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise InvalidInput("name", f"must have 1 to {MAX_NAME} characters")
    taken = session.scalar(select(Segment.id).where(Segment.name == name.strip()))
    if taken is not None and taken != segment_id:
        raise Conflict("Another segment has this name.")
    rulebook.check(session, rule, "audience", "rule")


def _check_around(session: Session, segment_id: int) -> None:
    """Whether all that contains this segment still reads: segments, which offers name, and what goes out."""
    rules = {row.id: row for row in session.scalars(select(Segment).order_by(Segment.id))}
    inner = {number: names(row.rule) for number, row in rules.items()}
    around = {segment_id}
    while further := {number for number, named in inner.items() if named & around} - around:
        around |= further
    for number in sorted(around):
        _check_holder(session, {"segment": number}, f"the segment {rules[number].name}")
    going = select(Campaign.name, Campaign.audience).where(Campaign.state.in_(("scheduled", "sending", "paused")))
    for name, audience in session.execute(going.order_by(Campaign.id)):
        if names(audience) & around:
            _check_holder(session, audience, f"the audience of the campaign {name}")


def _check_holder(session: Session, rule: Mapping[str, Any], holder: str) -> None:
    try:
        rulebook.check(session, rule, "audience", "rule")
    except InvalidInput as error:
        raise InvalidInput("rule", f"would break {holder}: {error.message}") from None


def names(node: Any) -> set[int]:
    """The segments a rule names anywhere."""
    match node:
        case {"segment": int(number)}:
            return {number}
        case dict():
            return {number for child in node.values() for number in names(child)}
        case list():
            return {number for child in node for number in names(child)}
        case _:
            return set()


def within(session: Session, rules: Iterable[Any]) -> set[int]:
    """The segments that these rules name, with those that are named in them."""
    found: set[int] = set()
    further = names(list(rules))
    while further:
        found |= further
        inner = session.scalars(select(Segment.rule).where(Segment.id.in_(further))).all()
        further = names(list(inner)) - found
    return found
