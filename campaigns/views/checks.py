"""What is checked before a campaign goes out, on one page: its scenarios, a second person's approval, the lock."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from msgspec import UNSET
from sqlalchemy.orm import Session

from base.errors import Conflict, Forbidden, InvalidInput
from campaigns import approvals, approving, authorship, campaigns, compiling, findings, locks, scenarios, textcompose
from campaigns.access import allow
from campaigns.approving import AskIn
from campaigns.findings import Finding
from campaigns.mail import CompiledMail
from campaigns.models import Approval, Campaign
from campaigns.parts import parts
from campaigns.textcompose import Sample
from campaigns.texts import CompiledText
from campaigns.views import forms
from campaigns.views.acting import actor
from campaigns.views.approvals import told as approvals_told
from campaigns.views.campaigns import frame

pages = Blueprint("checks", __name__, url_prefix="/campaigns/<int:campaign_id>/checks")
Refusal = InvalidInput | Conflict | Forbidden


@pages.get("/")
@allow("manager", "approver")
def show(campaign_id: int) -> ResponseReturnValue:
    """All checks of the campaign as it is written now."""
    with parts().transaction() as session:
        return _page(session, campaigns.campaign(session, campaign_id), None)


@pages.post("/ask")
@allow("manager")
def ask(campaign_id: int) -> ResponseReturnValue:
    """Ask for a second person's approval."""

    def do(session: Session) -> str:
        row = campaigns.campaign(session, campaign_id)
        zone = forms.text(request.form, "timezone") or row.timezone
        if row.state not in approvals.LEFT and zone != row.timezone:
            content = forms.changed(campaigns.content(row), timezone=zone)
            campaigns.update_campaign(session, row.id, content, parts().now(), actor())
        wanted = AskIn(
            due_at=forms.moment(request.form, "due_at", zone),
            starts_at=forms.moment(request.form, "starts_at", zone),
            note=forms.text(request.form, "note", most=approving.MAX_NOTE),
        )
        approving.ask(
            session,
            parts().store,
            parts().blobs,
            campaign_id,
            wanted,
            parts().now(),
            actor(),
            is_sending=parts().settings.is_sending,
        )
        return "Asked for: whoever approves finds it under Approvals."

    return _done(campaign_id, do)


@pages.post("/approve/<int:approval_id>")
@allow("approver")
def approve(campaign_id: int, approval_id: int) -> ResponseReturnValue:
    """Approve this very version: it goes out at its time."""

    def do(session: Session) -> str:
        note = forms.text(request.form, "note", most=approving.MAX_NOTE)
        now, by = parts().now(), actor()
        approving.approve(
            session,
            parts().store,
            parts().blobs,
            _of(session, campaign_id, approval_id),
            note,
            now,
            by,
            is_sending=parts().settings.is_sending,
        )
        return "Approved."

    return _done(campaign_id, do)


@pages.post("/refuse/<int:approval_id>")
@allow("approver")
def refuse(campaign_id: int, approval_id: int) -> ResponseReturnValue:
    """Send it back with a word on what is to be put right."""

    def do(session: Session) -> str:
        note = forms.text(request.form, "note", most=approving.MAX_NOTE)
        approving.refuse(session, _of(session, campaign_id, approval_id), note, parts().now(), actor())
        return "Sent back."

    return _done(campaign_id, do)


@pages.post("/lock")
@allow("manager")
def lock(campaign_id: int) -> ResponseReturnValue:
    """Let nobody change it."""

    def do(session: Session) -> str:
        locks.lock(session, campaigns.campaign(session, campaign_id), parts().now(), actor())
        return "Locked: nothing of it changes until somebody unlocks it."

    return _done(campaign_id, do)


@pages.post("/unlock")
@allow("manager")
def unlock(campaign_id: int) -> ResponseReturnValue:
    """Let it be changed again."""

    def do(session: Session) -> str:
        locks.unlock(session, campaigns.campaign(session, campaign_id), parts().now(), actor())
        return "Unlocked."

    return _done(campaign_id, do)


@pages.get("/fields")
@allow("manager", "approver")
def fields(campaign_id: int) -> ResponseReturnValue:
    """How many of the audience have none of what the mail prints; a part of the page."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        try:
            plan, mail = compiling.compile_campaign(session, row)
            told = findings.lacking(session, row, plan, mail, parts().now(), parts().settings.hash_key)
        except InvalidInput as error:
            return render_template("campaigns/fields.html", fault=error)
        return render_template("campaigns/fields.html", lacking=told, findings=findings.of_nobody(told))


def _of(session: Session, campaign_id: int, approval_id: int) -> int:
    """The number of an approval of this campaign; of another's, one that there is not."""
    found = session.get(Approval, approval_id)
    return approval_id if found is not None and found.campaign_id == campaign_id else 0


def _done(campaign_id: int, do: Callable[[Session], str]) -> ResponseReturnValue:
    """Do it and say so; a refusal is shown on the page and changes nothing."""
    try:
        with parts().transaction() as session:
            said = do(session)
    except (InvalidInput, Conflict, Forbidden) as error:
        with parts().transaction() as session:
            status = 403 if isinstance(error, Forbidden) else 400
            return _page(session, campaigns.campaign(session, campaign_id), error), status
    flash(said)
    return redirect(url_for("checks.show", campaign_id=campaign_id))


def _message(row: Campaign, mail: CompiledMail) -> tuple[CompiledText | None, dict[str, Sample]]:
    """The text or push message that goes in the mail's place, and every version as it arrives."""
    if mail.message is UNSET:
        return None, {}
    settings = parts().settings
    base = settings.render_base(row.brand)
    return mail.message, textcompose.samples(mail.message, row.id, row.brand, settings.hash_key, base)


def _page(session: Session, row: Campaign, fault: Refusal | None) -> str:
    try:
        plan, mail = compiling.compile_campaign(session, row)
        verdicts = scenarios.ask(session, parts().store, parts().blobs, row, plan, mail, parts().now())
        of_mail = findings.findings(row, plan, mail, is_sending=parts().settings.is_sending)
        told: list[Finding] | None = of_mail + findings.unlowered(session, plan, parts().now())
        message, samples = _message(row, mail)
    except InvalidInput:
        # What keeps it from being compiled stands above the page.
        verdicts, told, message, samples = [], None, None, {}
    history = approvals.history(session, row.id)
    standing = next((one for one in history if one.state == "approved"), None)
    asked = next((one for one in history if one.state == "asked"), None)
    own = asked is not None and bool(authorship.persons(session, actor()) & authorship.authors(session, row, asked))
    return render_template(
        "campaigns/checks.html",
        **frame(session, row, "checks"),
        fault=fault,
        values=request.form if fault is not None else {},
        findings=told,
        message=message,
        samples=samples,
        scenarios=scenarios.scenarios(session, row.id),
        verdicts={one.scenario: one for one in verdicts},
        required=approvals.is_required(session, *approvals.brands(session, row)),
        asked=asked,
        standing=standing,
        stands=standing is not None and approvals.stands(session, row, standing),
        own=own,
        may_approve=current_user.may("approver") and not own,
        history=approvals_told(session, history),
        has_left=row.state in approvals.LEFT,
    )
