"""The page of audience exports: which segments are told to whom, how far, and files for channels without a receiver."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from base.errors import Conflict, InvalidInput
from campaigns import access_log, receivers, segments
from campaigns.access import allow
from campaigns.exports import file_name
from campaigns.matchkeys import FORMATS
from campaigns.parts import parts
from campaigns.receivers import ExportIn
from campaigns.views import forms
from campaigns.views.acting import actor

pages = Blueprint("exports", __name__, url_prefix="/exports")
FORMAT_WORDS = {"google": "Google Customer Match", "meta": "Meta Custom Audiences", "generic": "another tool"}


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """Every export."""
    return _page(None, {})


@pages.post("/")
@allow("manager")
def create() -> ResponseReturnValue:
    """Have a segment exported. The secret of its receiver is on the page that follows, and nowhere else later."""
    form = request.form
    try:
        number = forms.text(form, "segment")
        given = {
            "name": forms.text(form, "name"),
            "segment": int(number) if number.isdigit() and len(number) < 10 else 0,
            "format": forms.text(form, "format") or "generic",
            "url": forms.text(form, "url") or None,
        }
        try:
            wanted = msgspec.convert(given, ExportIn)
        except msgspec.ValidationError as error:
            raise InvalidInput(str(error).partition("`$.")[2].rstrip("`"), "is missing or not sound") from None
        with parts().transaction() as session:
            row, secret = receivers.create(session, wanted, parts().settings, parts().now(), actor())
            name = row.name
    except (InvalidInput, Conflict) as error:
        return _page(error, form), 400
    return _page(None, {}, made=(name, secret))


@pages.post("/<int:export_id>/act")
@allow("manager")
def act(export_id: int) -> ResponseReturnValue:
    """Pause, resume or end an export."""
    try:
        with parts().transaction() as session:
            row = receivers.act(session, export_id, request.form.get("action", ""), parts().now(), actor())
            flash(
                {"paused": "Nobody is added any more.", "ending": "Everybody is being removed."}.get(row.state, "On.")
            )
    except (InvalidInput, Conflict) as error:
        return _page(error, {}), 400
    return redirect(url_for("exports.index"))


@pages.get("/<int:export_id>/file")
@allow("manager")
def file(export_id: int) -> ResponseReturnValue:
    """What is to be loaded next, as a file."""
    with parts().transaction() as session:
        row, told = receivers.pending(session, export_id, parts().now())
        access_log.record(session, actor(), "audience export", parts().now(), detail={"export": export_id})
        text = "".join(receivers.lines(row, told))
    name = f"audience-{export_id}-{told.name.rpartition('_')[2][:8]}.csv"
    heads = {"Content-Disposition": f'attachment; filename="{name}"', "Latebind-Batch": told.name}
    return Response(text, mimetype="text/csv", headers=heads)


@pages.post("/<int:export_id>/file")
@allow("manager")
def confirm(export_id: int) -> ResponseReturnValue:
    """Note that the file was loaded."""
    try:
        with parts().transaction() as session:
            receivers.confirm(session, export_id, request.form.get("batch", ""), parts().now(), actor())
    except Conflict as error:
        return _page(error, {}), 400
    flash("Noted. The next file holds what changes from now on.")
    return redirect(url_for("exports.index"))


def _page(
    fault: InvalidInput | Conflict | None, values: Mapping[str, str], made: tuple[str, str | None] | None = None
) -> str:
    with parts().transaction() as session:
        found = receivers.listing(session)
        return render_template(
            "exports/index.html",
            exports=found,
            files={one.row.id: file_name(session, one.row.id) for one in found if one.row.url is None},
            segments=segments.segments(session),
            formats=FORMATS,
            format_words=FORMAT_WORDS,
            fault=fault,
            values=values,
            made=made,
        )
