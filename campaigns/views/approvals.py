"""What waits for a second person's word, over all campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from campaigns import approvals, people
from campaigns.access import allow
from campaigns.models import Approval
from campaigns.parts import parts

pages = Blueprint("approvals", __name__, url_prefix="/approvals")
LISTED = 50
STATES = {"asked": "waits", "approved": "approved", "refused": "sent back", "void": "void"}
COLOURS = {"asked": "yellow", "approved": "green", "refused": "red", "void": "secondary"}


@pages.get("/")
@allow("manager", "approver")
def index() -> ResponseReturnValue:
    """What waits for somebody's word, and what was said last."""
    with parts().transaction() as session:
        return render_template("campaigns/approvals.html", rows=told(session, approvals.newest(session, LISTED)))


def told(session: Session, found: Sequence[Approval]) -> list[dict[str, Any]]:
    """Approvals as pages tell of them."""
    return [
        {
            "id": one.id,
            "campaign": one.campaign_id,
            "name": one.content["campaign"]["name"],
            "state": STATES[one.state],
            "colour": COLOURS[one.state],
            "due_at": one.due_at,
            "starts_at": one.starts_at,
            "asked_at": one.asked_at,
            "asked_by": people.name_of(session, one.asked_id, one.asked_by),
            "note": one.note,
            "settled_at": one.settled_at,
            "settled_by": people.name_of(session, one.settled_id, one.settled_by),
            "settled_note": one.settled_note,
            "plan": one.content["plan"],
        }
        for one in found
    ]
