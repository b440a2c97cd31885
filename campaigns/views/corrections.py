"""Support's forms on a customer's page: the record is corrected, and what the customer told us is added."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from base.errors import InvalidInput
from campaigns import corrections
from campaigns.access import allow
from campaigns.corrections import AddedIn, CorrectionIn
from campaigns.parts import parts
from campaigns.views import customers, forms
from campaigns.views.acting import actor

pages = Blueprint("corrections", __name__, url_prefix="/customers")
ADDED = {
    "note": "The note is added, and counts from the next open on.",
    "complaint": "The complaint is open: service comes first from the next open on.",
}


@pages.post("/<long:profile>/corrections")
@allow("support")
def correct(profile: int) -> ResponseReturnValue:
    """Correct a line of a signal, or take its correction back where no word is chosen."""
    form = request.form
    event, line = forms.whole(form, "event"), forms.whole(form, "line")
    if event is None or line is None:
        raise InvalidInput("event", "must name a signal and its line")
    if form.get("word"):
        wanted = forms.content({"event": event, "line": line, "word": form["word"]}, CorrectionIn)
        corrections.correct(parts().intake, profile, wanted, parts().now(), actor())
        flash("Corrected. The next open goes by it.")
    else:
        corrections.take_back(parts().intake, profile, event, line, parts().now(), actor())
        flash("Taken back. The record counts as it came.")
    return redirect(url_for("customers.show", profile=profile, _anchor=f"signal-{event}"))


@pages.post("/<long:profile>/notes")
@allow("support")
def add(profile: int) -> ResponseReturnValue:
    """Add a complaint, or the note of a call."""
    form = request.form
    try:
        wanted = forms.content({"kind": form.get("kind", ""), "text": forms.text(form, "text")}, AddedIn)
        corrections.add(parts().intake, profile, wanted, parts().now(), actor())
    except InvalidInput as error:
        if error.field != "text":
            raise
        return customers.page(profile, fault=error.message, typed=form), 400
    flash(ADDED[wanted.kind])
    return redirect(url_for("customers.show", profile=profile))


@pages.post("/<long:profile>/complaints/settle")
@allow("support")
def settle(profile: int) -> ResponseReturnValue:
    """Note that a complaint is settled."""
    corrections.settle(parts().intake, profile, request.form.get("case", ""), parts().now(), actor())
    flash("Settled.")
    return redirect(url_for("customers.show", profile=profile))
