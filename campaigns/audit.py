"""One open, as support needs it: what was shown, the very bytes, why, what we knew, and what arrived later.

Everything here reads. Nothing that is looked at changes a cap, a count, a model or a report; the caller's entry in the
access log is the only trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, case, exists, select, text, tuple_
from sqlalchemy.orm import Session, aliased

from base.blobs import FolderBlobs
from base.errors import Expired, NotFound
from base.sealing import Unsealable
from campaigns import disagreement, plans, served
from campaigns.models import Delivery
from campaigns.opens import Click, Decision, Fetch, Outcome
from campaigns.redraw import Recorded, redrawn
from campaigns.subjects import SubjectKey, known_subject
from campaigns.veiling import veiled
from campaigns.wording import CLASS_WORDS, event_words, instead_words
from render.explanation import SlotExplanation, explain
from render.plan import Plan
from render.record import DecisionFacts, SlotRecord, read_personal
from signals.engagement import is_no_own_mail
from signals.events import Event
from signals.moments import unix_ms
from signals.signal import ORDER_COMPLETED

PERSONAL_PURPOSE = b"decision"
"""What the personal part of a decision is sealed for; the recorder seals with it, the audit opens."""

MAX_EVENTS = 200


class PublicDecision(msgspec.Struct, kw_only=True):
    """The canonical form of a decision, as far as pages read it."""

    id: str
    rung: str
    slots: tuple[SlotRecord, ...]
    state_version: int | None = None
    lost: Any = None
    model: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class SeenFetch:
    """One answered fetch of an open; `instead`: what was served in the place of what the open had chosen."""

    at: datetime
    slot: int
    slot_name: str
    kind: str
    words: str
    evidence: dict[str, Any]
    sha256: str
    size: int
    rung: str
    instead: str


@dataclass(frozen=True)
class Signal:
    """An event beside a decision: when it happened, when it arrived."""

    name: str
    words: str
    happened: datetime
    arrived: datetime


@dataclass(frozen=True)
class Opening:
    """An open in full. `facts` is None for an erased person: the page shows a tombstone.

    `alarms` tell of its clicks that went to another offer than was shown.
    """

    row: Decision
    plan: Plan
    public: PublicDecision
    explanations: tuple[SlotExplanation, ...]
    fetches: tuple[SeenFetch, ...]
    facts: DecisionFacts | None
    known: tuple[Signal, ...]
    late: tuple[Signal, ...]
    sound: bool
    alarms: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[int, str]:
        """Slot number -> name of the offer shown."""
        return {part.slot: part.offer_name for part in self.explanations}


def opening(
    session: Session, blobs: FolderBlobs, wrapping_key: bytes, decision: str, members: Sequence[int]
) -> Opening:
    """One open of these profiles. Raises NotFound, also for a decision of somebody else, and Expired."""
    row = _decision(session, decision, members)
    plan = plans.load(blobs, row.plan_hash)
    public = _public(row)
    known, late = _signals(session, row)
    return Opening(
        row=row,
        plan=plan,
        public=public,
        explanations=explain(public, plan),
        fetches=_fetches(session, row, plan),
        facts=_facts(session, row, wrapping_key),
        known=known,
        late=late,
        sound=hashlib.sha256(row.public).digest() == row.public_sha256,
        alarms=_alarms(session, row, plan),
    )


@dataclass(frozen=True)
class Copy:
    """The bytes that were served, proven by their hash. `origin` is "stored" or "redrawn"."""

    body: bytes
    content_type: str
    origin: str


def picture(
    session: Session, blobs: FolderBlobs, wrapping_key: bytes, decision: str, sha256: str, members: Sequence[int]
) -> Copy:
    """The bytes that were served in this open: the copy that was kept, or drawn again.

    Raises NotFound for what this open never showed, and Expired where no copy is kept any more.
    """
    digest = _digest(sha256)
    fetch = session.execute(
        select(Fetch.profile_id, Fetch.slot, Fetch.kind, Fetch.at)
        .where(Fetch.decision_id == decision, Fetch.sha256 == digest, Fetch.profile_id.in_(members))
        .limit(1)
    ).first()
    if fetch is None or fetch.profile_id is None:
        raise NotFound("picture of this open", sha256)
    try:
        subject = known_subject(session, fetch.profile_id, wrapping_key)
        body, content_type = served.read(session, blobs, digest, subject)
        if hashlib.sha256(body).digest() == digest:
            return Copy(body, content_type, "stored")
    except (NotFound, Unsealable):
        pass  # The copy is not there or not sound; what the record holds may still make it.
    row = _decision(session, decision, members)
    facts = _facts(session, row, wrapping_key)
    if facts is not None and fetch.kind in ("picture", "dark"):
        recorded = Recorded(
            plans.load(blobs, row.plan_hash), _public(row).slots, facts, _sent_plan(session, blobs, row)
        )
        again = redrawn(
            recorded, fetch.slot, dark=fetch.kind == "dark", sha256=sha256, at_ms=unix_ms(fetch.at), blobs=blobs
        )
        if again is not None:
            return Copy(*again, "redrawn")
    raise Expired("the copy of what was served")


def _decision(session: Session, decision: str, members: Sequence[int]) -> Decision:
    row = session.scalar(
        select(Decision).where(Decision.id == decision, Decision.profile_id.in_(members)).order_by(Decision.at).limit(1)
    )
    if row is None:
        # What followed from an open outlives it: a click that came weeks after, an order.
        for table in (Outcome, Click):
            named = select(table.decision_id).where(table.decision_id == decision, table.profile_id.in_(members))
            if session.scalar(named.limit(1)) is not None:
                raise Expired("what was shown in this open")
        raise NotFound("open", decision)
    return row


def _alarms(session: Session, row: Decision, plan: Plan) -> tuple[str, ...]:
    clicks = session.scalars(select(Click.id).where(Click.decision_id == row.id).order_by(Click.at)).all()
    found = disagreement.of_clicks(session, clicks)
    names = {offer.id: offer.name for offer in plan.offers}
    return tuple(disagreement.words(found[click], names) for click in clicks if click in found)


def _public(row: Decision) -> PublicDecision:
    return msgspec.json.decode(row.public, type=PublicDecision)


def _sent_plan(session: Session, blobs: FolderBlobs, row: Decision) -> Plan | None:
    digest = session.scalar(
        select(Delivery.plan_hash).where(
            Delivery.campaign_id == row.campaign_id,
            Delivery.occurrence == row.occurrence,
            Delivery.profile_id == row.profile_id,
        )
    )
    return plans.load(blobs, digest) if digest else None


def _digest(sha256: str) -> bytes:
    try:
        return bytes.fromhex(sha256)
    except ValueError:
        raise NotFound("picture", sha256[:64]) from None


def _fetches(session: Session, row: Decision, plan: Plan) -> tuple[SeenFetch, ...]:
    fetches = session.scalars(select(Fetch).where(Fetch.decision_id == row.id).order_by(Fetch.at, Fetch.slot))
    return tuple(
        SeenFetch(
            at=fetch.at,
            slot=fetch.slot,
            slot_name=plan.slot_by_index[fetch.slot].name if fetch.slot in plan.slot_by_index else "whole mail",
            kind=fetch.kind,
            words=CLASS_WORDS[fetch.fetch_class],
            evidence=fetch.evidence,
            sha256=fetch.sha256.hex() if fetch.sha256 else "",
            size=fetch.size,
            rung=fetch.rung,
            instead=instead_words(fetch.rung, row.rung),
        )
        for fetch in fetches
    )


def _facts(session: Session, row: Decision, wrapping_key: bytes) -> DecisionFacts | None:
    """The personal part, or None when its key is gone."""
    if row.profile_id is None or row.personal is None:
        return None
    subject: SubjectKey | None = known_subject(session, row.profile_id, wrapping_key)
    if subject is None:
        return None
    try:
        return read_personal(subject.sealer.open(row.personal, PERSONAL_PURPOSE))
    except Unsealable:
        return None


_THEN: Final = text("""
    WITH RECURSIVE one (id) AS (
        SELECT CAST(:profile AS bigint)
        UNION
        SELECT CASE l.child_end WHEN one.id THEN l.parent_end ELSE l.child_end END
        FROM one JOIN profile_link l ON l.child_end = one.id OR l.parent_end = one.id
        WHERE l.at < :at AND (l.undone_at IS NULL OR l.undone_at >= :at)
    )
    SELECT id FROM one
