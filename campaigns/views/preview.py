"""The mail as it would open for a chosen person at a chosen time, with "what if they had bought"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import access_log, campaigns
from campaigns.access import allow
from campaigns.models import Campaign
from campaigns.parts import parts
from campaigns.previewing import Shot, WhatIf, shoot
from campaigns.views import chosen, forms
from campaigns.views.acting import actor
from campaigns.views.campaigns import frame
from signals.catalog import Category

pages = Blueprint("preview", __name__, url_prefix="/campaigns")
# The mail is somebody's writing: no scripts, nothing from elsewhere, a document of its own.
_SCHEME = re.compile(r"\(\s*prefers-color-scheme\s*:\s*dark\s*\)")
_SCHEME_META = re.compile(r'(<meta\s+name="(?:color-scheme|supported-color-schemes)"\s+content=")[^"]*(")')
_HOLDS = {"dark": "(min-width: 0)", "light": "(max-width: 0)"}
"""By theme, what holds always or never in the place of a question for the dark theme."""
SWITCHES = ("at", "bought", "complained", "dark", "no_pictures")
MAIL_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"


@pages.get("/<int:campaign_id>/preview")
@allow("manager", "approver")
def show(campaign_id: int) -> ResponseReturnValue:
    """The mail, why each place shows what it shows, and the switches."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        return _page(session, row, request.args, None)


@pages.post("/<int:campaign_id>/preview")
@allow("manager", "approver")
def choose(campaign_id: int) -> ResponseReturnValue:
    """Look the person up and show the preview: no address stands in a URL, only the customer's own number."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        try:
            person = chosen.found(session, request.form)
        except InvalidInput as error:
            return _page(session, row, request.form, error)
    switches: dict[str, Any] = {name: value for name in SWITCHES if (value := request.form.get(name))}
    return redirect(url_for("preview.show", campaign_id=campaign_id, customer=person, **switches))


@pages.get("/<int:campaign_id>/preview/mail")
@allow("manager", "approver")
def mail(campaign_id: int) -> ResponseReturnValue:
    """The mail alone, for a frame."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        try:
            shot = _shot(session, row, request.args)
            _note(session, chosen.person(session, request.args))
            html = _themed(shot.html, "dark" if "dark" in request.args else "light")
            html = _without_pictures(html) if "no_pictures" in request.args else html
        except InvalidInput as error:
            html = render_template("campaigns/no_preview.html", fault=error)
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = MAIL_POLICY
    return response


def _page(session: Session, row: Campaign, values: Mapping[str, str], fault: InvalidInput | None) -> str:
    shot, person = None, None
    if fault is None:
        try:
            person = chosen.person(session, values)
            shot = _shot(session, row, values)
            _note(session, person)
        except InvalidInput as error:
            fault = error
    return render_template(
        "campaigns/preview.html",
        **frame(session, row, "message"),
        shot=shot,
        fault=fault,
        customer=person,
        name=chosen.name_of(session, person),
        values=values,
        query=urlencode({name: values[name] for name in ("customer", *SWITCHES) if name in values}),
        categories=session.scalars(select(Category).order_by(Category.name)).all(),
    )


def _themed(html: str, theme: str) -> str:
    """The mail as clients of a theme show it, whatever the theme of the browser that it is looked at in."""
    return _SCHEME_META.sub(rf"\g<1>{theme}\g<2>", _SCHEME.sub(_HOLDS[theme], html))


def _without_pictures(html: str) -> str:
    """The mail as it looks where pictures are blocked: alternative texts only."""
    head, *rest = html.split("data:image/")
    return head + "".join("data:," + piece[piece.index('"') :] if '"' in piece else piece for piece in rest)


def _shot(session: Session, row: Campaign, values: Mapping[str, str]) -> Shot:
    bought = chosen.category(session, forms.optional(values, "bought"))
    return shoot(
        session,
        parts().store,
        parts().blobs,
        parts().settings.hash_key,
        row,
        chosen.person(session, values),
        _moment(values),
        WhatIf(bought=(bought,) if bought is not None else (), complained=forms.on(values, "complained")),
        dark=forms.on(values, "dark"),
    )


def _moment(values: Mapping[str, str]) -> datetime:
    return forms.moment(values, "at", "UTC") or parts().now()


def _note(session: Session, person: int | None) -> None:
    if person is not None:
        access_log.record(session, actor(), "preview", parts().now(), profile_id=person)
