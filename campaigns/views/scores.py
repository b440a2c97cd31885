"""What is computed about people: scores, as of when, how good they are, how they are spread; segments; flags."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from base.errors import Conflict, InvalidInput
from campaigns import products, scores, segments, worth
from campaigns.access import allow
from campaigns.models.campaign import Segment
from campaigns.parts import parts
from campaigns.scores import BY_NAME
from campaigns.views import forms
from campaigns.views.acting import actor
from campaigns.wording import FLAG_NAMES
from campaigns.worth import WorthTerms
from render.guard import FLAGS
from signals import exchange
from signals.rulewords import phrase

pages = Blueprint("scores", __name__, url_prefix="/scores")


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """Every score, the bands made of them, and the profit guard."""
    return _page(None, {})


@pages.post("/run")
@allow("manager")
def run() -> ResponseReturnValue:
    """Ask for a computation."""
    with parts().transaction() as session:
        scores.ask(session, parts().now(), actor())
    flash("Scores will be computed; this page shows them when it is done.")
    return redirect(url_for("scores.index"))


@pages.post("/bands")
@allow("manager")
def add_band() -> ResponseReturnValue:
    """Make a segment of a band of a score."""
    form = request.form
    try:
        name = form.get("score", "")
        at_least, below = _edge(form, "at_least", name), _edge(form, "below", name)
        with parts().transaction() as session:
            row = scores.create_band(
                session, forms.text(form, "name"), name, at_least, below, parts().now(), actor()
            )  # fmt: skip
            segments.count(session, row.id, parts().now())
    except (InvalidInput, Conflict) as error:
        return _page(error, form), 400
    flash("The segment is made.")
    return redirect(url_for("scores.index") + "#bands")


@pages.post("/guard")
@allow("manager")
def set_guard() -> ResponseReturnValue:
    """Assume other costs."""
    form = request.form
    try:
        given = WorthTerms(
            margin=forms.share(form, "margin"),
            contact_cents=forms.cents(form, "contact"),
            return_cents=forms.cents(form, "return"),
        )
        for field, cents in (("contact", given.contact_cents), ("return", given.return_cents)):
            if cents < 0:
                raise InvalidInput(field, "must not be below 0")
        with parts().transaction() as session:
            worth.set_terms(session, given, parts().now(), actor())
    except InvalidInput as error:
        return _page(error, form), 400
    flash("Taken from the next computation on.")
    return redirect(url_for("scores.index") + "#guard")


def _edge(form: Mapping[str, str], field: str, name: str) -> float | None:
    """An edge as it is typed: per cent of a chance, money, days; None where nothing is."""
    value = forms.number({field: forms.text(form, field).rstrip("%")}, field)
    if value is None:
        return None
    if not 0 <= value <= 10**7:
        raise InvalidInput(field, "must be a number from 0 to ten million")
    unit = BY_NAME[name].unit if name in BY_NAME else "days"
    return value / 100 if unit == "chance" else value * 100 if unit == "cents" else value


def _page(fault: InvalidInput | Conflict | None, values: Mapping[str, str]) -> str:
    with parts().transaction() as session:
        bands = scores.bands(session)
        segments_named = dict(session.execute(select(Segment.id, Segment.name)).all())
        categories = products.category_names(session)
        return render_template(
            "scores/index.html",
            seen=scores.overview(session),
            all=scores.SCORES,
            bands=[
                (row, phrase(row.rule, categories, segments_named), scores.as_of(session, row.rule)) for row in bands
            ],
            terms=worth.terms(session),
            currency=exchange.summed(session),
            flags=FLAGS,
            names=FLAG_NAMES,
            fault=fault,
            values=values,
        )
