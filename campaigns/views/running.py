"""Campaigns while they run: the count, the schedule with its switches, live progress, the ledger and the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from base.counting import count
from base.errors import Conflict, InvalidInput
from campaigns import (
    access_log,
    accounting,
    approvals,
    arms,
    audience,
    campaigns,
    customers,
    deliveries,
    disagreement,
    editions,
    exits,
    fairness,
    goals,
    killswitch,
    ledgerfile,
    mailreports,
    plans,
    profit,
    publish,
    recipients,
    reckoning,
    rulebook,
    runs,
    scenarios,
    scores,
    settling,
    timingform,
    transitions,
    waiting,
    wallclock,
    wording,
)
from campaigns.access import allow
from campaigns.admin_log import Actor
from campaigns.guardreport import guard_report
from campaigns.models import Campaign, Delivery
from campaigns.parts import parts
from campaigns.reports import report
from campaigns.views import chosen, forms, timing
from campaigns.views.acting import actor
from campaigns.views.campaigns import frame

pages = Blueprint("running", __name__, url_prefix="/campaigns")
LISTED = 50
TYPED = ("schedule", "timing", "goal", "costs")
"""Buttons of forms that somebody typed in."""
FAILED = ("failed", "refused", "unsent")
"""Lists of the ledger whose mails can be sent again."""


@pages.get("/<int:campaign_id>/audience/count")
@allow("manager", "approver")
def audience_count(campaign_id: int) -> ResponseReturnValue:
    """How many would be mailed now, and why others would not; a part of the audience page."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        try:
            counted = audience.count(session, row.id, parts().now(), parts().settings.hash_key)
        except InvalidInput as error:
            return render_template("campaigns/count.html", fault=error)
        scored = scores.as_of(session, [rulebook.expanded(session, row.audience), row.suppress])
        return render_template(
            "campaigns/count.html",
            counted=counted,
            words=wording.reason_words(row.channel),
            at=parts().now(),
            scored=scored,
            mode=timingform.joins(row),
        )


@pages.get("/<int:campaign_id>/schedule")
@allow("manager")
def schedule(campaign_id: int) -> ResponseReturnValue:
    """When it goes out, and the switches."""
    with parts().transaction() as session:
        return _schedule_page(session, campaigns.campaign(session, campaign_id), None)


@pages.post("/<int:campaign_id>/schedule")
@allow("manager")
def act(campaign_id: int) -> ResponseReturnValue:
    """Do what the pressed button says; a refusal is shown on the page and changes nothing."""
    try:
        with parts().transaction() as session:
            done = _act(session, campaign_id, request.form.get("do", ""))
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            page = _schedule_page(session, campaigns.campaign(session, campaign_id), error)
            return page, 409 if isinstance(error, Conflict) else 400
    flash(done)
    return redirect(url_for("running.schedule", campaign_id=campaign_id))


@pages.get("/<int:campaign_id>/progress")
@allow("manager")
def progress(campaign_id: int) -> ResponseReturnValue:
    """The ledger's counts now; the schedule page asks for it again and again, with the state that it shows.

    Once that is another, the switches come with it and an event says so, for which app.js loads the page anew.
    """
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        told = _progress(session, row) | {"moved": request.args.get("state", row.state) != row.state}
        needs_approval = approvals.is_required(session, *approvals.brands(session, row))
        page = render_template("campaigns/progress.html", campaign=row, needs_approval=needs_approval, **told)
    return page, {"HX-Trigger": "campaign-moved"} if told["moved"] else {}


