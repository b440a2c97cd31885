"""How fast mails may leave: the limits, how much of them is used, and the form that sets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import permits, sendlimits
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.sendlimits import Breaker, DomainPace, Pace, Terms, WarmUp
from campaigns.views import forms
from campaigns.views.acting import actor

pages = Blueprint("sendlimits", __name__, url_prefix="/system/send-limits")
SPARE: Final = 2
"""Empty lines that the form has for more domains."""
MAX_LINES: Final = 200
_PACES: Final = ("per_second", "per_hour", "per_day")
_SPLIT: Final = str.maketrans(",;\n", "   ")


@pages.get("/")
@allow("manager")
def show() -> ResponseReturnValue:
    """The limits, and what is used of them now."""
    with parts().transaction() as session:
        return _page(session, None)


@pages.post("/")
@allow("admin")
def save() -> ResponseReturnValue:
    """Set the limits; empty fields are no limit."""
    try:
        wanted = _terms(request.form)
        with parts().transaction() as session:
            permits.set_terms(session, wanted, parts().now(), actor())
    except InvalidInput as error:
        with parts().transaction() as session:
            return _page(session, error), 400
    flash("The limits hold for every mail that is handed over from now on.")
    return redirect(url_for("sendlimits.show"))


def _page(session: Session, fault: InvalidInput | None) -> str:
    terms = sendlimits.terms(session)
    now = parts().now()
    return render_template(
        "system/sendlimits.html",
        fault=fault,
        values=dict(request.form) if fault is not None else _written(terms),
        domains=range(min(MAX_LINES, len(terms.domains) + SPARE)),
        warm_ups=range(len(terms.warm_ups) + 1),
        uses=permits.uses(session, sendlimits.named_keys(terms), now),
        words={sendlimits.SECOND: "a second", sendlimits.HOUR: "an hour", sendlimits.DAY: "a day"},
        days=[(one, (now - one.begins_at).days + 1) for one in terms.warm_ups],
    )


def _written(terms: Terms) -> dict[str, str]:
    """The terms as the form's fields."""
    values = {name: str(getattr(terms.everything, name) or "") for name in _PACES}
    if terms.breaker is not None:
        values |= {"stop_percent": f"{100 * terms.breaker.share:g}", "stop_least": str(terms.breaker.least)}
    for number, pace in enumerate(terms.domains):
        values[f"domains-{number}"] = ", ".join(pace.domains)
        values |= {f"{name}-{number}": str(getattr(pace, name) or "") for name in _PACES}
    for number, one in enumerate(terms.warm_ups):
        values[f"warm-{number}"] = one.domain
        values[f"begins-{number}"] = f"{one.begins_at.astimezone(UTC):%Y-%m-%d}"
        values[f"ceilings-{number}"] = ", ".join(map(str, one.ceilings))
    return values


def _terms(form: Mapping[str, str]) -> Terms:
    domains = []
    for number in range(MAX_LINES):
        names = forms.text(form, f"domains-{number}").translate(_SPLIT).split()
        if names:
            pace = _pace(form, f"-{number}")
            domains.append(forms.content({"domains": names, **pace}, DomainPace))
    return Terms(
        everything=forms.content(_pace(form, ""), Pace),
        domains=domains,
        warm_ups=list(_warm_ups(form)),
        breaker=_breaker(form),
    )


def _breaker(form: Mapping[str, str]) -> Breaker | None:
    share = forms.share(form, "stop_percent")
    if not share:
        return None
    least = forms.whole(form, "stop_least")
    try:
        return forms.content({"share": share} | ({} if least is None else {"least": least}), Breaker)
    except InvalidInput as error:
        raise InvalidInput("stop_percent" if error.field == "share" else "stop_least", error.message) from None


def _pace(form: Mapping[str, str], suffix: str) -> dict[str, int | None]:
    return {name: forms.whole(form, f"{name}{suffix}") for name in _PACES}


def _warm_ups(form: Mapping[str, str]) -> Iterator[WarmUp]:
    for number in range(MAX_LINES):
        domain = forms.text(form, f"warm-{number}")
        if not domain:
            continue
        told = {
            str(place): one
            for place, one in enumerate(forms.text(form, f"ceilings-{number}").translate(_SPLIT).split())
        }
        ceilings = [forms.whole(told, place) for place in told]
        begins = forms.moment(form, f"begins-{number}", "UTC")
        if begins is None:
            raise InvalidInput(f"begins-{number}", "needs the day on which the domain begins to send")
        began = datetime(begins.year, begins.month, begins.day, tzinfo=UTC)
        yield forms.content({"domain": domain, "begins_at": began, "ceilings": ceilings}, WarmUp)
