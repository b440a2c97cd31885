"""Segments: rules over profiles that have a name. They are live: whoever asks gets who fits now.

How large each one is, is counted once a day at least (`workers/reckoner.py`) and kept a day at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from base.db import QUERY_CANCELED
from base.errors import Conflict, InvalidInput, NotFound
from campaigns import admin_log, rulebook
from campaigns.admin_log import Actor
from campaigns.models import Offer
from campaigns.models.campaign import Campaign, Segment, SegmentSize
from campaigns.models.exports import AudienceExport
from campaigns.population import matching, refresh_statistics

MAX_NAME = 120
SIZE_DAYS: Final = 400
"""Sizes older than this are forgotten."""
EDIT_SECONDS: Final = 5
"""A count beside an editor that takes longer is given up."""
MOST_DUE: Final = 50
"""Segments counted in one go."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Use:
    """What names a segment: a campaign, an offer, another segment or an export."""

    kind: str
    id: int
    name: str


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
    """Forget a segment. Raises Conflict while anything names it."""
    row = segment(session, segment_id)
    for use in uses(session).get(segment_id, []):
        raise Conflict(f"The {use.kind} {use.name} still names this segment.")
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
    row.count = _counted(session, {"segment": segment_id}, now)
    row.counted_at = now
    today = now.astimezone(UTC).date()
    size = insert(SegmentSize).values(segment_id=segment_id, day=today, people=row.count)
    session.execute(size.on_conflict_do_update(index_elements=["segment_id", "day"], set_={"people": row.count}))
    oldest = today - timedelta(days=SIZE_DAYS)
    session.execute(delete(SegmentSize).where(SegmentSize.segment_id == segment_id, SegmentSize.day < oldest))
    return row.count


def count_in_time(session: Session, segment_id: int, now: datetime) -> None:
    """Count a segment if that takes at most EDIT_SECONDS; else it is due, and a worker counts it within a minute."""
    if in_time(session, lambda: count(session, segment_id, now)) is None:
        row = segment(session, segment_id)
        row.count = row.counted_at = None


def would_be(session: Session, rule: Mapping[str, Any], now: datetime) -> int | None:
    """How many profiles a rule that is not kept describes now; None when that takes more than EDIT_SECONDS.

    Raises InvalidInput naming the path in the rule.
    """
    rulebook.check(session, rule, "audience", "rule")
    return in_time(session, lambda: _counted(session, rule, now))


def in_time(session: Session, asked: Callable[[], Found]) -> Found | None:
    """What a question finds if that takes at most EDIT_SECONDS, else None."""
    refresh_statistics(session)
    try:
        with session.begin_nested():
            session.execute(text(f"SET LOCAL statement_timeout = '{EDIT_SECONDS}s'"))
            found = asked()
            session.flush()
            session.execute(text("SET LOCAL statement_timeout = DEFAULT"))
            return found
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != QUERY_CANCELED:
            raise
        return None


def _counted(session: Session, rule: Mapping[str, Any], now: datetime) -> int:
    members = matching(session, rule, now, "rule").subquery()
    return session.scalar(select(func.count()).select_from(members)) or 0


def due(session: Session, now: datetime) -> list[int]:
    """The segments that were not counted today (UTC), those counted longest ago first, at most MOST_DUE."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    stale = or_(Segment.counted_at.is_(None), Segment.counted_at < today)
    ordered = select(Segment.id).where(stale).order_by(Segment.counted_at.nulls_first(), Segment.id)
    return list(session.scalars(ordered.limit(MOST_DUE)))


def cannot_be_counted(session: Session, segment_id: int, now: datetime) -> None:
    """Note that a segment's rule does not read any more, or fails, so that nobody takes its last count for today's."""
    row = segment(session, segment_id)
    row.count, row.counted_at = None, now


def sizes(session: Session, segment_id: int) -> list[tuple[date, int]]:
    """How many people were in a segment on each day on which it was counted, the oldest first."""
    query = select(SegmentSize.day, SegmentSize.people).where(SegmentSize.segment_id == segment_id)
    return [(row.day, row.people) for row in session.execute(query.order_by(SegmentSize.day))]


def uses(session: Session) -> dict[int, list[Use]]:
    """What names each segment itself, by kind and name; archived offers do not count."""
    rules = (Offer.legal, Offer.relevant, Offer.beneficial)
    asked = (
        ("campaign", select(Campaign.id, Campaign.name, Campaign.audience, Campaign.suppress)),
        ("offer", select(Offer.id, Offer.name, *rules).where(Offer.archived_at.is_(None))),
        ("segment", select(Segment.id, Segment.name, Segment.rule)),
    )
    found: dict[int, list[Use]] = {}
    for kind, query in asked:
        for number, name, *named in session.execute(query):
            for wanted in names(named):
                if (kind, number) != ("segment", wanted):
                    found.setdefault(wanted, []).append(Use(kind, number, name))
    exported = select(AudienceExport.segment_id, AudienceExport.id, AudienceExport.name)
    for wanted, number, name in session.execute(exported):
        found.setdefault(wanted, []).append(Use("export", number, name))
    return {number: sorted(some, key=lambda use: (use.kind, use.name)) for number, some in found.items()}


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
