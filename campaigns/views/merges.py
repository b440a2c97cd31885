"""Who a customer is: the profiles they were merged from, with evidence; undoing a merge, and making one, by hand."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from base.errors import Conflict, InvalidInput, NotFound
from campaigns import access_log, customers, merges, sidebyside
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views import chosen, forms
from campaigns.views.acting import actor
from signals import likely as likely_matches
from signals.intake import Intake

MAX_ASKED = 25
"""Pairs that the page of likely matches asks about at once, of each list."""

pages = Blueprint("merges", __name__, url_prefix="/customers")


@pages.get("/<long:profile>/merges")
@allow("support")
def show(profile: int) -> ResponseReturnValue:
    """The merges of one customer."""
    return _page(profile, None)


@pages.post("/<long:profile>/merges")
@allow("admin")
def join(profile: int) -> ResponseReturnValue:
    """Merge the customer with another one, whom the page before showed."""
    try:
        other = forms.position(request.form, "chosen")
        if not other:
            return chosen.asked(profile, "merges")
        merges.join(_intake(), profile, other, parts().now(), actor())
    except InvalidInput as error:
        return _page(profile, error), 400
    except NotFound:
        return _page(profile, InvalidInput("other", "is no customer any more")), 400
    flash("The two are one customer now.")
    return redirect(url_for("merges.show", profile=profile))


@pages.post("/<long:profile>/merges/<long:merge>/undo")
@allow("admin")
def undo(profile: int, merge: int) -> ResponseReturnValue:
    """Undo a merge, once the page before has asked."""
    if "sure" not in request.form:
        return _asked(profile, merge)
    stays, leaves = merges.undo(_intake(), profile, merge, parts().now(), actor())
    flash(f"Customer {leaves} is a customer of their own again.")
    return redirect(url_for("merges.show", profile=stays))


@pages.get("/ties")
@allow("support")
def ties() -> ResponseReturnValue:
    """The identifiers that are many people's and merge nobody."""
    with parts().transaction() as session:
        refused = merges.refused(session)
        access_log.record(session, actor(), "refused merges", parts().now())
    return render_template("customers/ties.html", refused=refused, limits=merges.limits())


@pages.get("/likely")
@allow("support")
def likely() -> ResponseReturnValue:
    """Customers who are probably one and wait for somebody's word."""
    return _likely(None)


@pages.post("/likely/run")
@allow("admin")
def look() -> ResponseReturnValue:
    """Ask for them to be looked for."""
    with parts().transaction() as session:
        merges.ask(session, parts().now(), actor())
    flash("Everybody is looked at; this page shows who is probably one when that is done.")
    return redirect(url_for("merges.likely"))


@pages.post("/likely/<long:profile>/<long:other>")
@allow("admin")
def decide(profile: int, other: int) -> ResponseReturnValue:
    """Say whether the two are one customer."""
    now = parts().now()
    try:
        if request.form.get("answer") == "same":
            merges.join(_intake(), profile, other, now, actor())
            flash("The two are one customer now.")
        elif request.form.get("answer") == "two":
            merges.part(_intake(), profile, other, now, actor())
            flash("They stay two customers; only a person merges them.")
        else:
            raise InvalidInput("answer", "say whether they are the same customer or two")
    except InvalidInput as error:
        return _likely(error), 400
    return redirect(url_for("merges.likely"))


def _asked(profile: int, merge: int) -> str:
    """The page that says what undoing does, and asks before anything is done. Raises NotFound, Conflict when it is
    undone already."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        found = next((one for one in merges.of(session, customers.members(session, root.id)) if one.id == merge), None)
        if found is None:
            raise NotFound("merge", merge)
        if found.undone_at is not None:
            raise Conflict("This merge is undone already.")
        access_log.record(session, actor(), "merges", parts().now(), profile_id=root.id)
        return render_template(
            "customers/undo.html",
            profile=root,
            name=chosen.name_of(session, root.id),
            merge=found,
            names=customers.names_by_member(session, found.ends),
        )


def _likely(fault: InvalidInput | None) -> str:
    with parts().transaction() as session:
        run, is_pending = likely_matches.latest(session)
        found = merges.waiting(session, MAX_ASKED)
        weighed = {(one.one, one.other) for one in found}
        twice = [one for one in merges.numbered(session, MAX_ASKED) if (one.one, one.other) not in weighed]
        access_log.record_all(session, actor(), "likely matches", parts().now(), merges.shown([*found, *twice]))
        veiled = not current_user.may("admin")
        return render_template(
            "customers/likely.html",
            found=sidebyside.pairs(session, found, veiled=veiled),
            twice=sidebyside.pairs(session, twice, veiled=veiled),
            most=MAX_ASKED,
            run=run,
            is_pending=is_pending,
            fault=fault,
        )


def _page(profile: int, fault: InvalidInput | None) -> str:
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        members = customers.members(session, root.id)
        access_log.record(session, actor(), "merges", parts().now(), profile_id=root.id)
        return render_template(
            "customers/merges.html",
            profile=root,
            name=customers.display_name(customers.document(session, root.id), root.id),
            members=customers.names_by_member(session, members),
            merges=merges.of(session, members),
            suggested=merges.suggested(session, members),
            refused=merges.refused(session, members),
            fault=fault,
            other=request.form.get("other", ""),
        )


def _intake() -> Intake:
    return Intake(parts().sessions, parts().store, parts().settings.hash_key)