@pages.get("/<int:campaign_id>/results")
@allow("manager")
def results(campaign_id: int) -> ResponseReturnValue:
    """What came of it."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        return render_template(
            "campaigns/results.html",
            **frame(session, row, "results"),
            report=report(session, row.id),
            disagreeing=disagreement.counted(session, row.id),
            changed=_changed(session, row, parts().now()),
            as_of=reckoning.as_of(session, row.id),
            exit_words=exits.EXITS,
            account=accounting.account(session, row.id),
            later=mailreports.counts(session, row.id),
            reasons=accounting.reasons(session, row.id),
            state_words=wording.state_words(row.channel),
            words=wording.reason_words(row.channel),
        )


def _changed(session: Session, row: Campaign, now: datetime) -> dict[str, object] | None:
    """What the campaign changed, counted of everybody who was mailed; None before that was counted."""
    try:
        return {
            "outcomes": goals.outcomes(session, row.id, now),
            "checks": arms.checks(session, row),
            "earned": profit.profit(session, row.id, now),
            "left": exits.exits(session, parts().blobs, row, now),
            "guard": guard_report(session, row.id) if row.guard != "off" else None,
        }
    except reckoning.NotCounted:
        return None


@pages.get("/<int:campaign_id>/fairness")
@allow("manager")
def fair(campaign_id: int) -> ResponseReturnValue:
    """How often people of protected groups were shown each offer."""
    named = [name.strip() for name in forms.text(request.args, "traits").split(",") if name.strip()]
    traits = tuple(dict.fromkeys(named)) or fairness.TRAITS
    with parts().transaction() as session:
        told = frame(session, campaigns.campaign(session, campaign_id), "results")
        told |= {"traits": traits, "least": fairness.MIN_PEOPLE, "percent": request.args.get("percent", "80")}
        try:
            limit = forms.share(request.args, "percent") or fairness.LIMIT
            found = fairness.groups(session, campaign_id, traits, limit)
        except InvalidInput as error:
            return render_template("campaigns/fairness.html", **told, fault=error, groups=[]), 400
        return render_template("campaigns/fairness.html", **told, limit=limit, groups=found)


@pages.get("/<int:campaign_id>/ledger")
@allow("manager", "support")
def ledger(campaign_id: int) -> ResponseReturnValue:
    """Who was sent it, who was not and why; unknown ones can be settled here."""
    state, reason = _part(request.args)
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        after = forms.position(request.args, "after")
        rows = accounting.listing(session, row.id, state=state, reason=reason, after=after, limit=LISTED)
        access_log.record(session, actor(), "ledger", parts().now(), detail={"campaign": row.id, "rows": len(rows)})
        return render_template(
            "campaigns/ledger.html",
            campaign=row,
            rows=rows,
            names=_names(session, rows) if current_user.may("support") else {},
            state=state,
            reason=reason,
            kinds=accounting.kinds(session, row.id, state=state),
            account=accounting.account(session, row.id),
            unsent=accounting.unsent(session, row.id),
            may_send_again=row.state in settling.RETRIED and state in FAILED and current_user.may("manager"),
            state_words=wording.state_words(row.channel),
            words=wording.reason_words(row.channel),
            ours=deliveries.is_our_fault,
            told=wording.TOLD_STATES,
            more=len(rows) == LISTED,
        )


@pages.get("/<int:campaign_id>/ledger.csv")
@allow("manager")
def export(campaign_id: int) -> ResponseReturnValue:
    """The ledger or a part of it as a file, without names or addresses."""
    state, reason = _part(request.args)
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        access_log.record(session, actor(), "ledger export", parts().now(), detail={"campaign": campaign_id})
    response = Response(ledgerfile.lines(parts(), campaign_id, state, reason), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f"attachment; filename=campaign-{campaign_id}-ledger.csv"
    return response


@pages.post("/<int:campaign_id>/ledger")
@allow("manager")
def send_again(campaign_id: int) -> ResponseReturnValue:
    """Send it to those whose mail failed, or to those of them that are listed."""
    state, reason = _part(request.form)
    state = state if state in FAILED else FAILED[0]
    with parts().transaction() as session:
        number = settling.send_again(session, campaign_id, parts().now(), actor(), state=state, reason=reason)
    rest = " Press again for the others." if number == settling.MAX_AGAIN else ""
    flash(f"{count(number, 'mail')} will be sent again.{rest}")
    return redirect(url_for("running.ledger", campaign_id=campaign_id, state=state))


@pages.post("/<int:campaign_id>/ledger/<long:delivery_id>")
@allow("manager")
def resolve(campaign_id: int, delivery_id: int) -> ResponseReturnValue:
    """A person's word on a mail whose outcome is unknown."""
    with parts().transaction() as session:
        settling.resolve(session, delivery_id, request.form.get("outcome", ""), parts().now(), actor())
    flash("Settled.")
    return redirect(url_for("running.ledger", campaign_id=campaign_id, state="unknown"))


