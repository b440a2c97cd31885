"""The receivers of audience exports: made with a secret that is shown once, paused, resumed, ended by removing all."""

from __future__ import annotations

import base64
import csv
import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.downloads import Downloads
from base.errors import Conflict, InvalidInput, NotFound
from base.sealing import seal
from base.settings import Settings
from campaigns import admin_log, exports, segments
from campaigns.admin_log import Actor
from campaigns.exports import Changes
from campaigns.matchkeys import COLUMNS
from campaigns.models.campaign import Segment
from campaigns.models.exports import AudienceExport, ExportMember

SEALED_AS: Final = b"audience export"
SECRET_BYTES: Final = 32
MAX_EXPORTS: Final = 200
ACTIONS: Final = {"pause": ("active", "paused"), "resume": ("paused", "active")}
"""What a person may do to an export: from which state to which; `end` goes from both to ending."""


class ExportIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is exported, to whom, in which form. Without `url` it is fetched as a file."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
    segment: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    format: Literal["google", "meta", "generic"] = "generic"
    url: Annotated[str, msgspec.Meta(max_length=2000)] | None = None


@dataclass(frozen=True)
class Kept:
    """An export with its segment's name and how far its receiver is told."""

    row: AudienceExport
    segment: str
    standing: exports.Standing


def create(
    session: Session, given: ExportIn, settings: Settings, now: datetime, by: Actor
) -> tuple[AudienceExport, str | None]:
    """Keep an export; with the secret that its receiver checks signatures by, which cannot be told again.

    Raises InvalidInput, NotFound for the segment, Conflict when the name is taken.
    """
    name = " ".join(given.name.split())
    if not name:
        raise InvalidInput("name", "must not be empty")
    if session.scalar(select(AudienceExport.id).where(AudienceExport.name == name)) is not None:
        raise Conflict("Another export has this name.")
    if len(session.scalars(select(AudienceExport.id).limit(MAX_EXPORTS)).all()) >= MAX_EXPORTS:
        raise Conflict(f"There are {MAX_EXPORTS} exports already.")
    segments.segment(session, given.segment)
    secret: bytes | None = None
    if given.url is not None:
        Downloads(loopback=settings.fetch_loopback, named="url").check(given.url)
        secret = secrets.token_bytes(SECRET_BYTES)
    row = AudienceExport(
        name=name, segment_id=given.segment, format=given.format, url=given.url, state="active", attempts=0,
        secret=seal(secret, settings.subject_key, SEALED_AS) if secret else None, created_at=now,
    )  # fmt: skip
    session.add(row)
    session.flush()
    admin_log.record(session, by, "create", "audience export", row.id, now, after=_told(row))
    return row, f"whsec_{base64.b64encode(secret).decode()}" if secret else None


def act(session: Session, export_id: int, action: str, now: datetime, by: Actor) -> AudienceExport:
    """Pause, resume or end an export; ended, everybody is removed at the receiver. Raises Conflict, InvalidInput."""
    row = export(session, export_id)
    before = _told(row)
    if action == "end" and row.state in ("active", "paused"):
        row.state = "ending"
        if row.url is None:
            # Whoever fetches the file tells of the removals; where nobody is known, there is nothing to tell.
            exports.sync(session, row, now)
            row.state = "ending" if exports.standing(session, row.id).removals else "ended"
    elif action in ACTIONS and row.state == ACTIONS[action][0]:
        row.state = ACTIONS[action][1]
    elif action not in (*ACTIONS, "end"):
        raise InvalidInput("action", f"must be one of {', '.join((*ACTIONS, 'end'))}")
    else:
        raise Conflict(f"The export is {row.state}.")
    row.synced_at = row.not_before = None
    admin_log.record(session, by, action, "audience export", row.id, now, before=before, after=_told(row))
    return row


def export(session: Session, export_id: int) -> AudienceExport:
    """One export. Raises NotFound."""
    row = session.get(AudienceExport, export_id)
    if row is None:
        raise NotFound("audience export", export_id)
    return row


def listing(session: Session) -> list[Kept]:
    """Every export by name."""
    rows = session.execute(
        select(AudienceExport, Segment.name)
        .join(Segment, Segment.id == AudienceExport.segment_id)
        .order_by(AudienceExport.name)
    )
    return [Kept(row, name, exports.standing(session, row.id)) for row, name in rows]


def pending(session: Session, export_id: int, now: datetime) -> tuple[AudienceExport, Changes]:
    """What the next file of an export holds, at most 100,000 of each: who came and left since the last confirmed one.

    Who is in a file counts as perhaps known from then on, whether it is ever confirmed or not. Raises Conflict for an
    export that has a receiver of its own.
    """
    row = _by_file(session, export_id)
    exports.sync(session, row, now)
    told = replace(
        exports.changes(session, row, exports.MAX_FILE, recheck=False), name=exports.file_name(session, row.id)
    )
    exports.offer(told)
    return row, told


def _by_file(session: Session, export_id: int) -> AudienceExport:
    row = export(session, export_id)
    if row.url is not None:
        raise Conflict("This export is told to its receiver, and not fetched as a file.")
    return row


def confirm(session: Session, export_id: int, batch: str, now: datetime, by: Actor) -> Changes:
    """Note that the file of this name was loaded where it belongs. Raises Conflict when it is not the newest."""
    row = _by_file(session, export_id)
    if exports.file_name(session, row.id) != batch:
        raise Conflict("There is a newer file than this one: fetch it anew.")
    told = exports.changes(session, row, exports.MAX_FILE, recheck=False)
    exports.confirm(session, row.id, told)
    row.told_at = now
    if row.state == "ending":
        row.state = "ended" if not exports.standing(session, row.id).removals else row.state
    after = {"additions": len(told.additions), "removals": len(told.removals), "batch": batch}
    admin_log.record(session, by, "confirm file", "audience export", row.id, now, after=after)
    return told


def lines(row: AudienceExport, told: Changes) -> Iterator[str]:
    """The file: a line a person, removals first, with the columns that the channel's own files have."""
    email, phone = COLUMNS[row.format]
    yield f"Operation,{email},{phone}\r\n"
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    parts: tuple[tuple[str, list[ExportMember]], ...] = (("remove", told.removals), ("add", told.additions))
    for operation, members in parts:
        for member in members:
            writer.writerow([operation, member.names.get("email", ""), member.names.get("phone", "")])
    yield buffer.getvalue()


def _told(row: AudienceExport) -> dict[str, Any]:
    return {"name": row.name, "segment": row.segment_id, "format": row.format, "url": row.url, "state": row.state}
