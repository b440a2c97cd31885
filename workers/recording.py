"""Records become rows: decisions, fetches and clicks in bulk, with the bytes that were served beside them.

Idempotent: a record's id and instant are its primary key, so a record that comes twice changes nothing. One request
leaves at most two records of its fetch, under one id: when the store broke off while the first was written, the picture
that then went out was a fallback, and its record is the one that is kept. Records of an erased person are dropped:
there is no subject to keep them under. So are those of a person who had refused tracking or the channel by then: render
does not write them, but where it could not read the state it could not know. Nor are fetches kept that were answered
without a plan in a campaign whose mails are anonymous: without the plan render could not know that either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from campaigns import chain, served
from campaigns.audit import PERSONAL_PURPOSE
from campaigns.channels import EMAIL
from campaigns.models.campaign import Campaign, Plan
from campaigns.opens import FALLBACKS, AnonymousFetch, Click, Decision, Fetch, ensure_months
from campaigns.subjects import SubjectKey, subject_keys
from render.agree import reservation
from render.record import (
    AnonymousRecord,
    ClickRecord,
    ConsentRecord,
    DecisionRecord,
    FetchRecord,
    NamedRecord,
    Record,
    RepairRecord,
    canonical,
    personal,
)
from signals.consenthistory import NEWEST_SAID
from signals.profiles import Profile

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
ROWS_A_STATEMENT = 500
SEEN = ("person", "proxy", "undecided")


_REFUSED = text(
    f"""
    SELECT newest.profile, newest.purpose, newest.received_at AS since
    FROM (
        SELECT DISTINCT ON (mailed.id, consent.purpose)
            mailed.id AS profile, consent.purpose, consent.granted, consent.received_at
        FROM profile mailed
        JOIN profile member ON member.root_id = mailed.root_id
        JOIN consent ON consent.profile_id = member.id AND consent.purpose = ANY(:purposes)
        JOIN event ON event.id = consent.event_id
        WHERE mailed.id = ANY(:profiles)
        ORDER BY mailed.id, consent.purpose, {NEWEST_SAID}
    ) newest
    WHERE NOT newest.granted
    """  # noqa: S608 - a constant of ours
)
"""Since when people refuse to be recorded (`render.permission.may_record`): from the moment we were told."""


Table = type[Decision] | type[Fetch] | type[Click] | type[AnonymousFetch]


@dataclass
class Written:
    """What a batch held. `live_decisions` are the ids whose send-time shadow is still to be computed.

    `reserved` are pairs of offer and reservation that now have their record, `told` the fetches and clicks that
    name a person. `anonymous` counts those that name nobody. `counted` are the profiles that were shown something by an
    open of the live lane, or clicked; `shown` those of whom a decision was made, if for defaults alone.
    """

    decisions: int = 0
    fetches: int = 0
    clicks: int = 0
    anonymous: int = 0
    dropped: int = 0
    consents: list[ConsentRecord] = field(default_factory=list)
    repairs: list[RepairRecord] = field(default_factory=list)
    live_decisions: list[tuple[str, datetime]] = field(default_factory=list)
    reserved: list[tuple[int, str]] = field(default_factory=list)
    told: list[FetchRecord | ClickRecord] = field(default_factory=list)
    counted: set[int] = field(default_factory=set)
    shown: set[int] = field(default_factory=set)


def moment(at_ms: int) -> datetime:
    """Milliseconds since 1970 as an aware moment."""
    return EPOCH + at_ms * MS


def write(
    session: Session, blobs: FolderBlobs, wrapping_key: bytes, records: Sequence[Record], now: datetime
) -> Written:
    """Store a batch in the caller's transaction. Consents and repairs are handed back: they are others' work."""
    result = Written()
    named = [record for record in records if not isinstance(record, AnonymousRecord)]
    nameless = [record for record in records if isinstance(record, AnonymousRecord)]
    channels = _channels(session, {record.campaign for record in named if _is_stored(record)})
    kept = _without_unnameable(session, _without_refused(session, channels, _without_erased(session, named)))
    subjects = subject_keys(session, {r.profile for r in kept if _is_stored(r)}, wrapping_key, now)
    kept = [record for record in kept if record.profile in subjects or not _is_stored(record)]
    result.dropped = len(named) - len(kept)
    ensure_months(session.connection(), {moment(record.at_ms).date() for record in (*kept, *nameless)})
    rows: dict[Table, list[dict[str, Any]]] = {Decision: [], Fetch: [], Click: []}
    rows[AnonymousFetch] = _one_each([_anonymous_row(record) for record in nameless])
    for record in kept:
        if isinstance(record, DecisionRecord):
            channel = channels.get(record.campaign, EMAIL)
            rows[Decision].append(decision_row(record, subjects[record.profile], channel))
            delivery = record.reserved_as or f"{record.campaign}.{record.occurrence}"
            name = reservation(delivery, record.profile, record.open_number, record.at_ms)
            result.reserved += [(offer, name) for offer in record.reserved]
            if record.lane == "live":
                result.counted.add(record.profile)
                if record.rung != "default" and not record.neutral:
                    result.shown.add(record.profile)
                if record.contact is None:
                    result.live_decisions.append((record.id, moment(record.at_ms)))
        elif isinstance(record, FetchRecord):
            subject = subjects[record.profile]
            rows[Fetch].append(fetch_row(record, subject))
            if record.body is not None:
                owner = subject if record.is_personal else None
                sha256 = bytes.fromhex(record.sha256)
                served.keep(session, blobs, record.body, sha256, record.content_type, owner, moment(record.at_ms))
        elif isinstance(record, ClickRecord):
            rows[Click].append(_click_row(record, subjects[record.profile]))
            result.counted.add(record.profile)
        elif isinstance(record, ConsentRecord):
            result.consents.append(record)
        else:
            result.repairs.append(record)
    result.told = [record for record in kept if isinstance(record, FetchRecord | ClickRecord)]
    rows[Fetch] = _one_each(rows[Fetch])
    _date_decisions(session, rows)
    for table, values in rows.items():
        _insert(session, table, values)
    served.note(session, [_served(row) for row in rows[Fetch]])
    result.decisions, result.fetches, result.clicks, result.anonymous = (len(values) for values in rows.values())
    return result


def _date_decisions(session: Session, rows: dict[Table, list[dict[str, Any]]]) -> None:
    """Give fetches and clicks the moment of their decision, from this batch or from the table."""
    moments = {row["id"]: row["at"] for row in rows[Decision]}
    followers = [row for table in (Fetch, Click) for row in rows[table] if row["decision_id"]]
    missing = {row["decision_id"] for row in followers} - moments.keys()
    if missing:
        moments |= {
            row.id: row.at for row in session.execute(select(Decision.id, Decision.at).where(Decision.id.in_(missing)))
        }
    for row in followers:
        row["decision_at"] = moments.get(row["decision_id"])


def date_late(session: Session) -> int:
    """Give fetches and clicks the moment of a decision that was stored after them, by another recorder; how many."""
    dated = 0
    for table in (Fetch, Click):
        result = session.execute(
            update(table)
            .where(table.decision_at.is_(None), table.decision_id == Decision.id)
            .values(decision_at=Decision.at)
            .execution_options(synchronize_session=False)
        )
        dated += cast("CursorResult[Any]", result).rowcount
    return dated


def _is_stored(record: NamedRecord) -> bool:
    return isinstance(record, DecisionRecord | FetchRecord | ClickRecord)


def _without_erased(session: Session, records: Sequence[NamedRecord]) -> list[NamedRecord]:
    profiles = {record.profile for record in records if record.profile}
    erased = set(session.scalars(select(Profile.id).where(Profile.id.in_(profiles), Profile.erased_at.is_not(None))))
    # Somebody who is erased may have lost the tombstone.
    return [record for record in records if record.profile not in erased or isinstance(record, RepairRecord)]


def _channels(session: Session, campaigns: set[int]) -> dict[int, str]:
    """The channels of those of the campaigns that do not go by mail."""
    rows = session.execute(
        select(Campaign.id, Campaign.channel).where(Campaign.id.in_(campaigns), Campaign.channel != EMAIL)
    )
    return {row.id: row.channel for row in rows}


def _without_refused(
    session: Session, channels: Mapping[int, str], records: Sequence[NamedRecord]
) -> list[NamedRecord]:
    """Without what was done after the person's newest word on tracking, or on the channel, where that was a refusal."""
    profiles = {record.profile for record in records if _is_stored(record)}
    asked = {"profiles": list(profiles), "purposes": ["tracking", EMAIL, *set(channels.values())]}
    refused = {(row.profile, row.purpose): (row.since - EPOCH) // MS for row in session.execute(_REFUSED, asked)}

    def is_refused(record: NamedRecord) -> bool:
        purposes = ("tracking", channels.get(record.campaign, EMAIL))
        return any(record.at_ms > refused.get((record.profile, one), record.at_ms) for one in purposes)

    return [record for record in records if not _is_stored(record) or not is_refused(record)]


def _without_unnameable(session: Session, records: Sequence[NamedRecord]) -> list[NamedRecord]:
    """Without fetches that no plan was there for, in campaigns that ever had an anonymous one."""
    without_plan = {record.campaign for record in records if isinstance(record, FetchRecord) and not record.decision}
    if not without_plan:
        return list(records)
    anonymous = set(session.scalars(select(Plan.campaign_id).where(Plan.campaign_id.in_(without_plan), Plan.anonymous)))
    return [
        record
        for record in records
        if not isinstance(record, FetchRecord) or record.decision or record.campaign not in anonymous
    ]


def _public(record: NamedRecord, subject: SubjectKey) -> dict[str, Any]:
    """The columns that every kind of record shares."""
    public = canonical(record, subject.subject_id.hex)
    return {
        "id": record.id,
        "at": moment(record.at_ms),
        "profile_id": record.profile,
        "subject_id": subject.subject_id,
        "campaign_id": record.campaign,
        "occurrence": record.occurrence,
        "public": public,
        "public_sha256": hashlib.sha256(public).digest(),
    }


def decision_row(record: DecisionRecord, subject: SubjectKey, channel: str = EMAIL) -> dict[str, Any]:
    """The columns of a decision, its personal part sealed under the subject's key; `channel` is the campaign's."""
    content = personal(record)
    return _public(record, subject) | {
        "channel": channel if record.contact is None else "contact",
        "contact": record.contact,
        "lane": record.lane,
        "open_number": record.open_number,
        "plan_hash": record.plan,
        "model_hash": record.model,
        "seed": str(record.seed),
        "state_version": record.state_version,
        "rung": record.rung,
        "lost": record.lost,
        "slots": {str(slot.slot): slot.offer for slot in record.slots},
        "shadow": None,
        "personal": subject.sealer.seal(content, PERSONAL_PURPOSE) if content else None,
        "ms": record.micros / 1000,
    }


def fetch_row(record: FetchRecord, subject: SubjectKey) -> dict[str, Any]:
    """The columns of a fetch; `decision_at` is for whoever knows when its decision was."""
    return _public(record, subject) | {
        "decision_id": record.decision or None,
        "decision_at": None,
        "slot": record.slot,
        "kind": record.kind,
        "lane": record.lane,
        "fetch_class": record.fetch_class,
        "evidence": record.evidence,
        "sha256": bytes.fromhex(record.sha256),
        "size": record.size,
        "content_type": record.content_type,
        "personal": record.is_personal,
        "rung": record.rung,
        "ms": record.micros / 1000,
    }


def _served(row: dict[str, Any]) -> tuple[bytes, str, datetime, bool]:
    """Which bytes a fetch was answered with, whose they are, and when."""
    owner = row["subject_id"].hex if row["personal"] else served.EVERYBODY
    return row["sha256"], owner, row["at"], row["lane"] == "live" or row["fetch_class"] in SEEN


def _click_row(record: ClickRecord, subject: SubjectKey) -> dict[str, Any]:
    return _public(record, subject) | {
        "slot": record.slot,
        "fetch_class": record.fetch_class,
        "evidence": record.evidence,
        "decision_id": record.decision,
        "decision_at": None,
        "offer_id": record.offer,
        "ambiguous": record.is_ambiguous,
        "unseen": record.is_unseen,
        "unresolved": record.is_unresolved,
        "outcome": record.outcome,
        "landing": record.landing,
    }


def _anonymous_row(record: AnonymousRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "at": moment(record.at_ms),
        "campaign_id": record.campaign,
        "occurrence": record.occurrence,
        "slot": record.slot,
        "kind": record.kind,
        "fetch_class": record.fetch_class,
        "offer_id": record.offer,
        "rung": record.rung,
    }


def _one_each(fetches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a request: its fallback's where it has one."""
    found: dict[str, dict[str, Any]] = {}
    for row in fetches:
        if row["id"] not in found or row["rung"] in FALLBACKS:
            found[row["id"]] = row
    return list(found.values())


def _insert(session: Session, table: Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        piece = rows[start : start + ROWS_A_STATEMENT]
        statement = insert(table).values(piece)
        if issubclass(table, Fetch | AnonymousFetch):
            written = {name: statement.excluded[name] for name in piece[0] if name not in ("id", "at")}
            is_fallback = statement.excluded.rung.in_(FALLBACKS) & table.rung.not_in(FALLBACKS)
            statement = statement.on_conflict_do_update(
                index_elements=[table.id, table.at], set_=written, where=is_fallback
            )
        else:
            statement = statement.on_conflict_do_nothing()
        new = set(session.scalars(statement.returning(table.id)))
        if table is not AnonymousFetch:
            chain.leave(session, table.__tablename__, _leaves(table, piece, new))


def _leaves(table: Table, rows: list[dict[str, Any]], new: set[str]) -> chain.Leaves:
    """What the chain is to hold of the rows that were written now; of two of one name the first was."""
    found: dict[str, bytes] = {}
    for row in rows:
        if row["id"] in new and row["id"] not in found:
            found[row["id"]] = chain.record_leaf(row["public"], row["personal"] if table is Decision else None)
    return list(found.items())
