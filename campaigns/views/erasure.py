"""Erasing a customer: what goes and what stays, the word that it is meant, and how far it has come."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import InvalidInput, Unavailable
from campaigns import access_log, customers, erasure
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.profiles import Profile

pages = Blueprint("erasure", __name__, url_prefix="/customers")


@pages.get("/<long:profile>/erase")
@allow("admin")
def show(profile: int) -> ResponseReturnValue:
    """What an erasure of one customer would do."""
    root = _root(profile)
    return redirect(url_for("customers.show", profile=root.id)) if root.erased_at else _page(profile, None)


@pages.post("/<long:profile>/erase")
@allow("admin")
def erase(profile: int) -> ResponseReturnValue:
    """Erase the customer whose number or address was typed. A second click finds it done, or finishes it."""
    root = _root(profile)
    if root.erased_at is not None and not root.erasing:
        flash("This customer was erased before; there was nothing left to do.")
        return redirect(url_for("customers.show", profile=root.id))
    try:
        erasure.erase_person(parts().intake, parts().blobs, root.id, parts().now(), actor(), _check)
    except InvalidInput as fault:
        return _page(profile, fault), 400
    except Unavailable:
        if _root(profile).erased_at is None:
            raise
    return redirect(url_for("customers.show", profile=root.id))


@pages.get("/<long:profile>/erased")
@allow("support")
def progress(profile: int) -> ResponseReturnValue:
    """How far an erasure has come, as part of the customer's page."""
    return render_template("customers/erased.html", profile=_root(profile))


def _root(profile: int) -> Profile:
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        session.expunge(root)
        return root


def _check(session: Session, root: int) -> None:
    """In the transaction that erases, under the customer's lock: nobody is merged in any more. Raises InvalidInput."""
    if request.form.get("profiles") != _listed(customers.members(session, root)):
        raise InvalidInput("profiles", "who this customer is has changed meanwhile: look again at what goes")
    if not customers.goes_by(session, root, request.form.get("typed", ""), parts().settings.hash_key):
        raise InvalidInput("typed", f"type {root}, or this customer's own number or e-mail address")


def _listed(members: list[int]) -> str:
    return " ".join(map(str, members))


def _page(profile: int, fault: InvalidInput | None) -> str:
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        members = customers.members(session, root.id)
        access_log.record(session, actor(), "erase", parts().now(), profile_id=root.id)
        return render_template(
            "customers/erase.html",
            profile=root,
            name=customers.display_name(customers.document(session, root.id), root.id),
            names=customers.names(session, root.id),
            members=members,
            listed=_listed(members),
            extent=erasure.extent(session, members),
            fault=fault,
            typed=request.form.get("typed", ""),
        )
