"""Scenario tests of a campaign, written without code: somebody, what happens to them, and what must then be shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, NotFound
from campaigns import campaigns, compiling, editions, messages, offers, scenarios
from campaigns.access import allow
from campaigns.models import Campaign, Scenario, Segment
from campaigns.parts import parts
from campaigns.scenarios import ScenarioIn
from campaigns.views import chosen, exploring, forms
from campaigns.views.acting import actor
from campaigns.views.campaigns import frame
from render.plan import KINDS
from signals.catalog import Category

pages = Blueprint("scenarios", __name__, url_prefix="/campaigns/<int:campaign_id>/scenarios")
PURCHASES = 3
"""Purchases before the mail that the form has room for; the API takes more."""


@pages.get("/new")
@allow("manager")
def new(campaign_id: int) -> ResponseReturnValue:
    """An empty scenario."""
    with parts().transaction() as session:
        return _page(session, campaigns.campaign(session, campaign_id), None, {}, None)


@pages.post("/new")
@allow("manager")
def create(campaign_id: int) -> ResponseReturnValue:
    """Keep a new one."""
    return _save(campaign_id, None)


@pages.get("/<int:number>")
@allow("manager")
def show(campaign_id: int, number: int) -> ResponseReturnValue:
    """One scenario."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        content = scenarios.content(scenarios.scenario(session, campaign_id, number))
        return _page(session, row, number, _values(session, content), None)


@pages.post("/<int:number>")
@allow("manager")
def save(campaign_id: int, number: int) -> ResponseReturnValue:
    """Keep what it is now."""
    return _save(campaign_id, number)


@pages.post("/<int:number>/remove")
@allow("manager")
def remove(campaign_id: int, number: int) -> ResponseReturnValue:
    """Ask it no more."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        scenarios.remove(session, row, number, parts().now(), actor())
    flash("The scenario is removed.")
    return redirect(url_for("checks.show", campaign_id=campaign_id))


def _save(campaign_id: int, number: int | None) -> ResponseReturnValue:
    now, by = parts().now(), actor()
    try:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            if number is not None:
                old = scenarios.scenario(session, campaign_id, number)
                editions.check(session, old, "scenario", partial(_edition, old))
            content = _content(session, row, request.form)
            if number is None:
                scenarios.add(session, row, content, now, by)
            else:
                scenarios.change(session, row, number, content, now, by)
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            return _page(session, row, number, request.form, error), 400
    try:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            scenarios.ask_anew(session, parts().store, parts().blobs, row, now)
    except InvalidInput:
        # What keeps the campaign from being compiled stands above every page of it.
        flash("The scenario is saved. It is asked once the campaign can be published.")
    else:
        flash("The scenario is saved.")
    return redirect(url_for("checks.show", campaign_id=campaign_id))


def _edition(row: Scenario) -> str:
    return editions.of(scenarios.content(row))


def _page(
    session: Session,
    row: Campaign,
    number: int | None,
    values: Mapping[str, Any],
    fault: InvalidInput | Conflict | None,
) -> str:
    try:
        products = compiling.compile_campaign(session, row)[0].product_ids
    except InvalidInput:
        products = ()
    customer = forms.position(values, "customer") or None
    return render_template(
        "campaigns/scenario.html",
        **frame(session, row, "checks"),
        number=number,
        edition="" if number is None else _edition(scenarios.scenario(session, row.id, number)),
        values=values,
        fault=fault,
        customer=customer,
        name=_called(session, customer),
        places=_places(session, row),
        rows=range(PURCHASES),
        kinds=KINDS,
        categories=session.scalars(select(Category).order_by(Category.name)).all(),
        segments=session.scalars(select(Segment).order_by(Segment.name)).all(),
        products=products,
    )


def _called(session: Session, customer: int | None) -> str:
    try:
        return chosen.name_of(session, customer)
    except NotFound:
        return f"customer {customer}"


def _places(session: Session, row: Campaign) -> list[tuple[int, str, list[tuple[int, str]]]]:
    """Every place with the offers it may show, the neutral one last."""
    names = {place["index"]: place["name"] for place in messages.message(session, row.message_id or 0).slots}
    found = []
    for choice in row.slots:
        numbers = dict.fromkeys([*choice["offers"], choice["default"]])
        shown = [(one, offers.offer(session, one).name) for one in numbers]
        found.append((choice["slot"], names.get(choice["slot"], f"place {choice['slot']}"), shown))
    return found


def _content(session: Session, row: Campaign, form: Mapping[str, str]) -> ScenarioIn:
    bought = []
    for place in range(PURCHASES):
        category = chosen.category(session, forms.optional(form, f"before-{place}"))
        if category is not None:
            days = forms.whole(form, f"days-{place}")
            if days is None:
                raise InvalidInput(f"days-{place}", "must say how many days before the mail")
            bought.append({"category": category, "days": days})
    expected = []
    for choice in row.slots:
        what, _, value = forms.text(form, f"shows-{choice['slot']}").partition(":")
        if what:
            said = int(value) if what == "offer" and value.isdecimal() else value
            expected.append({"slot": choice["slot"], what: said})
    if not expected:
        raise InvalidInput("expected", "is missing: say what at least one place must show")
    changes = exploring.changed(session, form)
    return forms.content(
        {
            "name": forms.text(form, "name"),
            "profile": chosen.found(session, form),
            "before": bought,
            "after_days": forms.whole(form, "after_days") or 0,
            "changes": changes,
            "expected": expected,
        },
        ScenarioIn,
    )


def _values(session: Session, content: ScenarioIn) -> dict[str, Any]:
    """A stored scenario as the form holds it."""
    slugs = {one.id: one.slug for one in session.scalars(select(Category))}
    facts = content.changes
    values: dict[str, Any] = {
        "name": content.name,
        "customer": str(content.profile or ""),
        "after_days": content.after_days or "",
        "at": facts.at.strftime("%Y-%m-%dT%H:%M") if facts.at else "",
        "bought": slugs.get(facts.bought[0], "") if facts.bought else "",
        "product": facts.product or "",
        "stock": "" if facts.stock is None else facts.stock,
        "price": "" if facts.price_cents is None else f"{facts.price_cents / 100:.2f}",
        "segment": "" if facts.segment is None else str(facts.segment),
        "trait": facts.trait or "",
        "value": facts.value,
    }
    if facts.complained:
        values["complained"] = "on"
    for place, one in enumerate(content.before):
        values |= {f"before-{place}": slugs.get(one.category, ""), f"days-{place}": one.days}
    for wanted in content.expected:
        values[f"shows-{wanted.slot}"] = f"offer:{wanted.offer}" if wanted.offer else f"kind:{wanted.kind}"
    return values
