"""What an agent sees of a customer during a call or a chat: the next best offer, and what the customer said to it."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput
from campaigns import access_log, calls, customers
from campaigns.access import allow
from campaigns.calls import CHANNELS, Contact
from campaigns.parts import parts
from campaigns.views import forms
from campaigns.views.acting import actor
from render.facts import ANSWERS

pages = Blueprint("calls", __name__, url_prefix="/customers")


@pages.get("/<long:profile>/offer")
@allow("support")
def show(profile: int) -> ResponseReturnValue:
    """The next best offer, of the campaign that is chosen or the newest."""
    with parts().transaction() as session:
        return _page(session, profile, request.args, None)


@pages.post("/<long:profile>/offer")
@allow("support")
def tell(profile: int) -> ResponseReturnValue:
    """Keep what the customer said, and show the same contact again."""
    form, store, blobs = request.form, parts().store, parts().blobs
    try:
        with parts().transaction() as session:
            root = customers.root_of(session, profile)
            row = calls.campaign(session, forms.whole(form, "campaign") or 0)
            contact = _contact(form, row.id)
            said = next((one for one in ANSWERS if one == form.get("outcome")), None)
            if said is None:
                raise InvalidInput("outcome", f"must be one of {', '.join(ANSWERS)}")
            slot, offer = forms.whole(form, "slot"), forms.whole(form, "offer")
            calls.tell(
                session, parts().endpoint, store, blobs, root.id, contact,
                -1 if slot is None else slot, offer or 0, said, parts().now(), actor(),
            )  # fmt: skip
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            return _page(session, profile, form, error), 409 if isinstance(error, Conflict) else 400
    flash("Noted: they took it." if said == "taken" else "Noted: they refused it.")
    return redirect(
        url_for(
            "calls.show", profile=root.id, campaign=contact.campaign, channel=contact.channel, contact=contact.request
        )
    )


def _page(session: Session, profile: int, values: Mapping[str, str], fault: InvalidInput | Conflict | None) -> str:
    root = customers.root_of(session, profile)
    listed = calls.campaigns(session)
    chosen = next((row for row in listed if str(row.id) == values.get("campaign")), listed[0] if listed else None)
    contact, plan, places = None, None, list[calls.Advice]()
    if chosen is not None:
        try:
            contact = _contact(values, chosen.id)
        except InvalidInput as error:
            fault, contact = fault or error, _contact({}, chosen.id)
        scene, places = calls.advice(parts().store, parts().blobs, root.id, contact, parts().now())
        plan = scene.plan
    detail = {"campaign": chosen.id} if chosen is not None else {}
    access_log.record(session, actor(), "next offer", parts().now(), profile_id=root.id, detail=detail)
    known = customers.document(session, root.id)
    return render_template(
        "customers/offer.html",
        profile=root,
        name=customers.display_name(known, root.id),
        campaigns=listed,
        chosen=chosen,
        contact=contact,
        channels=CHANNELS,
        plan=plan,
        places=places,
        fault=fault,
    )


def _contact(values: Mapping[str, str], campaign: int) -> Contact:
    """The contact that the address or the form names; one that begins now where it names none."""
    named = {
        "campaign": campaign,
        "channel": values.get("channel") or CHANNELS[0],
        "request": values.get("contact") or calls.begin(),
    }
    return forms.content(named, Contact)
