"""Audience exports for programs: who is told of which segment, how far, and the files of those without a receiver."""

from __future__ import annotations

import msgspec
from flask import Response

from campaigns import access_log, exports, receivers
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.parts import parts
from campaigns.receivers import ExportIn
from campaigns.views.acting import actor


class ExportOut(msgspec.Struct, frozen=True):
    """One export: its people, what is still to be told, and what went wrong last. `secret` is told once, when made.

    `unconfirmed` people were erased, and the receiver never said that it removed them: have them deleted there.
    """

    id: int
    name: str
    segment: int
    format: str
    url: str | None
    state: str
    members: int
    additions: int
    removals: int
    unconfirmed: int
    fault: str | None
    told_at: str | None
    secret: str | None = None


class ExportsOut(msgspec.Struct, frozen=True):
    """Every export by name."""

    exports: list[ExportOut]


class ActIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """pause: nobody is added; resume; end: everybody is removed at the receiver."""

    action: str


class BatchIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that was loaded, as its header Latebind-Batch names it."""

    batch: str


def _out(kept: receivers.Kept, secret: str | None = None) -> ExportOut:
    row, standing = kept.row, kept.standing
    return ExportOut(
        row.id, row.name, row.segment_id, row.format, row.url, row.state, standing.members, standing.additions,
        standing.removals, standing.lost, row.fault, row.told_at.isoformat() if row.told_at else None, secret,
    )  # fmt: skip


@api.get("/exports")
@allow("manager")
@served(200, ExportsOut, "exports")
def list_exports() -> ExportsOut:
    """Every audience export."""
    with parts().transaction() as session:
        return ExportsOut([_out(one) for one in receivers.listing(session)])


@api.post("/exports")
@allow("manager")
@served(201, ExportOut, "exports", 404, 409)
def create_export(json: ExportIn) -> tuple[ExportOut, int]:
    """Have a receiver told of a segment from now on, or have it fetched as files."""
    with parts().transaction() as session:
        row, secret = receivers.create(session, json, parts().settings, parts().now(), actor())
        return _out(receivers.Kept(row, "", exports.standing(session, row.id)), secret), 201


@api.post("/exports/<int:export_id>/act")
@allow("manager")
@served(200, Done, "exports", 404, 409)
def act_on_export(export_id: int, json: ActIn) -> Done:
    """Pause, resume or end an export."""
    with parts().transaction() as session:
        return Done(state=receivers.act(session, export_id, json.action, parts().now(), actor()).state)


@api.get("/exports/<int:export_id>/file")
@allow("manager")
@served(200, None, "exports", 404, 409)
def get_export_file(export_id: int) -> Response:
    """What is to be loaded next, as CSV of hashed names; it stays the same until it is confirmed or people change."""
    with parts().transaction() as session:
        row, told = receivers.pending(session, export_id, parts().now())
        detail = {"export": export_id, "additions": len(told.additions), "removals": len(told.removals)}
        access_log.record(session, actor(), "audience export", parts().now(), detail=detail)
        text = "".join(receivers.lines(row, told))
    return Response(text, mimetype="text/csv", headers={"Latebind-Batch": told.name})


@api.post("/exports/<int:export_id>/file")
@allow("manager")
@served(200, Done, "exports", 404, 409)
def confirm_export_file(export_id: int, json: BatchIn) -> Done:
    """Say that a file was loaded; the next one holds what changed since."""
    with parts().transaction() as session:
        receivers.confirm(session, export_id, json.batch, parts().now(), actor())
    return Done(state="confirmed")
