"""Support's page of what a customer allows: consent by purpose, addresses that get no mail, and how that came."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import access_log, customers, permissions
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.intake import Intake

pages = Blueprint("permissions", __name__, url_prefix="/customers")


@pages.get("/<long:profile>/permissions")
@allow("support")
def show(profile: int) -> ResponseReturnValue:
    """What holds now, and the history of it."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile).id
        access_log.record(session, actor(), "permissions", parts().now(), profile_id=root)
        return _page(session, root, None)


@pages.post("/<long:profile>/permissions")
@allow("support")
def state(profile: int) -> ResponseReturnValue:
    """Keep what the customer said to support about a purpose."""
    form = request.form
    with parts().transaction() as session:
        root = customers.root_of(session, profile).id
    intake = Intake(parts().sessions, parts().store, parts().settings.hash_key)
    granted = form.get("granted") == "yes"
    try:
        permissions.state(intake, root, form.get("purpose", ""), granted, form.get("why", ""), parts().now(), actor())
    except InvalidInput as error:
        return _refused(root, error)
    flash("Kept. It is in effect.")
    return redirect(url_for("permissions.show", profile=root))


@pages.post("/<long:profile>/addresses/lift")
@allow("support")
def lift(profile: int) -> ResponseReturnValue:
    """Let mail go to an address again."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile).id
    try:
        with parts().transaction() as session:
            permissions.lift(
                session, root, request.form.get("address", ""), request.form.get("why", ""), parts().now(), actor()
            )
    except InvalidInput as error:
        return _refused(root, error)
    flash("Messages may go there again.")
    return redirect(url_for("permissions.show", profile=root))


def _refused(root: int, error: InvalidInput) -> ResponseReturnValue:
    with parts().transaction() as session:
        return _page(session, root, error), 400


def _page(session: Session, root: int, fault: InvalidInput | None) -> str:
    history = permissions.statements(session, root)
    profile = customers.root_of(session, root)
    return render_template(
        "customers/permissions.html",
        profile=profile,
        name=customers.display_name(customers.document(session, root), root),
        standing=permissions.standing(history),
        history=history,
        addresses=permissions.addresses(session, root),
        purpose_words=permissions.PURPOSE_WORDS,
        via_words=permissions.VIA_WORDS,
        listed_words=permissions.LISTED_WORDS,
        fault=fault,
        values=request.form,
    )
