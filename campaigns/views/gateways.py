"""The page of gateways: who takes text and push messages, how fast, and whether anything is handed to them now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from base.errors import Conflict, InvalidInput
from campaigns import gateways, permits, sendlimits
from campaigns.access import allow
from campaigns.gateways import GatewayIn, GatewayTerms
from campaigns.parts import parts
from campaigns.views import forms
from campaigns.views.acting import actor

pages = Blueprint("gateways", __name__, url_prefix="/system/gateways")
KIND_WORDS = {"sms": "text messages to phone numbers", "push": "messages to the devices of a user id"}
WITHIN = {sendlimits.SECOND: "second", sendlimits.HOUR: "hour", sendlimits.DAY: "day"}


@pages.get("/")
@allow("admin")
def index() -> ResponseReturnValue:
    """Every gateway."""
    return _page(None, {})


@pages.post("/")
@allow("admin")
def create() -> ResponseReturnValue:
    """Set one up. Its secret is on the page that follows, and nowhere else later."""
    try:
        wanted = forms.content({**_terms(), "kind": forms.text(request.form, "kind")}, GatewayIn)
        with parts().transaction() as session:
            row, secret = gateways.create(session, wanted, parts().settings, parts().now(), actor())
            name = row.name
    except (InvalidInput, Conflict) as error:
        return _page(error, request.form), 400
    return _page(None, {}, made=(name, secret))


@pages.post("/<int:gateway_id>")
@allow("admin")
def change(gateway_id: int) -> ResponseReturnValue:
    """Have its messages go elsewhere, or faster or slower."""
    try:
        wanted = forms.content(_terms(), GatewayTerms)
        with parts().transaction() as session:
            gateways.change(session, gateway_id, wanted, parts().settings, parts().now(), actor())
    except (InvalidInput, Conflict) as error:
        return _page(error, {}), 400
    flash("Saved: it holds from the next messages on.")
    return redirect(url_for("gateways.index"))


@pages.post("/<int:gateway_id>/act")
@allow("admin")
def act(gateway_id: int) -> ResponseReturnValue:
    """Switch it off or on, or renew its secret."""
    try:
        with parts().transaction() as session:
            action = forms.text(request.form, "action")
            row, secret = gateways.act(session, gateway_id, action, parts().settings, parts().now(), actor())
            name, state = row.name, row.state
    except (InvalidInput, Conflict) as error:
        return _page(error, {}), 400
    if secret is not None:
        return _page(None, {}, made=(name, secret))
    flash("Its messages wait from now on." if state == "off" else "It is told of its messages again.")
    return redirect(url_for("gateways.index"))


def _terms() -> dict[str, Any]:
    form = request.form
    paces = {name: forms.whole(form, name) for name in ("per_second", "per_hour", "per_day")}
    return {"name": forms.text(form, "name"), "url": forms.text(form, "url"), **paces}


def _page(fault: InvalidInput | Conflict | None, values: Mapping[str, str], made: tuple[str, str] | None = None) -> str:
    with parts().transaction() as session:
        found = gateways.listing(session)
        used = permits.uses(session, [f"gateway:{row.id}" for row in found], parts().now())
        return render_template(
            "system/gateways.html",
            gateways=found,
            uses={row.id: [use for use in used if use.limit.key == f"gateway:{row.id}"] for row in found},
            kinds=KIND_WORDS,
            within=WITHIN,
            fault=fault,
            values=values,
            made=made,
        )
