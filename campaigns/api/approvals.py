"""Approval by a second person, and the lock, for programs."""

from __future__ import annotations

from typing import Any

import msgspec

from campaigns import approvals, approving, campaigns, locks
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.approvals import Rule
from campaigns.approving import AskIn, Note
from campaigns.models import Approval as ApprovalRow
from campaigns.parts import parts
from campaigns.views.acting import actor

LISTED = 200


class Approval(msgspec.Struct, frozen=True):
    """A version that somebody asked for. `content` is all that it covers, and `version` the SHA-256 of that.

    `stands` says of an approved one whether the campaign is that version still.
    """

    id: int
    campaign: int
    state: str
    version: str
    due_at: str | None
    starts_at: str | None
    note: str
    asked_at: str
    asked_by: str
    settled_at: str | None
    settled_by: str | None
    settled_note: str
    stands: bool
    content: dict[str, Any]


class Approvals(msgspec.Struct, frozen=True):
    """Versions that somebody asked for."""

    approvals: list[Approval]


class NoteIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A word on it; compulsory when it is sent back."""

    note: Note = ""


class Rules(msgspec.Struct, frozen=True):
    """Whether campaigns need approval: by brand, and "" for all without a rule of their own."""

    rules: list[Rule]


@api.get("/approvals")
@allow("manager", "approver")
@served(200, Approvals, "approvals")
def list_approvals() -> Approvals:
    """What waits for somebody's word over all campaigns, and then what was said last."""
    with parts().transaction() as session:
        return Approvals([_out(one, stands=False) for one in approvals.newest(session, LISTED)])


@api.get("/campaigns/<int:campaign_id>/approvals")
@allow("manager", "approver")
@served(200, Approvals, "approvals", 404)
def list_campaign_approvals(campaign_id: int) -> Approvals:
    """Every version of a campaign that was asked for, the newest first: who asked, who approved, and when."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        found = approvals.history(session, row.id)
        return Approvals(
            [_out(one, stands=one.state == "approved" and approvals.stands(session, row, one)) for one in found]
        )


@api.post("/campaigns/<int:campaign_id>/approvals")
@allow("manager")
@served(201, Approval, "approvals", 404, 409)
def ask_for_approval(campaign_id: int, json: AskIn) -> tuple[Approval, int]:
    """Ask for the approval of the campaign as it is written now, and of when it goes out."""
    with parts().transaction() as session:
        made = approving.ask(
            session,
            parts().store,
            parts().blobs,
            campaign_id,
            json,
            parts().now(),
            actor(),
            is_sending=parts().settings.is_sending,
        )
        return _out(made, stands=False), 201


@api.post("/approvals/<long:approval_id>/approve")
@allow("approver")
@served(200, Approval, "approvals", 404, 409)
def approve_version(approval_id: int, json: NoteIn) -> Approval:
    """Approve this very version: it is published and goes out, or is shown, at its time.

    403 for whoever wrote or asked for it.
    """
    with parts().transaction() as session:
        now, by = parts().now(), actor()
        made = approving.approve(
            session,
            parts().store,
            parts().blobs,
            approval_id,
            json.note,
            now,
            by,
            is_sending=parts().settings.is_sending,
        )
        return _out(made, stands=True)


@api.post("/approvals/<long:approval_id>/refuse")
@allow("approver")
@served(200, Approval, "approvals", 404, 409)
def refuse_version(approval_id: int, json: NoteIn) -> Approval:
    """Send a version back, saying what is to be put right."""
    with parts().transaction() as session:
        return _out(approving.refuse(session, approval_id, json.note, parts().now(), actor()), stands=False)


@api.post("/campaigns/<int:campaign_id>/lock")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def lock_campaign(campaign_id: int) -> Done:
    """Let nothing that is written of it change, and nothing else be published."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        locks.lock(session, row, parts().now(), actor())
        return Done(state=row.state)


@api.post("/campaigns/<int:campaign_id>/unlock")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def unlock_campaign(campaign_id: int) -> Done:
    """Let it be changed again."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        locks.unlock(session, row, parts().now(), actor())
        return Done(state=row.state)


@api.get("/system/approval")
@allow("admin", "manager", "approver")
@served(200, Rules, "system")
def show_approval_rules() -> Rules:
    """Whether campaigns need a second person's approval."""
    with parts().transaction() as session:
        return Rules([Rule(brand=one.brand, required=one.required) for one in approvals.rules(session)])


@api.put("/system/approval")
@allow("admin")
@served(200, Rules, "system")
def set_approval_rule(json: Rule) -> Rules:
    """Say whether campaigns of a brand, or all of them, need a second person's approval before their mails leave."""
    with parts().transaction() as session:
        approvals.set_rule(session, json, parts().now(), actor())
        return Rules([Rule(brand=one.brand, required=one.required) for one in approvals.rules(session)])


def _out(row: ApprovalRow, *, stands: bool) -> Approval:
    def told(name: str) -> str | None:
        moment = getattr(row, name)
        return moment.isoformat() if moment is not None else None

    return Approval(
        id=row.id,
        campaign=row.campaign_id,
        state=row.state,
        version=row.version,
        due_at=told("due_at"),
        starts_at=told("starts_at"),
        note=row.note,
        asked_at=row.asked_at.isoformat(),
        asked_by=_named(row.asked_by, row.asked_id) or "",
        settled_at=told("settled_at"),
        settled_by=_named(row.settled_by, row.settled_id),
        settled_note=row.settled_note,
        stands=stands,
        content=row.content,
    )


def _named(name: str | None, user_id: int | None) -> str | None:
    return f"user {user_id}" if user_id is not None else name
