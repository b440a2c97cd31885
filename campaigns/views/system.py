"""System pages for admins: what waits, people and roles, who changed what, who looked at whom."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select

from base.errors import Conflict, InvalidInput
from base.tokens import TokenKeys
from campaigns import access_log, admin_log, approvals, chain, contacts, domaincheck, keyring, people, retention
from campaigns.access import allow
from campaigns.alarms import standings
from campaigns.models.accounts import ROLES
from campaigns.overview import waiting
from campaigns.parts import parts
from campaigns.presenting import fault
from campaigns.views import forms
from campaigns.views.acting import actor
from campaigns.views.logged import things
from campaigns.watch import measures
from render.snippet import snippet
from signals import stream
from signals.events import RejectedEvent
from signals.shops import alike
from signals.sourcehealth import WINDOWS, health
from signals.sources import KINDS, Source, sources

pages = Blueprint("system", __name__, url_prefix="/system")


@pages.get("/")
@allow("admin")
def index() -> ResponseReturnValue:
    """Alarms, queues, the record stream, sources, refused signals, people and the newest log lines."""
    with parts().transaction() as session:
        seen = measures(session, parts().blobs, parts().store, parts().queues, parts().now())
        untaken = RejectedEvent.replayed_at.is_(None)
        changes = admin_log.entries(session, limit=30)
        return render_template(
            "system/index.html",
            standings=standings(seen),
            decisions=seen.decisions,
            open_seconds=seen.open_seconds,
            # Whoever looks at the page waits for what does not answer: nothing is asked again.
            waiting=waiting(parts().store if seen.store_up else None, None if seen.job_lag is None else parts().queues),
            sources=session.scalars(select(Source).order_by(Source.name)).all(),
            rejected=stream.newest(session, stream.Wanted(status="untaken"), 20).entries,
            rejected_count=session.scalar(select(func.count()).select_from(RejectedEvent).where(untaken)) or 0,
            people=people.users(session),
            names=people.names(session),
            roles=ROLES,
            changes=changes,
            things=things(session, changes),
            limit=contacts.limit(session),
            approval_rules=approvals.rules(session),
            looks=access_log.entries(session, limit=30),
        )


@pages.get("/chain")
@allow("admin")
def show_chain() -> ResponseReturnValue:
    """The roots of the chain of hashes, to be kept elsewhere."""
    with parts().transaction() as session:
        return render_template(
            "system/chain.html",
            roots=chain.roots(session, chain.SHOWN_DAYS),
            waiting=chain.waiting(session),
            most=chain.AT_ONCE,
        )


@pages.get("/addresses")
@allow("admin")
def addresses() -> ResponseReturnValue:
    """Each render address as it is seen from outside, checked now: name, certificate, picture, one-click."""
    tokens, now = TokenKeys.from_settings(parts().settings), parts().now()
    found = [(one, list(domaincheck.examine(one.url, tokens, now))) for one in domaincheck.addresses(parts().settings)]
    return render_template("system/addresses.html", addresses=found)


@pages.get("/kept")
@allow("admin")
def kept() -> ResponseReturnValue:
    """What is kept of opens and clicks: for how long, and how much there is."""
    policy = retention.Policy.of(parts().settings)
    with parts().transaction() as session:
        found = retention.stock(session)
    return render_template("system/kept.html", rules=retention.rules(policy, parts().now()), stock=found)


@pages.get("/keys")
@allow("admin")
def keys() -> ResponseReturnValue:
    """The keys of programs and of web pages."""
    return _keys_page(None, {})


@pages.post("/keys")
@allow("admin")
def add_key() -> ResponseReturnValue:
    """Make a key and show its text, this once."""
    form = request.form
    try:
        with parts().transaction() as session:
            row, text = people.issue_key(
                session,
                forms.text(form, "name"),
                form.get("kind", ""),
                form.getlist("roles"),
                parts().now(),
                actor(),
                origins=form.get("origins", "").split(),
            )
            keyring.announce(session, parts().store, row)
    except InvalidInput as error:
        return _keys_page(error, form), 400
    return _keys_page(None, {}, made=text, kind=form.get("kind", ""))


@pages.post("/keys/<key_id>/revoke")
@allow("admin")
def revoke_key(key_id: str) -> ResponseReturnValue:
    """End a key."""
    with parts().transaction() as session:
        keyring.announce(session, parts().store, people.revoke_key(session, key_id, parts().now(), actor()))
    flash("The key is revoked.")
    return redirect(url_for("system.keys"))


def _keys_page(fault: InvalidInput | None, values: Mapping[str, str], made: str = "", kind: str = "") -> str:
    with parts().transaction() as session:
        return render_template(
            "system/keys.html",
            keys=people.keys(session),
            roles=ROLES,
            fault=fault,
            values=values,
            made=made,
            made_kind=kind,
            snippet=snippet(),
            render_url=parts().settings.render_url,
        )


@pages.get("/sources")
@allow("admin")
def list_sources() -> ResponseReturnValue:
    """Who may send signals, and the form for a new source."""
    return _sources_page(None, {})


@pages.post("/sources")
@allow("admin")
def add_source() -> ResponseReturnValue:
    """Add a source and show its write key, this once."""
    form = request.form
    try:
        with parts().transaction() as session:
            name, origins = forms.text(form, "name"), form.get("origins", "").split()
            _, key = people.add_source(session, name, form.get("kind", ""), origins, parts().now(), actor())
    except InvalidInput as error:
        return _sources_page(error, form), 400
    return _sources_page(None, {"kind": form.get("kind", "")}, made=key)


@pages.post("/sources/<int:source_id>/end")
@allow("admin")
def end_source(source_id: int) -> ResponseReturnValue:
    """Take no more signals by a source's key."""
    with parts().transaction() as session:
        people.end_source(session, source_id, parts().now(), actor())
    flash("Its key is good for nothing any more. What it told stays.")
    return redirect(url_for("system.list_sources"))


