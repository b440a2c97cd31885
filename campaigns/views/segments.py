"""Segments: who is in each and how many, the builder with its count, and how large each one was."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput
from campaigns import access_log, editions, products, rulebook, ruleform, scores, segments
from campaigns.access import allow
from campaigns.members import MOST, Page, members
from campaigns.models.campaign import Segment
from campaigns.parts import parts
from campaigns.rulebook import Where
from campaigns.views import forms
from campaigns.views.acting import actor
from signals.profiles import Profile
from signals.rulewords import EVERYBODY, phrase

pages = Blueprint("segments", __name__, url_prefix="/segments")
SHOWN_DAYS = 90


@pages.get("/")
@allow("manager", "support")
def index() -> ResponseReturnValue:
    """All segments by name."""
    with parts().transaction() as session:
        found = segments.segments(session)
        uses = segments.uses(session)
        names = {row.id: row.name for row in found}
        categories = products.category_names(session)
        return render_template(
            "segments/index.html",
            segments=[(row, phrase(row.rule, categories, names), uses.get(row.id, [])) for row in found],
        )


@pages.get("/new")
@allow("manager")
def new() -> ResponseReturnValue:
    """The builder, empty."""
    with parts().transaction() as session:
        return _builder(session, None, None, None)


@pages.post("/new")
@allow("manager")
def create() -> ResponseReturnValue:
    """Keep what was built; a fault is shown beside what was typed."""
    form, now = request.form, parts().now()
    try:
        with parts().transaction() as session:
            row = segments.create_segment(
                session, forms.text(form, "name"), ruleform.checked(session, form), now, actor()
            )
            segments.count_in_time(session, row.id, now)
            number = row.id
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            return _builder(session, None, error, form), 400
    flash("The segment is made.")
    return redirect(url_for("segments.show", segment_id=number))


@pages.get("/would-be")
@allow("manager")
def would_be() -> ResponseReturnValue:
    """How many the rows describe that stand in the form now; a part of pages with rows, of offers too."""
    where: Where = "eligibility" if request.args.get("where") == "eligibility" else "audience"
    try:
        with parts().transaction() as session:
            rule = ruleform.checked(session, request.args, where)
            if where == "eligibility" and not rulebook.is_for_audiences(session, rule):
                return render_template("segments/would_be.html", at_opens=True)
            people = segments.would_be(session, rule, parts().now())
            uncomputed = scores.uncomputed(session, rulebook.expanded(session, rule))
            everybody = (
                session.scalar(select(func.count()).where(Profile.root_id == Profile.id, Profile.erased_at.is_(None)))
                or 0
            )
    except InvalidInput as error:
        return render_template("segments/would_be.html", fault=error)
    return render_template("segments/would_be.html", people=people, everybody=everybody, uncomputed=uncomputed)


@pages.get("/<int:segment_id>")
@allow("manager")
def show(segment_id: int) -> ResponseReturnValue:
    """One segment: its rows, its sizes, what names it."""
    with parts().transaction() as session:
        return _builder(session, segments.segment(session, segment_id), None, None)


@pages.get("/<int:segment_id>/members")
@allow("manager", "support")
def people(segment_id: int) -> ResponseReturnValue:
    """Who is in it now, a page at a time; names, and the way to each customer, for who may look at customers."""
    after, now = forms.position(request.args, "after"), parts().now()
    found = Page([], None)
    fault: InvalidInput | Conflict | None = None
    with parts().transaction() as session:
        row = segments.segment(session, segment_id)
        try:
            found = members(session, segment_id, now, after=after, named=current_user.may("support"))
            shown = [one.profile for one in found.people]
            access_log.record_all(session, actor(), "segment members", now, shown, detail={"segment": segment_id})
        except (InvalidInput, Conflict) as error:
            fault = error
        page = render_template(
            "segments/members.html", segment=row, found=found, after=after, most=MOST, now=now, fault=fault
        )
    return page if fault is None else (page, 400 if isinstance(fault, InvalidInput) else 409)


@pages.post("/<int:segment_id>")
@allow("manager")
def save(segment_id: int) -> ResponseReturnValue:
    """Keep other rows or another name; what names the segment follows."""
    form, now = request.form, parts().now()
    try:
        with parts().transaction() as session:
            row = segments.segment(session, segment_id)
            editions.check(session, row, "segment", partial(_edition, row))
            is_kept = "keep_rule" in form
            rule = row.rule if is_kept else ruleform.checked(session, form, standing=row.rule, of=segment_id)
            segments.update_segment(session, segment_id, forms.text(form, "name"), rule, now, actor())
            segments.count_in_time(session, segment_id, now)
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            return _builder(session, segments.segment(session, segment_id), error, form), 400
    flash("Saved.")
    return redirect(url_for("segments.show", segment_id=segment_id))


@pages.post("/<int:segment_id>/delete")
@allow("manager")
def delete(segment_id: int) -> ResponseReturnValue:
    """Forget it, unless something names it."""
    try:
        with parts().transaction() as session:
            segments.delete_segment(session, segment_id, parts().now(), actor())
    except Conflict as error:
        with parts().transaction() as session:
            return _builder(session, segments.segment(session, segment_id), error, None), 409
    flash("The segment is gone.")
    return redirect(url_for("segments.index"))


def _edition(row: Segment) -> str:
    return editions.of(row.name, row.rule)


def _builder(
    session: Session, row: Segment | None, fault: InvalidInput | Conflict | None, form: Mapping[str, str] | None
) -> str:
    rule = EVERYBODY if row is None else row.rule
    sizes = [] if row is None else segments.sizes(session, row.id)[-SHOWN_DAYS:]
    uses = [] if row is None else segments.uses(session).get(row.id, [])
    return render_template(
        "segments/edit.html",
        segment=row,
        edition=_edition(row) if row is not None else "",
        name=form.get("name", "") if form is not None else row.name if row is not None else "",
        fault=fault,
        rows=ruleform.typed(form) if form is not None and "keep_rule" not in form else ruleform.rows(rule),
        join=form.get("join") if form is not None else ruleform.joined(rule),
        sizes=[(f"{day:%-d %b %Y}", people) for day, people in sizes],
        most=max((people for _, people in sizes), default=0),
        uses=[(use, _page_of(use)) for use in uses],
        scored=scores.as_of(session, rule),
        **ruleform.choices(session, besides=None if row is None else row.id),
    )


def _page_of(use: segments.Use) -> str:
    match use.kind:
        case "campaign":
            return url_for("campaigns.audience", campaign_id=use.id)
        case "offer":
            return url_for("offers.edit", offer_id=use.id)
        case "segment":
            return url_for("segments.show", segment_id=use.id)
        case _:
            return url_for("exports.index")
