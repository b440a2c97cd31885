"""The decision explorer: change facts, and see how the ranking of a campaign's offers moves. Nothing is kept of it."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import access_log, campaigns
from campaigns.access import allow
from campaigns.exploring import Changes, Explored, explore
from campaigns.models import Campaign, Segment
from campaigns.parts import parts
from campaigns.views import chosen, forms
from campaigns.views.acting import actor
from campaigns.views.campaigns import frame
from signals.catalog import Category

pages = Blueprint("exploring", __name__, url_prefix="/campaigns")


@pages.get("/<int:campaign_id>/explore")
@allow("manager")
def show(campaign_id: int) -> ResponseReturnValue:
    """The ranking as it is, for the customer whose number is given or somebody unknown; no more is read of a URL."""
    values = {name: request.args[name] for name in ("customer", "place") if name in request.args}
    with parts().transaction() as session:
        return _page(session, campaigns.campaign(session, campaign_id), values)


@pages.post("/<int:campaign_id>/explore")
@allow("manager")
def compare(campaign_id: int) -> ResponseReturnValue:
    """The ranking as it would be. A form, so that neither an address nor a trait stands in a URL."""
    with parts().transaction() as session:
        return _page(session, campaigns.campaign(session, campaign_id), request.form)


def _page(session: Session, row: Campaign, values: Mapping[str, str]) -> str:
    explored: Explored | None = None
    person: int | None = None
    fault: InvalidInput | None = None
    basis: Explored | None = None
    try:
        person = chosen.person(session, values)
        person = chosen.found(session, values)
        changes = changed(session, values)
        explored = explore(session, parts().store, parts().blobs, row, person, parts().now(), changes)
        if person is not None:
            detail = {"campaign": row.id}
            access_log.record(session, actor(), "explore", parts().now(), profile_id=person, detail=detail)
        basis = explored
    except InvalidInput as error:
        fault, basis = error, _as_it_is(session, row, person)
    places = explored.places if explored is not None else ()
    wanted = forms.position(values, "place")
    return render_template(
        "campaigns/explore.html",
        **frame(session, row, "offers"),
        explored=explored,
        places=[one for one in places if not wanted or one.slot == wanted - 1],
        every_place=basis.places if basis is not None else (),
        fault=fault,
        customer=person,
        name=chosen.name_of(session, person),
        values=values,
        categories=session.scalars(select(Category).order_by(Category.name)).all(),
        segments=session.scalars(select(Segment).order_by(Segment.name)).all(),
        products=basis.plan.product_ids if basis is not None else (),
    )


def _as_it_is(session: Session, row: Campaign, person: int | None) -> Explored | None:
    """What the form offers to choose from while something in it has to be put right."""
    try:
        return explore(session, parts().store, parts().blobs, row, person, parts().now(), Changes())
    except InvalidInput:
        return None


def changed(session: Session, values: Mapping[str, str]) -> Changes:
    """The facts that a form changes. Raises InvalidInput naming the field."""
    bought = chosen.category(session, forms.optional(values, "bought"))
    return forms.content(
        {
            "at": forms.moment(values, "at", "UTC"),
            "bought": [] if bought is None else [bought],
            "complained": forms.on(values, "complained"),
            "product": forms.optional(values, "product"),
            "stock": forms.whole(values, "stock"),
            "price_cents": forms.cents(values, "price") if forms.text(values, "price") else None,
            "segment": forms.whole(values, "segment"),
            "trait": forms.optional(values, "trait"),
            "value": forms.text(values, "value"),
        },
        Changes,
    )
