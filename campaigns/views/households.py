"""Support's page of with whom a customer lives: the facts, who and why, joining and leaving by hand."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from base.errors import InvalidInput, NotFound
from campaigns import access_log, customers, households
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views import chosen, forms
from campaigns.views.acting import actor
from signals.cohabiting import reason
from signals.grouping import HOME_MOST
from signals.household import ROLES

pages = Blueprint("households", __name__, url_prefix="/customers")


@pages.get("/<long:profile>/household")
@allow("support")
def show(profile: int) -> ResponseReturnValue:
    """With whom one customer lives."""
    return _page(profile, None)


@pages.post("/<long:profile>/household")
@allow("support")
def join(profile: int) -> ResponseReturnValue:
    """Have the customer live with another one, whom the page before showed."""
    form = request.form
    try:
        other = forms.position(form, "chosen")
        role, why = form.get("role", ""), reason(form.get("why", ""))
        if not other:
            return chosen.asked(profile, "household")
        households.join(parts().intake, profile, other, role, why, parts().now(), actor())
    except InvalidInput as error:
        return _page(profile, error), 400
    except NotFound:
        return _page(profile, InvalidInput("other", "is no customer any more")), 400
    flash("Kept. It counts from the next open on.")
    return redirect(url_for("households.show", profile=profile))


@pages.post("/<long:profile>/household/leave")
@allow("support")
def leave(profile: int) -> ResponseReturnValue:
    """Have the customer be of their household, or their parents', no longer."""
    form = request.form
    elsewhere = form.get("of") == "parents"
    try:
        households.leave(parts().intake, profile, form.get("why", ""), parts().now(), actor(), elsewhere=elsewhere)
    except InvalidInput as error:
        return _page(profile, error), 400
    flash("Kept. It counts from the next open on.")
    return redirect(url_for("households.show", profile=profile))


def _page(profile: int, fault: InvalidInput | None) -> str:
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        living = households.living(session, root.id, parts().now())
        access_log.record_all(session, actor(), "household", parts().now(), households.shown(root.id, living))
        return render_template(
            "customers/household.html",
            profile=root,
            name=customers.display_name(customers.document(session, root.id), root.id),
            living=living,
            evidence=households.EVIDENCE,
            words=households.ROLE_WORDS,
            facts=households.FACT_WORDS,
            roles=ROLES,
            home_most=HOME_MOST,
            fault=fault,
            values=request.form,
        )
