"""The stream of signals as it comes, and each signal with what came of it; refused ones are taken again from here."""

from __future__ import annotations

import re

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from campaigns import changewords, customers, products, stream
from campaigns.access import ADMIN, allow
from campaigns.parts import parts
from campaigns.views import chosen, forms
from campaigns.views.acting import actor
from signals.signal import NAME_LENGTH
from signals.stream import BEFORE, KINDS, SOUGHT, Wanted, mark
from signals.tracing import MOST_EVENTS

pages = Blueprint("stream", __name__, url_prefix="/stream")


@pages.get("/")
@allow("support")
def index() -> ResponseReturnValue:
    """The newest signals, and what to show of them."""
    return _list("stream/index.html", None)


@pages.post("/")
@allow("support")
def find() -> ResponseReturnValue:
    """Show other ones. A form, so that no address stands in a URL: a person is named by whatever they are known by."""
    form = request.form
    try:
        source, status = form.get("source") or None, form.get("status") or None
        name, person = forms.text(form, "name", most=NAME_LENGTH) or None, forms.text(form, "person")
        found = _person(person) if person else None
    except InvalidInput as error:
        return _list("stream/index.html", error), 400
    return redirect(url_for("stream.index", source=source, name=name, status=status, person=found))


@pages.get("/newest")
@allow("support")
def newest() -> ResponseReturnValue:
    """The list alone, for the page that polls; nothing where nothing has come since."""
    with parts().transaction() as session:
        if request.args.get("seen") == mark(session):
            return Response(status=204)
    return _list("stream/list.html", None)


@pages.get("/<kind>/<long:number>")
@allow("support")
def show(kind: str, number: int) -> ResponseReturnValue:
    """One signal: as it came, as it was understood, whose it is, what it changed or why it was not taken."""
    if kind not in KINDS:
        raise NotFound("page", kind)
    with parts().transaction() as session:
        found = stream.detail(
            session, parts().intake, kind, number, parts().now(), actor(), whole=current_user.may(ADMIN)
        )
        return render_template(
            "stream/show.html",
            found=found,
            entry=found.entry,
            source=stream.names(session).get(found.entry.source, ""),
            body=None if found.body is None else stream.lines(found.body),
            form=None if found.form is None else stream.lines(found.form),
            said=changewords.said(found.changes or (), products.category_names(session)),
            currency=customers.spending(session, _members(session, found.profile)).currency,
            most=MOST_EVENTS,
        )


@pages.post("/refused/<long:number>/replay")
@allow("admin")
def replay(number: int) -> ResponseReturnValue:
    """Take a refused signal once more."""
    status = stream.replay(parts().intake, number, parts().now(), actor())
    flash(stream.outcome_words({status: 1}), "error" if status == "rejected" else "message")
    return redirect(url_for("stream.show", kind="refused", number=number))


@pages.post("/replay")
@allow("admin")
def replay_all() -> ResponseReturnValue:
    """Take the quarantined signals of a source, or of a name, once more."""
    source, name = forms.whole(request.form, "source"), forms.optional(request.form, "name")
    counts = stream.replay_all(parts().intake, source, name, parts().now(), actor())
    flash(stream.outcome_words(counts))
    return redirect(url_for("stream.index", source=source, name=name, status="quarantined"))


def _list(template: str, fault: InvalidInput | None) -> str:
    with parts().transaction() as session:
        known = stream.names(session)
        given = request.form if fault else request.args
        status = next((one for one in SOUGHT if one == given.get("status")), None)
        source = forms.position(given, "source") or None
        person = None if fault else forms.position(given, "person") or None
        name = given.get("name", "")[:NAME_LENGTH].replace("\x00", "")
        wanted = Wanted(source if source in known else None, name, status, _members(session, person))
        before = request.args.get("before", "")
        before = before if re.fullmatch(BEFORE, before) else ""
        seen = mark(session)
        whole = current_user.may(ADMIN)
        found = None
        if fault is None:
            found = stream.newest(session, wanted, person, parts().now(), actor(), whole=whole, before=before)
        return render_template(
            template,
            entries=found.entries if found else [],
            older=found.older if found else None,
            before=before,
            wanted=wanted,
            person=person,
            typed=given.get("person", "") if fault else f"Customer {person}" if person else "",
            names=known,
            statuses=SOUGHT,
            seen=seen,
            fault=fault,
            now=parts().now(),
        )


def _members(session: Session, person: int | None) -> tuple[int, ...]:
    return () if person is None else stream.members(session, person)


def _person(said: str) -> int:
    """The one person that is known by this. Raises InvalidInput."""
    found = chosen.search(said)
    if len(found) != 1:
        raise InvalidInput("person", "several are known by this" if found else "nobody is known by this")
    return found[0].profile
