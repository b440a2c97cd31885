"""How things are shown on pages: times in the viewer's zone, money, numbers, the menu, and hardened headers."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from flask import Flask, Response, request, send_from_directory, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup

from base.counting import count
from base.errors import InvalidInput
from campaigns.access import public
from campaigns.editions import FIELD
from signals.currencies import exponent

STATIC = Path(__file__).parent / "static"
YEAR_SECONDS = 31_536_000
# Pages run no inline script and load nothing from elsewhere; pictures of mails are shown from data or from ourselves.
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "frame-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
SIGNATURES = {b"\xff\xd8": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"RIFF": "webp"}
SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}
FIELD_WORDS = {
    "address": "To", "at": "At", "due_at": "At", "person": "Customer", "timezone": "Time zone", "mjml": "Markup",
    "metric": "What counts as success", "window_days": "Days after the mail", "landing": "Where a click goes",
    "arms": "Arms", "margin_share": "Margin", "return_cents": "A return", "service_cents": "A service contact",
    "send_holdout": "Get no mail", "content_holdout": "Get neutral content", "default_landing": "Where a click goes",
    "at_least": "From", "below": "Up to", "margin": "Margin", "contact": "A complaint or call costs",
    "return": "A return costs", "starts_at": "Shown from", "note": "For whoever approves", "ends_at": "Ends",
    "window-day": "Days", "timing.window.begin": "From",
    "timing.window.until": "Until", "timing.clocks": "Whose clocks", "timing.joins": "Who gets it",
    "missed.after_minutes": "Late after", "q": "Search", "older": "Told",
    "each": "Comes again every", "times": "Times in all", "return_cost": "A return",
    "service_cost": "A service contact", "expected": "Then it must show",
}  # fmt: skip
"""Fields whose name on a page is not their own."""
LINE_WORDS = {"p": "Property", "type": "Is", "values": "One of", "least": "From", "most": "Up to"}
"""Fields that a form has once a line, their names followed by the line's number from 0 on."""
_OF_A_LINE = re.compile(rf"({'|'.join(LINE_WORDS)})([0-9]+)")
MENU = (
    ("Home", "home.index", ("manager", "support", "approver")),
    ("Campaigns", "campaigns.index", ("manager",)),
    ("Approvals", "approvals.index", ("approver",)),
    ("Offers", "offers.index", ("manager",)),
    ("Products", "products.index", ("manager", "support")),
    ("Creatives", "creatives.index", ("manager",)),
    ("Pictures", "pictures.index", ("manager",)),
    ("Audience tools", "scores.index", ("manager",)),
    ("Models", "models.index", ("manager",)),
    ("Customers", "customers.index", ("support",)),
    ("System", "system.index", ("admin",)),
)
BELONGS = {
    "running": "campaigns", "preview": "campaigns", "matrix": "campaigns", "exploring": "campaigns",
    "arms": "campaigns", "timing": "campaigns", "texts": "campaigns", "checks": "campaigns",
    "scenarios": "campaigns", "messageevents": "campaigns",
    "takers": "offers", "relations": "offers", "segments": "scores", "exports": "scores",
    "merges": "customers", "households": "customers", "permissions": "customers", "corrections": "customers",
    "calls": "customers", "erasure": "customers",
    "sending": "system", "sendlimits": "system", "gateways": "system", "mailreports": "system", "stream": "system",
    "trackingplan": "system", "shops": "system", "lineage": "system",
}  # fmt: skip
"""Under which entry of the menu the pages of an area lie that has none of its own."""
OR_ELSE = {"stream": "customers", "segments": "customers"}
"""Under which they lie for who may not open that one; from there they are reached."""


@dataclass(frozen=True)
class MenuEntry:
    """One line of the main menu."""

    title: str
    url: str
    current: bool


