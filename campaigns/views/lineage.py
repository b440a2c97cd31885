"""Traits that several sources state: by which policy one holds, and what each source's word is worth."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from base.errors import InvalidInput
from campaigns import lineage
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views import forms
from campaigns.views.acting import actor
from signals.lineage import POLICIES, policies
from signals.sources import MOST_TRUST, Source

pages = Blueprint("lineage", __name__, url_prefix="/system/traits")


@pages.get("/")
@allow("admin")
def show() -> ResponseReturnValue:
    """The policies, and the trust in each source."""
    return _page(None, {})


@pages.post("/")
@allow("admin")
def save() -> ResponseReturnValue:
    """Set the policy of one trait."""
    try:
        with parts().transaction() as session:
            name, policy = forms.text(request.form, "name"), request.form.get("policy", "")
            spelt = lineage.set_policy(session, name, policy, parts().now(), actor())
    except InvalidInput as error:
        return _page(error, request.form), 400
    flash(f"{spelt} goes by this from the next statement on. What was stated before counts again with a rebuild.")
    return redirect(url_for("lineage.show"))


@pages.post("/sources/<int:source_id>")
@allow("admin")
def trust(source_id: int) -> ResponseReturnValue:
    """Say what a source's word is worth."""
    try:
        with parts().transaction() as session:
            wanted = forms.whole(request.form, "trust")
            lineage.set_trust(session, source_id, -1 if wanted is None else wanted, parts().now(), actor())
    except InvalidInput as error:
        return _page(error, request.form, source_id), 400
    flash("The trust is changed.")
    return redirect(url_for("lineage.show"))


def _page(fault: InvalidInput | None, values: Mapping[str, str], at: int | None = None) -> str:
    """`at`: the source whose trust was not understood."""
    with parts().transaction() as session:
        return render_template(
            "system/traits.html",
            rows=policies(session),
            sources=session.scalars(select(Source).order_by(Source.name)).all(),
            policies=POLICIES,
            most=MOST_TRUST,
            fault=fault,
            values=values,
            at=at,
        )
