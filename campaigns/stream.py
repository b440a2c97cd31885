"""The stream of signals for people who look at it: who may see what, who looked, and taking refused ones again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.db import transaction
from base.errors import NotFound
from campaigns import access_log, admin_log, customers
from campaigns.admin_log import Actor
from campaigns.models.accounts import AccessEntry
from campaigns.veiling import body_of, keyless, veiled
from signals import quarantine, stream, tracing
from signals.events import RejectedEvent
from signals.intake import Intake
from signals.profiles import Profile
from signals.reading import Status
from signals.signal import Untrusted
from signals.sources import Source
from signals.stream import SHOWN, Entry, Kind, Part, Wanted
from signals.tracing import Change
from signals.trackingplan import Violation

NO_SIGNAL: Final = {
    "product": "It is a product of a feed and no signal. Mend it in the feed: it is taken with the next one.",
    "row": "It is a row of a table and no signal. Mend the row or the mapping, and import it again.",
    "erasure": "Find the customer by this number and erase them on their page: this entry goes with them.",
    "shop": "It is a shop’s own call. Mend it in the shop and save it there once more: the shop sends it anew.",
}
"""What to do about what was refused and is no signal, by its reason."""
LOOK: Final = "event stream"
ONCE_A: Final = timedelta(minutes=1)
"""Whoever keeps watching leaves a line a minute."""


@dataclass(frozen=True)
class Detail:
    """One signal with what came of it. `body` is None where it is not for who looks, "" where none is kept, and says so
    where it is damaged.

    `profile` is the person it belongs to now. `changes` is None where they cannot be told or nothing was changed;
    `other` is the stored signal that a contradicting one disagrees with, or that a refused one became. `remedy`: why a
    refused one cannot be taken again now, and what to do.
    """

    entry: Entry
    profile: int | None
    body: Any
    form: Any = None
    changes: list[Change] | None = None
    other: int | None = None
    cut: bool = False
    replayable: bool = False
    replayed_at: datetime | None = None
    reason: str = ""
    remedy: str = ""


def newest(
    session: Session,
    wanted: Wanted,
    person: int | None,
    now: datetime,
    by: Actor,
    *,
    whole: bool,
    before: str = "",
    limit: int = SHOWN,
) -> Part:
    """The newest signals, or those before a part, each under the person it belongs to now. Leaves a line in the access
    log, once a minute."""
    _note(session, by, now, person)
    found = stream.newest(session, wanted, limit, before)
    numbers = {entry.profile for entry in found.entries if entry.profile is not None}
    roots = dict(session.execute(select(Profile.id, Profile.root_id).where(Profile.id.in_(numbers))).all())
    shown = []
    for entry in found.entries:
        profile = None if entry.profile is None else roots.get(entry.profile, entry.profile)
        shown.append(replace(entry, profile=profile, name=entry.name if whole else veiled(entry.name)))
    return Part(shown, found.older)


def members(session: Session, person: int) -> tuple[int, ...]:
    """Every profile of a person. Raises NotFound."""
    return tuple(customers.members(session, customers.root_of(session, person).id))


def names(session: Session) -> dict[int, str]:
    """What the sources are called, those without a key too, by name."""
    rows = session.execute(select(Source.id, Source.name).order_by(Source.name))
    return {number: name for number, name in rows}  # noqa: C416 - rows are no pairs to mypy


def detail(
    session: Session, intake: Intake, kind: Kind, number: int, now: datetime, by: Actor, *, whole: bool
) -> Detail:
    """One signal; `whole`: the body as it came. Leaves a line in the access log. Raises NotFound."""
    made = {"taken": _taken, "refused": _refused, "contradicting": _contradicting}[kind](
        session, intake, number, whole=whole
    )
    access_log.record(session, by, LOOK, now, profile_id=made.profile, detail={"signal": kind, "number": number})
    return made if whole else replace(made, entry=replace(made.entry, name=veiled(made.entry.name)))


def replay(intake: Intake, number: int, now: datetime, by: Actor) -> Status:
    """Take a refused signal once more; see signals/quarantine.py. Leaves a line in the admin log, with what came of
    it."""

    def note(session: Session, number: int, status: Status) -> None:
        admin_log.record(session, by, "replay", "refused signal", number, now, after={"outcome": status})

    return quarantine.replay(intake, number, now, note)


def replay_all(intake: Intake, source: int | None, name: str | None, now: datetime, by: Actor) -> dict[Status, int]:
    """Take the quarantined signals of a source, or of a name, once more, 500 of them; how many came to what.

    Leaves a line in the admin log for what is tried, and one for each that was not refused again.
    """
    with transaction(intake.sessions) as session:
        numbers = quarantine.waiting(session, source=source, name=name)
    said = {"source": source, "event": name, "signals": len(numbers)}

    def begun(session: Session) -> None:
        admin_log.record(session, by, "replay", "refused signals", source or "all", now, after=said)

    def note(session: Session, number: int, status: Status) -> None:
        if status != "rejected":
            admin_log.record(session, by, "replay", "refused signal", number, now, after={"outcome": status})

    return quarantine.replay_all(intake, numbers, now, begun=begun, along=note)


def _taken(session: Session, intake: Intake, number: int, *, whole: bool) -> Detail:
    row = stream.taken(session, number)
    entry = Entry(
        "taken", row.id, "taken" if row.folds else "repeat", row.source_id, row.received_at, row.name or row.type,
        row.event_time, row.profile_id,
    )  # fmt: skip
    if stream.is_damaged(row):
        return Detail(entry, _root(session, row.profile_id), customers.DAMAGED)
    found = tracing.trace(session, intake.categories, row)
    body = keyless(row.body) if whole else veiled(row.body)
    changes = found.changes
    if changes is not None and not whole:
        changes = [Change(one.path, _hidden(one.path, one.before), _hidden(one.path, one.after)) for one in changes]
    form = found.form if whole else veiled(found.form)
    return Detail(entry, _root(session, row.profile_id), body, form, changes)


def _refused(session: Session, intake: Intake, number: int, *, whole: bool) -> Detail:
    row = stream.refused(session, number)
    entry = Entry(
        "refused", row.id, stream.status_of(row), row.source_id, row.at, stream.called(row), field=row.field,
        message=row.message,
    )  # fmt: skip
    is_damaged = stream.is_damaged(row)
    remedy = "" if row.replayed_at is not None else _remedy(session, intake, row)
    known = quarantine.stored(intake, session, row) if row.replayed_at is not None and not is_damaged else None
    return Detail(
        entry, _root(session, known.profile_id) if known is not None else None,
        customers.DAMAGED if is_damaged else body_of(row.body, whole=whole) if row.body else "",
        other=known.id if known is not None else None, cut=not row.whole,
        replayable=row.replayed_at is None and not remedy, replayed_at=row.replayed_at, reason=row.reason,
        remedy=remedy,
    )  # fmt: skip


def _remedy(session: Session, intake: Intake, row: RejectedEvent) -> str:
    """Why a refused signal cannot be taken again as things are, and what to do; empty where it can."""
    if row.reason not in quarantine.REPLAYABLE:
        return NO_SIGNAL.get(row.reason, NO_SIGNAL["row"])
    if not row.whole:
        kept = "Nothing" if row.body == "" else "Not all"
        return f"{kept} of it is kept, so it cannot be taken again: have the source send it once more."
    if stream.is_damaged(row):
        return f"It is {customers.DAMAGED}, so it cannot be taken again until it is put back from a backup."
    fault = quarantine.fault(intake, session, row)
    if fault is None:
        return ""
    if isinstance(fault, Violation):
        return (
            "It would break the tracking plan again. Mend the plan, and take it again here; or have whoever sends it"
            " mend what they send, which comes as a new signal."
        )
    if isinstance(fault, Untrusted):
        return (
            "Taking it again would end the same: a key that every visitor of the site can read may not say this."
            " Have the shop’s server send it, with a server key."
        )
    return (
        "Taking it again would end the same, for what it says cannot be understood. Have the source mend it and send it"
        " once more: that is a new signal."
    )


def _contradicting(session: Session, intake: Intake, number: int, *, whole: bool) -> Detail:
    row, known = stream.contradicting(session, number)
    is_damaged = stream.is_damaged(row)
    name = "" if is_damaged else str(row.body.get("event") or row.body.get("type") or "")
    profile = known.profile_id if known is not None else None
    entry = Entry(
        "contradicting", row.id, "contradicting", row.source_id, row.received_at, name, profile=profile,
        message="Its message id was taken by a signal with other content; it changed nothing.",
    )  # fmt: skip
    body = customers.DAMAGED if is_damaged else keyless(row.body) if whole else veiled(row.body)
    return Detail(entry, _root(session, profile), body, other=known.id if known is not None else None)


def _root(session: Session, profile: int | None) -> int | None:
    try:
        return None if profile is None else customers.root_of(session, profile).id
    except NotFound:
        return None


def _hidden(path: str, value: Any) -> Any:
    """A value of the state as support sees it: without the traits by which a person could be reached."""
    if "." not in path:  # The state's own names say nothing of what a source told.
        return veiled(value)
    first, *between, name = path.split(".")
    shown = {name: value}
    for outer in reversed(between) if first == "traits" else ():
        shown = {outer: shown}
    seen = veiled(shown, of_person=first == "traits")
    while isinstance(seen, dict) and isinstance(shown, dict) and shown is not value:
        (shown,), (seen,) = shown.values(), seen.values()
    return seen


def _note(session: Session, by: Actor, now: datetime, person: int | None) -> None:
    lately = select(AccessEntry.id).where(
        AccessEntry.action == LOOK, AccessEntry.actor == by.name, AccessEntry.user_id.is_not_distinct_from(by.user_id),
        AccessEntry.profile_id.is_not_distinct_from(person), AccessEntry.at > now - ONCE_A, AccessEntry.at <= now,
        AccessEntry.detail == {},
    )  # fmt: skip
    if session.scalar(lately.limit(1)) is None:
        access_log.record(session, by, LOOK, now, profile_id=person)


def lines(value: Any) -> str:
    """JSON to be read by people, in lines; text as it is."""
    if isinstance(value, str):
        return value
    encoded = msgspec.json.encode(value)
    return msgspec.json.format(encoded, indent=2).decode()


def outcome_words(counts: Mapping[Status, int]) -> str:
    """What became of signals that were taken once more, in a sentence."""
    words = {
        "accepted": "taken now", "duplicate": "were known already", "conflict": "contradict what is stored",
        "rejected": "still refused", "withheld": "not kept, since the person refuses it",
    }  # fmt: skip
    if not counts:
        return "There was none to be taken again."
    return "; ".join(f"{number} {words[status]}" for status, number in counts.items()) + "."
