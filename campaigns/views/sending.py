"""Sending domains: which mails come from them, and the keys that sign for them."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from base.errors import Conflict, InvalidInput
from base.tokens import TokenKeys
from campaigns import dkimkeys, sendingdoctor, sendingdomain
from campaigns.access import allow
from campaigns.lookups import Lookups
from campaigns.parts import parts
from campaigns.presenting import fault
from campaigns.views import forms
from campaigns.views.acting import actor

pages = Blueprint("sending", __name__, url_prefix="/system/sending")


@pages.get("/")
@allow("admin")
def index() -> ResponseReturnValue:
    """Every sending domain with its keys, and the form for a new key."""
    return _page(None, {})


@pages.post("/")
@allow("admin")
def add_key() -> ResponseReturnValue:
    """Make a key; its record stands on the page as long as it is needed."""
    form = request.form
    try:
        with parts().transaction() as session:
            dkimkeys.make(
                session, forms.text(form, "domain"), form.get("algorithm", ""), parts().settings.subject_key,
                parts().now(), actor(), forms.optional(form, "selector"),
            )  # fmt: skip
    except (InvalidInput, Conflict) as error:
        return _page(error, form), 400
    flash("The key is made. Publish its record, then activate it.")
    return redirect(url_for("sending.index"))


@pages.get("/<domain>")
@allow("admin")
def check(domain: str) -> ResponseReturnValue:
    """What receivers see of a domain, checked now."""
    host = dkimkeys.domain_name(domain)
    with parts().transaction() as session:
        keys = dkimkeys.keys(session)
    settings = parts().settings
    tokens, lookups = TokenKeys.from_settings(settings), Lookups.of(settings)
    found = list(sendingdoctor.examine(host, keys, settings, lookups, tokens, parts().now()))
    return render_template("system/sendingdomain.html", domain=host, findings=found)


@pages.post("/keys/<int:dkim_id>/activate")
@allow("admin")
def activate_key(dkim_id: int) -> ResponseReturnValue:
    """Sign with a key from now on, if the DNS shows it."""
    try:
        with parts().transaction() as session:
            dkimkeys.activate(
                session, dkim_id, Lookups.of(parts().settings), parts().now(), actor(),
                unchecked=forms.on(request.form, "unchecked"),
            )  # fmt: skip
    except Conflict as error:
        flash(fault(error), "error")
    else:
        flash("Mails are signed with it from now on.")
    return redirect(url_for("sending.index"))


@pages.post("/keys/<int:dkim_id>/retire")
@allow("admin")
def retire_key(dkim_id: int) -> ResponseReturnValue:
    """Never sign with a key again."""
    try:
        with parts().transaction() as session:
            dkimkeys.retire(session, dkim_id, parts().now(), actor())
    except Conflict as error:
        flash(fault(error), "error")
    else:
        flash("Retired. Take its record out of the DNS once no mail is on its way that names it.")
    return redirect(url_for("sending.index"))


def _page(wrong: InvalidInput | Conflict | None, values: Mapping[str, str]) -> str:
    with parts().transaction() as session:
        return render_template(
            "system/sending.html",
            domains=sendingdomain.domains(session, parts().settings),
            record=dkimkeys.record,
            algorithms=dkimkeys.ALGORITHMS,
            keep_days=dkimkeys.KEEP.days,
            fault=wrong,
            values=values,
        )
