"""Campaigns while they are written: the list, a new one, and the tabs audience, message and offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput
from campaigns import (
    approvals,
    campaigns,
    contacts,
    editions,
    mail,
    messages,
    offers,
    rankform,
    readiness,
    ruleform,
    starting,
    suppressform,
    triggerform,
)
from campaigns.access import allow
from campaigns.campaigns import CampaignIn, Replenish, SlotChoice, Trigger
from campaigns.models import Campaign
from campaigns.parts import parts
from campaigns.timing import Missed, Repeat, Timing
from campaigns.views import forms, turns
from campaigns.views.acting import actor
from campaigns.views.lacking import told
from render.guard import FLAGS
from signals import exchange
from signals.catalog import Category

AUDIENCE = (
    "audience", "send_holdout", "content_holdout", "needs_consent", "tracking", "priority", "mandatory",
    "ends_on_purchase", "guard", "suppress", "replenish", "trigger",
)  # fmt: skip
CHOICES = ("slots", "default_landing", "arbitration")
"""What the forms of these two tabs hold of a campaign."""

pages = Blueprint("campaigns", __name__, url_prefix="/campaigns")
CARDS = 60
MAX_SEARCH = 200
TABS = (
    ("audience", "Audience"),
    ("message", "Message"),
    ("offers", "Offers"),
    ("checks", "Checks"),
    ("schedule", "Schedule"),
    ("results", "Results"),
)
Fault = InvalidInput | Conflict
KINDS: Mapping[str, Literal["recurring", "evergreen", "replenishment", "triggered"]] = {
    "recurring": "recurring", "evergreen": "evergreen", "replenishment": "replenishment", "triggered": "triggered",
}  # fmt: skip
ASKED_WHEN_LATE = Timing(missed=Missed(late="ask"))
"""How campaigns of the page begin: what is hours late does not leave without somebody's word."""
GUARDS = (
    ("off", "Offer them what fits, as everybody"),
    ("offers", "Offer them nothing that widens what they buy"),
    ("audience", "Send them no mail"),
)
"""What a campaign does with people whom the profit guard flags."""
MAX_HOLDOUT = 50
"""The largest holdout of a campaign, in per cent."""


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """Campaigns as cards, the last changed first, a page of them; a search narrows them."""
    query, skipping = request.args.get("q", "").replace("\x00", "").strip(), forms.position(request.args, "after")
    with parts().transaction() as session:
        rows = campaigns.campaigns(session, name=query, skipping=skipping, most=CARDS + 1)
        older = skipping + CARDS if len(rows) > CARDS else None
        return render_template("campaigns/index.html", campaigns=rows[:CARDS], query=query, older=older)


@pages.get("/new")
@allow("manager")
def new() -> ResponseReturnValue:
    """What a campaign begins with: a name, a layout, where its clicks go."""
    with parts().transaction() as session:
        usual = exchange.usual(session) or "EUR"
    return _new_form({"layout": "offers", "landing": "https://www.example.com/", "currency": usual}, None)


@pages.post("/new")
@allow("manager")
def create() -> ResponseReturnValue:
    """Make the campaign and its message; every place starts with its neutral default."""
    form = request.form
    try:
        with parts().transaction() as session:
            row = _create(session, form)
            number = row.id
    except (InvalidInput, Conflict) as error:
        return _new_form(form, error), 400
    return redirect(url_for("campaigns.audience", campaign_id=number))


@pages.get("/<int:campaign_id>")
@allow("manager")
def show(campaign_id: int) -> ResponseReturnValue:
    """The tab that matters now: results once mails went out, else the first of the work."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        tab = "audience" if row.state == "draft" else "schedule" if row.state == "scheduled" else "results"
    return redirect(url_for(f"campaigns.{tab}" if tab == "audience" else f"running.{tab}", campaign_id=campaign_id))


@pages.get("/<int:campaign_id>/audience")
@allow("manager")
def audience(campaign_id: int) -> ResponseReturnValue:
    """Who gets it, as rows of conditions."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        return _audience_form(session, row, None, None)


@pages.post("/<int:campaign_id>/audience")
@allow("manager")
def save_audience(campaign_id: int) -> ResponseReturnValue:
    """Keep the conditions, or the categories of a replenishment."""
    try:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            editions.check(session, row, "campaign", partial(_edition, row, AUDIENCE))
            _change(session, row, **_audience_content(session, request.form, row))
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            return _audience_form(session, row, error, request.form), 409 if isinstance(error, Conflict) else 400
    flash("The audience is saved.")
    return redirect(url_for("campaigns.audience", campaign_id=campaign_id))


