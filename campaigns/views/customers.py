"""Support's pages: find a customer, see their timeline, and everything about one open. Each look is logged."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import Expired, InvalidInput, NotFound
from base.ids import TEST_BIT, Delivery
from campaigns import access_log, audit, corrections, customers, dossier, evidence, previewing, products, timeline
from campaigns.access import allow
from campaigns.opens import Decision
from campaigns.parts import parts
from campaigns.retention import Policy
from campaigns.views import forms
from campaigns.views.acting import actor
from signals import state
from signals.moments import today_of
from signals.profiles import ProfileStateRow, stored
from signals.stages import stage

EXPIRED = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 300" width="600" height="300" role="img"
aria-label="Expired: no copy is kept any more"><rect width="600" height="300" fill="#e6e8eb"/>
<g fill="#4a5462" font-family="system-ui, sans-serif" text-anchor="middle"><text x="300" y="142" font-size="34"
font-weight="600">Expired</text><text x="300" y="182" font-size="22">No copy is kept any more.</text></g></svg>"""
"""What stands in the place of a picture whose bytes are gone."""

pages = Blueprint("customers", __name__, url_prefix="/customers")


@pages.get("/")
@allow("support")
def index() -> ResponseReturnValue:
    """The search box."""
    return render_template("customers/index.html", query="", found=None)


@pages.post("/")
@allow("support")
def find() -> ResponseReturnValue:
    """What the search finds; one hit goes straight to the customer. A form, so that no address stands in a URL."""
    query = request.form.get("q", "")
    with parts().transaction() as session:
        try:
            found = customers.find(session, query, parts().settings.hash_key, parts().settings.phone_regions)
        except InvalidInput as error:
            return render_template("customers/index.html", query=query, found=None, fault=error.message), 400
        access_log.record(session, actor(), "search", parts().now(), detail={"found": len(found)})
    if len(found) == 1:
        return redirect(url_for("customers.show", profile=found[0].profile, found=found[0].by))
    return render_template("customers/index.html", query=query, found=found)


@pages.get("/<long:profile>")
@allow("support")
def show(profile: int) -> ResponseReturnValue:
    """One customer: the timeline, and beside it what is known now."""
    with parts().transaction() as session:
        number = customers.root_of(session, profile).id
    return page(profile) if number == profile else redirect(url_for("customers.show", profile=number))


def page(profile: int, *, fault: str = "", typed: Mapping[str, str] | None = None) -> str:
    """The page of a customer; with a fault in what was typed of what they told us, both are shown."""
    kind = next((one for one in timeline.KINDS if one == request.args.get("kind")), None)
    before = forms.moment(request.args, "before", "UTC")
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        held = stored(session, [root.id]).get(root.id)
        at = session.scalar(select(ProfileStateRow.updated_at).where(ProfileStateRow.profile_id == root.id))
        document = state.document(held.state) if held else None
        kept_since = Policy.of(parts().settings).kept_since(parts().now())
        told = timeline.timeline(session, people, kind=kind, before=before, kept_since=kept_since)
        _note(session, "timeline", root.id)
        return render_template(
            "customers/show.html",
            profile=root,
            name=customers.display_name(document, root.id),
            names=customers.names(session, root.id),
            state=document,
            state_at=at if held else None,
            stage=stage(held.state, today_of(parts().now())) if held else None,
            spending=customers.spending(session, people),
            page=told,
            fault=fault,
            typed=typed or {},
            words=corrections.WORDS,
            most_text=corrections.MAX_TEXT,
            kind=kind,
            before=before,
            kinds=timeline.KINDS,
            members=people,
            keep_days=parts().settings.keep_days,
            found=[customers.FOUND_WORDS[one] for one in request.args.getlist("found") if one in customers.FOUND_WORDS],
        )


@pages.get("/<long:profile>/known")
@allow("support")
def known(profile: int) -> ResponseReturnValue:
    """Everything known of one customer, each with where it comes from and since when."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        _note(session, "known", root.id)
        return render_template(
            "customers/known.html",
            profile=root,
            name=customers.display_name(customers.document(session, root.id), root.id),
            known=customers.known(session, root.id, parts().now()),
            categories=products.category_names(session),
            spending=customers.spending(session, customers.members(session, root.id)),
        )


@pages.get("/<long:profile>/opens/<decision>")
@allow("support")
def opened(profile: int, decision: str) -> ResponseReturnValue:
    """One open: the pictures as served, why this, why not the others, what we knew then."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        seen = audit.opening(session, parts().blobs, parts().settings.subject_key, decision, people)
        known = customers.document(session, root.id)
        _note(session, "open", root.id, decision=decision)
        return render_template(
            "customers/open.html",
            profile=root,
            name=customers.display_name(known, root.id),
            seen=seen,
            now=_now(session, seen.row),
        )


@pages.get("/<long:profile>/opens/<decision>/evidence")
@allow("support")
def proof(profile: int, decision: str) -> ResponseReturnValue:
    """The evidence pack of one open, as a file."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        key = parts().settings.subject_key
        made = evidence.pack(session, parts().blobs, key, decision, people, parts().now())
        _note(session, "evidence", root.id, decision=decision)
    headers = {"Content-Disposition": f"attachment; filename={made.name}"}
    return Response(made.content, content_type="application/zip", headers=headers)


@pages.get("/<long:profile>/opens/<decision>/<sha256>")
@allow("support")
def picture(profile: int, decision: str, sha256: str) -> ResponseReturnValue:
    """The very bytes that were served. What is not a picture is handed out as a file, never shown as a page of ours.

    Where none are kept any more, a page that shows them shows a picture that says so.
    """
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        try:
            copy = audit.picture(session, parts().blobs, parts().settings.subject_key, decision, sha256, people)
        except Expired:
            if request.accept_mimetypes.best_match(("text/html", "image/svg+xml")) == "text/html":
                raise
            return Response(EXPIRED, 410, content_type="image/svg+xml")
        _note(session, "picture", root.id, decision=decision)
    response = Response(copy.body, content_type=copy.content_type, headers={"Latebind-Copy": copy.origin})
    if not copy.content_type.startswith("image/"):
        response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    return response


@pages.get("/<long:profile>/export")
@allow("admin")
def export(profile: int) -> ResponseReturnValue:
    """All that is kept of a customer, as a file."""
    with parts().transaction() as session:
        key = parts().settings.subject_key
        made = dossier.export(session, parts().store, key, profile, parts().now(), actor())
    headers = {"Content-Disposition": f"attachment; filename=customer-{profile}.json"}
    return Response(dossier.chunks(made), content_type="application/json", headers=headers)


def _note(session: Session, action: str, profile: int, **detail: object) -> None:
    access_log.record(session, actor(), action, parts().now(), profile_id=profile, detail=detail)


def _now(session: Session, row: Decision) -> previewing.Look | None:
    """What the mail would show the person now; None for what was no mail, for a test, and where nothing is live."""
    if row.contact is not None or row.occurrence & TEST_BIT or row.profile_id is None:
        return None
    delivery = Delivery(row.profile_id, row.campaign_id, row.occurrence)
    try:
        return previewing.seen_now(session, parts().store, parts().blobs, delivery, parts().now())
    except NotFound:
        return None