""")


def _signals(session: Session, row: Decision) -> tuple[tuple[Signal, ...], tuple[Signal, ...]]:
    """The newest signals that the decision knew, and those that had happened by then but arrived later; without
    what repeats fetches and clicks. Of the profiles that were one person then, whoever is by now."""
    version = row.state_version or 0
    members = session.scalars(_THEN, {"profile": row.profile_id, "at": row.at}).all()
    columns = select(Event.name, Event.type, Event.event_time, Event.received_at).where(
        Event.profile_id.in_(members), is_no_own_mail()
    )
    first = _is_first(members, version)
    known = session.execute(
        columns.where(Event.id <= version, first).order_by(Event.event_time.desc()).limit(MAX_EVENTS)
    ).all()
    late = session.execute(
        columns.where(Event.id > version, Event.event_time <= row.at, first)
        .order_by(Event.event_time)
        .limit(MAX_EVENTS)
    ).all()

    def told(found: Sequence[Any]) -> tuple[Signal, ...]:
        return tuple(
            Signal(
                veiled(event.name or event.type),
                event_words(event.name, event.type),
                event.event_time,
                event.received_at,
            )
            for event in found
        )

    return told(known), told(late)


def _is_first(members: Sequence[int], version: int) -> ColumnElement[bool]:
    """Which signals count among those of these profiles. Of an order that several told of it is the first of those that
    had arrived by then, else of all: `folds` says it of those who are one person now, and of what arrived since."""
    other = aliased(Event)
    place, others = ((one.id > version, one.event_time, one.message_id, one.source_id) for one in (Event, other))
    earlier = select(other.id).where(
        other.order_id == Event.order_id,
        other.name == ORDER_COMPLETED,
        other.profile_id.in_(members),
        tuple_(*others) < tuple_(*place),
    )
    is_order = and_(Event.name == ORDER_COMPLETED, Event.order_id.is_not(None))
    return case((is_order, ~exists(earlier)), else_=Event.folds)