def install(app: Flask) -> None:
    """Register filters, globals, static files and response headers."""
    fingerprints: dict[str, str] = {}

    def asset(name: str) -> str:
        """The address of a static file, with its content's hash, so that it may be cached for good."""
        if name not in fingerprints:
            path = STATIC / name
            fingerprints[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else "missing"
        return url_for("static", filename=name, v=fingerprints[name])

    @public
    def static(filename: str) -> Response:
        response = send_from_directory(STATIC, filename, max_age=YEAR_SECONDS)
        response.cache_control.immutable = True
        return response

    @public
    def icon() -> Response:
        return static("favicon.svg")

    app.add_url_rule("/static/<path:filename>", endpoint="static", view_func=static)
    # Browsers ask for it beside documents that name no icon, such as the mail in a preview's frame.
    app.add_url_rule("/favicon.ico", endpoint="icon", view_func=icon)
    app.jinja_env.globals.update(asset=asset, csrf=csrf, menu=menu, zone_name=zone_name)
    app.jinja_env.filters.update(moment=moment, day=day, money=money, price=price)
    app.jinja_env.filters.update(number=number, percent=percent, part_of=part_of, count=count)
    app.jinja_env.filters.update(inline=inline, fault=fault, span=span)
    app.context_processor(lambda: {"user": current_user})
    app.after_request(_headers)


def csrf(edition: str = "") -> Markup:
    """The hidden field that every form carries; with it, where it shows what others may change, its `edition`."""
    field = Markup('<input type="hidden" name="{}" value="{}">')
    token = field.format("csrf_token", generate_csrf())
    if not edition:
        return token
    # What is shown again, for a fault in it or a button of the editor, was made from what it was made from before.
    return token + field.format(FIELD, request.form.get(FIELD) or edition)


def menu() -> list[MenuEntry]:
    """The entries that the signed-in person may open."""
    if not current_user.is_authenticated:
        return []
    area = _area(request.blueprint)
    here, open_to = BELONGS.get(area, area), [entry for entry in MENU if current_user.may(*entry[2])]
    if all(_area(endpoint) != here for _, endpoint, _ in open_to):
        here = OR_ELSE.get(area, here)
    return [MenuEntry(title, url_for(endpoint), _area(endpoint) == here) for title, endpoint, _ in open_to]


def _area(endpoint: str | None) -> str:
    return (endpoint or "").split(".")[0]


def zone_name() -> str:
    """The viewer's time zone, by name."""
    return current_user.timezone if current_user.is_authenticated else "UTC"


def moment(value: datetime | None, *, seconds: bool = False) -> str:
    """Date and time to the minute, or the second, in the viewer's zone; a dash for none."""
    if value is None:
        return "–"
    local = _local(value)
    return f"{local:%-d %b %Y, %H:%M:%S}" if seconds else f"{local:%-d %b %Y, %H:%M}"


def day(value: datetime | None) -> str:
    """The date in the viewer's zone, or a dash."""
    return f"{_local(value):%-d %b %Y}" if value else "–"


def _local(value: datetime) -> datetime:
    """A moment in the viewer's zone; as it is told at the end of the calendar, where that zone's lies beyond it."""
    try:
        return value.astimezone(ZoneInfo(zone_name()))
    except OverflowError:
        return value


def money(cents: int | None, currency: str | None) -> str:
    """Hundredths as an amount in its currency, such as €1,234.50, ¥9,000 or KWD 4.250; without a symbol where none is
    known."""
    if cents is None:
        return "–"
    sign = "−" if cents < 0 else ""
    symbol = SYMBOLS.get(currency, f"{currency} ") if currency else ""
    return f"{sign}{symbol}{abs(cents) / 100:,.{exponent(currency) if currency else 2}f}"


def price(minor: int, currency: str) -> str:
    """A product's price, kept in the minor units of its currency: ¥1,280, KWD 4.250."""
    digits = exponent(currency)
    return f"{SYMBOLS.get(currency, f'{currency} ')}{minor / 10**digits:,.{digits}f}"


def span(value: timedelta) -> str:
    """How long something is, in the largest unit that says it well: 40 minutes, 3 hours, 2 days."""
    seconds = max(0, int(value.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size or seconds == size:
            return count(seconds // size, unit)
    return count(seconds // 60 or 1, "minute") if seconds >= 60 else "less than a minute"


def number(value: float | None, digits: int = 0) -> str:
    """A grouped number, or a dash for what is not known."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share (0 to 1) as a percentage, or a dash for what is not known."""
    return "–" if value is None else f"{value * 100:.{digits}f} %"


def part_of(part: int, whole: int) -> str:
    """A number of some as a percentage of all; neither nobody nor everybody by rounding alone."""
    if 0 < part < whole and not 0.0005 <= part / whole < 0.9995:
        return "under 0.1 %" if 2 * part < whole else "over 99.9 %"
    return percent(part / whole if whole else None)


def fault(error: Exception, **words: str) -> str:
    """A refusal above a form: the field by its name on the page (`words` has those of this page alone), then what is
    wrong with it."""
    if not isinstance(error, InvalidInput) or not error.field:
        return str(error)
    if line := _OF_A_LINE.fullmatch(error.field):
        return f"{LINE_WORDS[line[1]]}, line {int(line[2]) + 1}: {error.message}"
    name = words.get(error.field) or FIELD_WORDS.get(error.field) or error.field.replace("_", " ")
    return f"{name[:1].upper()}{name[1:]}: {error.message}"


def inline(picture: bytes) -> str:
    """A picture as an address that holds it whole; its type is told by its first bytes."""
    kind = next((kind for start, kind in SIGNATURES.items() if picture.startswith(start)), "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _headers(response: ResponseReturnValue) -> ResponseReturnValue:
    assert isinstance(response, Response)  # noqa: S101 - after_request is only ever given responses
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