@pages.get("/<int:campaign_id>/message")
@allow("manager")
def message(campaign_id: int) -> ResponseReturnValue:
    """What is written in the mail, with the mail beside it."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        content = messages.content(messages.message(session, row.message_id or 0))
        frame = _frame(session, row, "message") | {"edition": _message_edition(session, row)}
        return render_template("campaigns/message.html", **frame, values=content, fault=None, with_amp=row.amp)


@pages.post("/<int:campaign_id>/message")
@allow("manager")
def save_message(campaign_id: int) -> ResponseReturnValue:
    """Keep the message, once it can be compiled into a mail."""
    form = request.form
    texts = ("subject", "preheader", "from_name", "from_address", "postal_address")
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        number = row.message_id or 0
        old = messages.content(messages.message(session, number))
    typed = {name: form.get(name, "") for name in texts}
    places = [msgspec.structs.replace(slot, alt=form.get(f"alt-{slot.index}", slot.alt)) for slot in old.slots]
    content = msgspec.structs.replace(old, **typed, mjml=form.get("mjml", ""), text=form.get("text", ""), slots=places)
    try:
        content = forms.changed(
            old,
            **{name: forms.text(form, name) for name in texts},
            reply_to=forms.optional(form, "reply_to"),
            slots=places,
            mjml=forms.text(form, "mjml", most=forms.MAX_TEXT),
            text=forms.text(form, "text", most=forms.MAX_TEXT),
            fallbacks=old.fallbacks | {"first_name": forms.text(form, "first_name") or "there"},
        )
        with_amp = forms.on(form, "amp")
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            kept = messages.message(session, number)
            editions.check(session, kept, "message", partial(_message_edition, session, row))
            mail.compile_mail(content, row.id, row.brand, with_amp=with_amp)
            messages.update_message(session, number, content, parts().now(), actor())
            if with_amp != row.amp:
                _change(session, row, amp=with_amp)
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            frame = _frame(session, row, "message") | {"edition": _message_edition(session, row)}
            return render_template(
                "campaigns/message.html", **frame, values=content, fault=error, with_amp=forms.on(form, "amp")
            ), 400
    flash("The message is saved.")
    return redirect(url_for("campaigns.message", campaign_id=campaign_id))


@pages.get("/<int:campaign_id>/offers")
@allow("manager")
def choose(campaign_id: int) -> ResponseReturnValue:
    """What each place may show, in order, with pictures."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        return _offers_form(session, row, None)


@pages.post("/<int:campaign_id>/offers")
@allow("manager")
def save_offers(campaign_id: int) -> ResponseReturnValue:
    """Keep the choices: a number is an offer's turn in that place, nothing means not there."""
    try:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            editions.check(session, row, "campaign", partial(_edition, row, CHOICES))
            places = messages.message(session, row.message_id or 0).slots
            names = {one.id: one.name for one in offers.offers(session)}
            choices = [turns.choice(request.form, place["index"], names) for place in places]
            warnings = [
                warning
                for place in places
                for warning in turns.shared(request.form, place["index"], place["name"], names)
            ]
            _change(
                session,
                row,
                slots=choices,
                default_landing=forms.text(request.form, "default_landing"),
                arbitration=rankform.arbitration(request.form, row.arbitration),
            )
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            return _offers_form(session, row, error), 400
    flash("The offers are saved.")
    for warning in warnings:
        flash(warning, "warning")
    return redirect(url_for("campaigns.choose", campaign_id=campaign_id))


def frame(session: Session, row: Campaign, tab: str) -> dict[str, Any]:
    """What every tab shows: the campaign, the tabs, and what is still missing before it can be sent."""
    return _frame(session, row, tab)


def _frame(session: Session, row: Campaign, tab: str) -> dict[str, Any]:
    waits = row.state in ("draft", "scheduled")
    missing = (
        readiness.missing(
            session, parts().store, parts().blobs, row, parts().now(), is_sending=parts().settings.is_sending
        )
        if waits
        else []
    )
    tabs = TABS if current_user.may("manager") else [one for one in TABS if one[0] == "checks"]
    return {
        "campaign": row, "tab": tab, "tabs": tabs, "missing": [told(line) for line in missing],
        "needs_approval": approvals.is_required(session, *approvals.brands(session, row)),
    }  # fmt: skip


def _create(session: Session, form: Mapping[str, str]) -> Campaign:
    now = parts().now()
    name = forms.text(form, "name")
    layout = next((one for one in starting.LAYOUTS if one.name == form.get("layout")), None)
    if layout is None:
        raise InvalidInput("layout", "choose one of the layouts")
    choices = []
    for index, (place, size) in enumerate(layout.places):
        default = starting.default_offer(session, size)
        if default is None:
            raise InvalidInput("layout", f"has a place ({place}) for which there is no neutral offer; make one first")
        choices.append(SlotChoice(slot=index, default=default))
    sender, _, address = parts().settings.from_address.rpartition("<")
    content = starting.message(
        layout, name, sender.strip() or "Our shop", address.rstrip("> "), parts().settings.postal_address
    )
    message_id = messages.create_message(session, content, now, actor()).id
    kind = KINDS.get(form.get("kind", ""), "broadcast")
    categories = request.form.getlist("categories")
    return campaigns.create_campaign(
        session,
        forms.changed(
            CampaignIn(name=""),
            name=name,
            message_id=message_id,
            kind=kind,
            replenish=Replenish(categories=categories) if kind == "replenishment" else None,
            trigger=triggerform.read(form) if kind == "triggered" else None,
            repeat=Repeat() if kind == "recurring" else None,
            timing=ASKED_WHEN_LATE,
            slots=choices,
            default_landing=forms.text(form, "landing"),
            currency=forms.currency(form, "currency"),
        ),
        now,
        actor(),
    )