def _act(session: Session, campaign_id: int, what: str) -> str:
    now, by = parts().now(), actor()
    row = campaigns.campaign(session, campaign_id)
    if what in TYPED:
        editions.check(session, row, "campaign", partial(_edition, session, row))
    simple: dict[str, tuple[Callable[[Session, int, datetime, Actor], object], str]] = {
        "unschedule": (transitions.unschedule, "It is a draft again."),
        "pause": (transitions.pause, "Paused: nothing more is sent until you resume."),
        "resume": (transitions.resume, "It goes on."),
        "cancel": (transitions.cancel, "Cancelled. Mails already sent open as before."),
        "leave-out": (transitions.leave_out, "Left out: nobody is mailed by that run."),
    }
    if what in simple:
        move, words = simple[what]
        move(session, campaign_id, now, by)
        return words
    if what == "publish":
        start, is_sending = forms.moment(request.form, "starts_at", row.timezone), parts().settings.is_sending
        publish.publish(
            session, parts().store, parts().blobs, campaign_id, now, by, starts_at=start, is_sending=is_sending
        )
        return f"Published: what you wrote is what is sent and shown from {'then' if start else 'now'} on."
    if what == "schedule":
        return _schedule(session, row, now, by)
    if what == "timing":
        _time(session, row, now, by)
        return "Saved: that is how it goes out."
    if what == "now":
        publish.publish(
            session, parts().store, parts().blobs, campaign_id, now, by, is_sending=parts().settings.is_sending
        )
        transitions.schedule(session, campaign_id, now, now, by, is_sending=parts().settings.is_sending)
        return "It goes out now."
    if what == "goal":
        days = forms.whole(request.form, "window_days")
        goals.name_goal(session, campaign_id, forms.text(request.form, "metric"), days or 0, now, by)
        return "Named: results are counted by it from now on, and by every earlier definition as before."
    if what == "costs":
        return _name_costs(session, row, now, by)
    if what == "test":
        return _send_test(session, campaign_id, now, by)
    if what == "kill":
        offer = forms.whole(request.form, "offer")
        killswitch.kill(session, parts().store, parts().blobs, campaign_id, now, by, offer_id=offer)
        return "Switched off: every mail of it shows its neutral content within a second or two."
    if what == "revive":
        publish.revive(session, parts().store, campaign_id, now, by)
        return "Switched on again."
    raise InvalidInput("do", "asks for something that is not known")


def _edition(session: Session, row: Campaign) -> str:
    """What the forms of the schedule page show."""
    content, goal, terms = campaigns.content(row), goals.current(session, row.id), profit.current(session, row.id)
    due = (row.due_wall, row.due_zone) if row.state in campaigns.NOT_BEGUN else None
    timed = (content.timing, content.repeat, content.ends_at, content.timezone)
    return editions.of(timed, due, goal and goal.version, terms and terms.version, row.currency)


def _schedule(session: Session, row: Campaign, now: datetime, by: Actor) -> str:
    zone = wallclock.zone(forms.text(request.form, "timezone") or row.timezone, "timezone")
    typed = forms.text(request.form, "due_at")
    if not typed:
        raise InvalidInput("due_at", "needs a date and a time")
    wall = wallclock.parse(typed, "due_at")
    if transitions.meant(row, wall, zone).at < now:
        raise InvalidInput("due_at", "is over; to send at once, press Publish and send now")
    _time(session, row, now, by)
    if row.state == "draft":
        publish.publish(session, parts().store, parts().blobs, row.id, now, by, is_sending=parts().settings.is_sending)
    transitions.schedule(session, row.id, wall, now, by, timezone=zone, is_sending=parts().settings.is_sending)
    return "Scheduled."