def _sources_page(fault: InvalidInput | None, values: Mapping[str, str], made: str = "") -> str:
    with parts().transaction() as session:
        return render_template(
            "system/sources.html",
            sources=sources(session),
            keyless=session.scalars(select(Source).where(Source.write_key_hash.is_(None)).order_by(Source.name)).all(),
            health=health(session, parts().now()),
            alike=alike(session),
            windows=WINDOWS,
            kinds=KINDS,
            fault=fault,
            values=values,
            made=made,
            made_kind=values.get("kind", "") if made else "",
            signals_url=parts().settings.signals_url,
        )


@pages.post("/contact-limit")
@allow("admin")
def change_contact_limit() -> ResponseReturnValue:
    """Set how many mails a person may get; empty fields lift the limit."""
    form = request.form
    try:
        most, period = forms.whole(form, "most"), forms.whole(form, "period_days")
        if (most is None) != (period is None):
            raise InvalidInput("most" if most is None else "period_days", "must be given with the other")
        wanted = None if most is None else forms.content({"most": most, "period_days": period}, contacts.Limit)
        with parts().transaction() as session:
            contacts.set_limit(session, wanted, parts().now(), actor())
    except InvalidInput as error:
        flash(f"The limit is as it was: {error}", "error")
        return redirect(url_for("system.index"))
    flash("There is no limit any more." if wanted is None else "The limit counts from the next audience on.")
    return redirect(url_for("system.index"))


@pages.post("/approval")
@allow("admin")
def change_approval() -> ResponseReturnValue:
    """Say whether campaigns need a second person's approval."""
    said = request.form.get("required")
    try:
        rule = forms.content(
            {"brand": forms.text(request.form, "brand"), "required": {"yes": True, "no": False}.get(said or "")},
            approvals.Rule,
        )
        with parts().transaction() as session:
            approvals.set_rule(session, rule, parts().now(), actor())
    except InvalidInput as error:
        flash(fault(error), "error")
    else:
        flash("It counts from now on.")
    return redirect(url_for("system.index"))


@pages.post("/people")
@allow("admin")
def add_person() -> ResponseReturnValue:
    """Add somebody who may sign in."""
    form = request.form
    try:
        with parts().transaction() as session:
            people.create_user(
                session,
                forms.text(form, "email"),
                forms.text(form, "name"),
                form.get("password", ""),
                form.getlist("roles"),
                parts().now(),
                actor(),
            )
    except (InvalidInput, Conflict) as error:
        flash(fault(error), "error")
    else:
        flash("Added.")
    return redirect(url_for("system.index"))


@pages.post("/people/<int:user_id>")
@allow("admin")
def change_person(user_id: int) -> ResponseReturnValue:
    """Let somebody in again, or no more."""
    try:
        with parts().transaction() as session:
            people.change_user(session, user_id, parts().now(), actor(), active=forms.on(request.form, "active"))
    except Conflict as error:
        flash(fault(error), "error")
    else:
        flash("Changed.")
    return redirect(url_for("system.index"))
