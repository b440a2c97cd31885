"""Asking for a second person's word on a campaign, and giving it: what is approved goes out, or is changed, with that.

Only what could go out is asked for: it can be compiled and passes its scenarios, and whatever else is noteworthy about
its mail is there with a reason (campaigns/findings.py). All of it is looked at once more when somebody approves.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct
from sqlalchemy import update
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.clock import check_year
from base.errors import Conflict, Forbidden, InvalidInput, NotFound
from base.stores import Store
from campaigns import admin_log, approvals, authorship, compiling, findings, mail, publish, scenarios, transitions
from campaigns.admin_log import Actor
from campaigns.approvals import LEFT, Version
from campaigns.campaigns import Moment
from campaigns.models.approval import Approval
from campaigns.models.campaign import Campaign
from render.plan import digest, encode

MAX_NOTE: Final = 2_000
Note = Annotated[str, Meta(max_length=MAX_NOTE)]


class AskIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for: to go out at `due_at` (null: as soon as it is approved), or, of a campaign whose mails have
    left, to be changed from `starts_at` on (null: as soon as it is approved). `note` is for whoever approves."""

    due_at: Moment | None = None
    starts_at: Moment | None = None
    note: Note = ""


def ask(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    campaign_id: int,
    wanted: AskIn,
    now: datetime,
    by: Actor,
    *,
    is_sending: bool,
) -> Approval:
    """Ask for the approval of a campaign as it is written now; what was asked before is void.

    Raises InvalidInput naming what keeps it from going, Conflict when it fails a scenario.
    """
    row = publish.locked(session, campaign_id)
    _check_times(row, wanted, now)
    found, warnings = _ready(session, store, blobs, row, wanted.due_at, wanted.starts_at, now, is_sending=is_sending)
    if warnings and not wanted.note.strip():
        raise InvalidInput("note", f"must say why it may go out all the same: {' '.join(warnings)}")
    _end(session, row.id, "asked", now, by, "Another version was asked for.")
    made = Approval(
        campaign_id=row.id, state="asked", version=found.hash, content=found.content, due_at=wanted.due_at,
        starts_at=wanted.starts_at, note=wanted.note.strip(), asked_at=now, asked_by=by.name, asked_id=by.user_id,
    )  # fmt: skip
    session.add(made)
    session.flush()
    admin_log.record(session, by, "ask for approval", "campaign", row.id, now, after=_told(made))
    return made


def approve(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    approval_id: int,
    note: str,
    now: datetime,
    by: Actor,
    *,
    is_sending: bool,
) -> Approval:
    """Approve a version: it is published, and goes out at its time, or is what its mails show from its moment on.

    Raises Forbidden for whoever wrote or asked for it, Conflict when it is no more what was asked for, or its time is
    over, and whatever `ask` raises.
    """
    found, row = _waiting(session, approval_id)
    who = authorship.persons(session, by)
    if not any(name.startswith("user ") for name in who):
        raise Forbidden("A key that belongs to nobody cannot approve: a person has to.")
    if who & authorship.authors(session, row, found):
        raise Forbidden("You wrote or asked for this version: a second person has to approve it.")
    for moment in (found.due_at, found.starts_at):
        if moment is not None and moment <= now:
            raise Conflict("Its time is over: it has to be asked for with another.")
    current, _ = _ready(session, store, blobs, row, found.due_at, found.starts_at, now, is_sending=is_sending)
    if current.hash != found.version:
        raise Conflict("It was changed since it was asked for: it has to be asked for anew.")
    _end(session, row.id, "approved", now, by, "Another version was approved.")
    _settle(session, found, "approved", note, now, by)
    if row.state in LEFT:
        publish.publish(session, store, blobs, row.id, now, by, starts_at=found.starts_at, is_sending=is_sending)
    else:
        publish.publish(session, store, blobs, row.id, now, by, is_sending=is_sending)
        transitions.schedule(session, row.id, found.due_at or now, now, by, is_sending=is_sending)
    return found


def refuse(session: Session, approval_id: int, note: str, now: datetime, by: Actor) -> Approval:
    """Send a version back, with what is to be put right. Raises InvalidInput without it, Conflict, NotFound."""
    found, _ = _waiting(session, approval_id)
    if not note.strip():
        raise InvalidInput("note", "must say what is to be put right")
    _settle(session, found, "refused", note, now, by)
    return found


def _check_times(row: Campaign, wanted: AskIn, now: datetime) -> None:
    if row.state in LEFT and wanted.due_at is not None:
        raise InvalidInput("due_at", "is for campaigns that have not begun; a change counts from starts_at on")
    if row.state not in LEFT and wanted.starts_at is not None:
        raise InvalidInput("starts_at", "is for campaigns whose mails have left")
    for field, moment in (("due_at", wanted.due_at), ("starts_at", wanted.starts_at)):
        if moment is None:
            continue
        check_year(moment, field)
        if moment <= now:
            raise InvalidInput(field, "is over; leave it out for as soon as it is approved")


def _ready(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    row: Campaign,
    due_at: datetime | None,
    starts_at: datetime | None,
    now: datetime,
    *,
    is_sending: bool,
) -> tuple[Version, list[str]]:
    """The version that is written, once it could go out, and what is to be said of its mail. Raises InvalidInput,
    Conflict."""
    plan, compiled = compiling.compile_campaign(session, row)
    for verdict in scenarios.ask(session, store, blobs, row, plan, compiled, now):
        if not verdict.passed:
            raise Conflict(scenarios.failed(verdict))
    told = findings.findings(row, plan, compiled, is_sending=is_sending) + findings.unlowered(session, plan, now)
    for one in told:
        if one.level == "error":
            raise Conflict(f"The mail: {one.words}")
    mail_hash = digest(mail.encode(compiled))
    found = approvals.version(session, row, digest(encode(plan)), mail_hash, due_at, starts_at)
    return found, [one.words for one in told]


def _waiting(session: Session, approval_id: int) -> tuple[Approval, Campaign]:
    """A version that nobody has said a word on yet, with its campaign, both held. Raises NotFound, Conflict."""
    found = session.get(Approval, approval_id)
    if found is None:
        raise NotFound("approval", approval_id)
    row = publish.locked(session, found.campaign_id)
    session.refresh(found)
    if found.state != "asked":
        raise Conflict(f"This version is {found.state} already.")
    return found, row


def _end(session: Session, campaign_id: int, state: str, now: datetime, by: Actor, why: str) -> None:
    """Make void what was asked for, or approved, before."""
    session.execute(
        update(Approval)
        .where(Approval.campaign_id == campaign_id, Approval.state == state)
        .values({"state": "void"} | ({"settled_at": now, "settled_note": why} if state == "asked" else {}))
    )
    session.flush()


def _settle(session: Session, found: Approval, state: str, note: str, now: datetime, by: Actor) -> None:
    if len(note) > MAX_NOTE:
        raise InvalidInput("note", f"must have at most {MAX_NOTE} characters")
    found.state, found.settled_note, found.settled_at = state, note.strip(), now
    found.settled_by, found.settled_id = by.name, by.user_id
    session.flush()
    action = "approve" if state == "approved" else "refuse approval"
    admin_log.record(session, by, action, "campaign", found.campaign_id, now, after=_told(found))


def _told(row: Approval) -> dict[str, object]:
    """What the admin log keeps of it: which version, by its hash; what it holds stands with the approval."""
    shown = {name: value for name, value in admin_log.snapshot(row).items() if name != "content"}
    return shown | {"plan": row.content["plan"], "mail": row.content["mail"]}