def _new_form(values: Mapping[str, Any], fault: Fault | None) -> str:
    with parts().transaction() as session:
        categories = session.scalars(select(Category).order_by(Category.name)).all()
        return render_template(
            "campaigns/new.html",
            values=values,
            fault=fault,
            layouts=starting.LAYOUTS,
            categories=categories,
            triggers=triggerform.EVENTS,
        )


def _audience_form(session: Session, row: Campaign, fault: Fault | None, form: Mapping[str, str] | None) -> str:
    return render_template(
        "campaigns/audience.html",
        **_frame(session, row, "audience"),
        edition=_edition(row, AUDIENCE),
        fault=fault,
        rows=ruleform.typed(form) if form is not None else ruleform.rows(row.audience),
        join=ruleform.joined(row.audience) if form is None else form.get("join"),
        **ruleform.choices(session),
        suppressed=suppressform.shown(row.suppress),
        triggers=triggerform.EVENTS,
        guards=GUARDS,
        limit=contacts.limit(session),
        flags=FLAGS,
    )


def _audience_content(session: Session, form: Mapping[str, str], row: Campaign) -> dict[str, Any]:
    level, guard = form.get("tracking"), form.get("guard")
    content: dict[str, Any] = {
        "send_holdout": forms.share(form, "send_holdout", most=MAX_HOLDOUT),
        "content_holdout": forms.share(form, "content_holdout", most=MAX_HOLDOUT),
        "needs_consent": [name for name in ("email", "tracking", "profiling") if forms.on(form, f"consent-{name}")],
        "tracking": level if level in ("anonymous", "none") else "identified",
        "priority": forms.whole(form, "priority") or 0,
        "mandatory": forms.on(form, "mandatory"),
        "ends_on_purchase": forms.on(form, "ends_on_purchase"),
        "guard": guard if guard in ("offers", "audience") else "off",
    }
    if "keep_suppress" not in form:
        content["suppress"] = suppressform.read(
            form, request.form.getlist("suppress-reviewed"), request.form.getlist("suppress-bought")
        )
    if row.kind == "replenishment":
        content["replenish"] = Replenish(categories=request.form.getlist("categories"))
    if row.kind == "triggered":
        content["trigger"] = triggerform.read(form, msgspec.convert(row.trigger, Trigger))
    if "keep_rule" not in form:
        content["audience"] = ruleform.checked(session, form, standing=row.audience)
    return content


def _offers_form(session: Session, row: Campaign, fault: Fault | None) -> str:
    shown = offers.offers(session)
    query = request.args.get("q", "").replace("\x00", "").strip()[:MAX_SEARCH]
    choices = {choice["slot"]: choice for choice in row.slots}
    slugs = {one.category for one in shown if one.category}
    named = select(Category.slug, Category.name).where(Category.slug.in_(slugs))
    names = {one.slug: one.name for one in session.execute(named)}
    return render_template(
        "campaigns/offers.html",
        query=query,
        listed={number: turns.listed(shown, choice["offers"], query, names) for number, choice in choices.items()},
        names=names,
        words=turns.words,
        **_frame(session, row, "offers"),
        edition=_edition(row, CHOICES),
        fault=fault,
        places=messages.message(session, row.message_id or 0).slots,
        choices=choices,
        offers=[one for one in shown if one.kind != "neutral"],
        defaults=[offer for offer in shown if offers.is_default(offer)],
        policies=rankform.POLICIES,
        factors=rankform.FACTORS,
        ranks=rankform.RANKS,
        contexts=rankform.CONTEXTS,
        ranked=rankform.shown(row.arbitration),
    )


def _message_edition(session: Session, row: Campaign) -> str:
    return editions.of(messages.content(messages.message(session, row.message_id or 0)), row.amp)


def _edition(row: Campaign, fields: Sequence[str]) -> str:
    content = campaigns.content(row)
    return editions.of([getattr(content, name) for name in fields])


def _change(session: Session, row: Campaign, **changes: Any) -> None:
    content = forms.changed(campaigns.content(row), **changes)
    campaigns.update_campaign(session, row.id, content, parts().now(), actor())
