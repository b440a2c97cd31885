"""The raw events of a campaign's mails as a file."""

from __future__ import annotations

from flask import Blueprint, Response, abort
from flask.typing import ResponseReturnValue

from campaigns import access_log, campaigns, messageevents
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views.acting import actor

pages = Blueprint("messageevents", __name__, url_prefix="/campaigns")
TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


@pages.get("/<int:campaign_id>/events.<form>")
@allow("manager")
def export(campaign_id: int, form: str) -> ResponseReturnValue:
    """All of them, as lines of JSON or CSV, without names or addresses."""
    if form not in TYPES:
        abort(404)
    own = parts()
    with own.transaction() as session:
        campaigns.campaign(session, campaign_id)
        access_log.record(session, actor(), "events export", own.now(), detail={"campaign": campaign_id})
    response = Response(messageevents.lines(own.transaction, campaign_id, form), content_type=TYPES[form])
    response.headers["Content-Disposition"] = f"attachment; filename=campaign-{campaign_id}-events.{form}"
    return response