def _time(session: Session, row: Campaign, now: datetime, by: Actor) -> None:
    """Keep how it goes out, where the form tells it."""
    if forms.on(request.form, "timing"):
        several = {name: request.form.getlist(name) for name in ("window-day", "repeat-day")}
        chosen = forms.changed(campaigns.content(row), **timingform.read(request.form, several, row))
        if chosen != campaigns.content(row):
            campaigns.update_campaign(session, row.id, chosen, now, by)


def _name_costs(session: Session, row: Campaign, now: datetime, by: Actor) -> str:
    margin, days = forms.share(request.form, "margin_share"), forms.whole(request.form, "profit_days") or 0
    back, contact = (forms.cents(request.form, name, most=profit.MAX_CENTS) for name in ("return_cost", "service_cost"))
    chosen = forms.changed(campaigns.content(row), currency=forms.currency(request.form, "currency") or row.currency)
    said = "Named: the profit is told by it from now on."
    if chosen.currency != row.currency:
        campaigns.update_campaign(session, row.id, chosen, now, by)
        said += f" Its results count {chosen.currency} from now on; publish it again, if it was, for its mails."
    profit.name_terms(session, row.id, margin, days, back, contact, now, by)
    return said


def _send_test(session: Session, campaign_id: int, now: datetime, by: Actor) -> str:
    scenario, address = forms.whole(request.form, "scenario"), forms.text(request.form, "address")
    person = "" if scenario is not None else forms.text(request.form, "person")
    found = chosen.search(person) if scenario is None else []
    if scenario is None and len(found) != 1:
        raise InvalidInput("person", "must name exactly one customer")
    row = campaigns.campaign(session, campaign_id)
    if row.state == "draft" and row.locked_at is None:
        # Nobody has a mail of it yet: what is written is shown to the tester alone.
        publish.publish(
            session, parts().store, parts().blobs, campaign_id, now, by, is_sending=parts().settings.is_sending
        )
    whom = [one.profile for one in found]
    if scenario is not None:
        whom = [recipients.of_scenario(session, parts().intake, parts().blobs, campaign_id, scenario, now)]
    transitions.send_test(session, campaign_id, whom, address, now, by)
    return "The test is on its way; its opens count nowhere."


def _schedule_page(session: Session, row: Campaign, fault: InvalidInput | Conflict | None) -> str:
    return render_template(
        "campaigns/schedule.html",
        **frame(session, row, "schedule"),
        edition=_edition(session, row),
        fault=fault,
        versions=plans.versions(session, row.id),
        **_progress(session, row),
        values=request.form,
        goal=goals.current(session, row.id),
        terms=profit.current(session, row.id),
        metrics=goals.METRICS,
        thrown=killswitch.thrown(session, row.id) if row.killed else None,
        stand_ins=killswitch.choices(session, parts().blobs, row),
        **timing.shown(session, row),
        made_up=[one for one in scenarios.scenarios(session, row.id) if scenarios.content(one).profile is None],
    )


def _progress(session: Session, row: Campaign) -> dict[str, object]:
    return {
        "account": accounting.account(session, row.id),
        "unsent": accounting.unsent(session, row.id),
        "waiting": waiting.put_off(session, row.id),
        "stopped": waiting.stopped(session, row.id, parts().now()),
        "words": wording.reason_words(row.channel),
        "state_words": wording.state_words(row.channel),
        "later": mailreports.counts(session, row.id),
        "later_words": wording.LATER_WORDS,
        "asked": runs.asked(session, row.id),
    }


def _names(session: Session, rows: list[Delivery]) -> dict[int, str]:
    return customers.display_names(session, {row.profile_id for row in rows})


def _part(values: Mapping[str, str]) -> tuple[str, str | None]:
    """The state or part of the ledger ("": all) that a list of it is about, and the reason: "" is without, None any."""
    return forms.text(values, "state"), forms.text(values, "reason") if "reason" in values else None
