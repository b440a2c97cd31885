"""`POST /v1/decide` from a web page: what one of its slots shows, in words and as a picture.

A page bears a public site key, which is good from its allowed origins alone: an answer names exactly the origin that
asked, and others are refused before anything is read. The body is sent as plain text, so that a browser asks at once
and without a preflight, which could not say whose page it is. Who the visitor is counts only by an identity token
(render/identity.py); without a good one they are nobody, get the slot's default, and leave no trace but a counter.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from base.clock import monotonic
from base.errors import InvalidInput, Unavailable
from base.tokens import Purpose
from render import respond
from render.block import bound, default_in, in_words, words
from render.cache import Picture
from render.contact import Name, contact_fetch, may_have, read_body
from render.creative import Badge, Cells, Column, Item, Price, Resolved
from render.facts import Chosen
from render.fetch import Fetch, Open
from render.identity import read_identity
from render.open import find_open, note_unrecorded
from render.parts import Parts
from render.plan import Slot
from render.recording import answer_record
from render.respond import Answer, Headers
from render.webpicture import CHANNEL, VISIT, picture_address

PERSON_RATE: Final = (5.0, 40.0)
STRANGER_RATE: Final = (200.0, 800.0)
"""Asked per second and at once: by one person on a site, and by all strangers on it, in each process."""


class SiteIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a page asks: its key, which slot of which campaign, and, if its server says so, for whom."""

    key: Annotated[str, Meta(max_length=200)]
    campaign: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    placement: Name
    person: Annotated[str, Meta(max_length=200)] = ""


class Part(Struct, frozen=True, omit_defaults=True):
    """One text of a design: badge, text, pill, price, rating, coupon or button. `struck` is a former, higher price."""

    kind: str
    text: str
    struck: str = ""


class PictureOut(Struct, frozen=True, kw_only=True):
    """The slot as a picture: where it is fetched from here, its declared size in CSS pixels, and what it says."""

    light: str
    dark: str
    width: int
    height: int
    alt: str


class SiteOut(Struct, frozen=True, kw_only=True):
    """What the slot shows; no parts where the campaign has no such slot. `landing` is where a click goes."""

    decision: str
    parts: list[Part]
    picture: PictureOut | None = None
    landing: str = ""
    lang: str = ""
    dir: str = "ltr"


_read: Final = msgspec.json.Decoder(SiteIn).decode


def decide_site(parts: Parts, body: bytes, environ: Mapping[str, object]) -> Answer:
    """Answer a page's `POST /v1/decide`."""
    started = monotonic()
    origin = str(environ.get("HTTP_ORIGIN", ""))
    try:
        asked = read_body(body, _read)
        key = parts.keyring.read(f"Bearer {asked.key}")
    except InvalidInput as error:
        return _error("400 Bad Request", error.field, error.message)
    except Unavailable:
        return _error("503 Service Unavailable", "", "The store is away; try again.")
    if key is None or key.kind != "site":
        return _error("401 Unauthorized", "key", "A site key is needed, and one that was not revoked.")
    if origin not in key.origins:
        return _error("403 Forbidden", "Origin", "The site key is not for pages of this origin.")
    allowed = [
        ("Access-Control-Allow-Origin", origin), ("Vary", "Origin"), ("Cross-Origin-Resource-Policy", "cross-origin"),
    ]  # fmt: skip
    profile = read_identity(parts.tokens, asked.person, parts.now()) or 0
    site = asked.key.partition(".")[0]
    rate = (f"{site}:{profile}", *PERSON_RATE) if profile else (site, *STRANGER_RATE)
    if not parts.rates.take(*rate):
        return _error("429 Too Many Requests", "", "Asked too often.", [*allowed, ("Retry-After", "1")])
    if not may_have(parts, asked.campaign, asked.placement):
        return respond.json(SiteOut(decision=secrets.token_hex(16), parts=[]), extra=allowed)
    fetch = contact_fetch(parts, profile, asked.campaign, (CHANNEL, asked.placement, VISIT), started)
    opened = find_open(parts, fetch)
    if opened is None:
        return _error("404 Not Found", "campaign", "There is no such campaign, or nothing of it is published.", allowed)
    slot = next((one for one in opened.plan.slots if one.name == asked.placement), None)
    if not opened.is_recorded:
        note_unrecorded(parts, fetch, opened)
        answer = _answer(parts, fetch, opened, slot, None)
    else:
        answer = _answer(parts, fetch, opened, slot, opened.in_slot(slot.index) if slot is not None else None)
        content = Picture(msgspec.json.encode(answer), "application/json", is_personal=True)
        if not parts.opening.mark(fetch, opened, None, answer_record(fetch, opened, content, "drawn", None)):
            return _error("503 Service Unavailable", "", "The decision could not be kept.", allowed)
    parts.metrics.count("contacts")
    return respond.json(answer, extra=allowed)


def _answer(parts: Parts, fetch: Fetch, opened: Open, slot: Slot | None, chosen: Chosen | None) -> SiteOut:
    """What is shown; the default's words where nothing was chosen."""
    decision = opened.decision if opened.is_recorded else secrets.token_hex(16)
    if slot is None:
        return SiteOut(decision=decision, parts=[])
    shown = chosen or default_in(opened.plan, slot)
    resolved = bound(fetch, opened, shown)
    return SiteOut(
        decision=decision,
        parts=said(resolved),
        picture=_picture(parts, fetch, opened, slot, resolved),
        landing=opened.plan.offer_by_id[shown.offer].landing_for(shown.product),
        lang=resolved.locale,
        dir="rtl" if resolved.rtl else "ltr",
    )


def _picture(parts: Parts, fetch: Fetch, opened: Open, slot: Slot, resolved: Resolved) -> PictureOut:
    """The slot's picture in this open; of whom nothing may be written down, it is a stranger's."""
    profile = fetch.token.profile if opened.is_recorded else 0
    light, dark = (
        picture_address(parts, purpose, profile, fetch.token.campaign, slot)
        for purpose in (Purpose.SLOT, Purpose.SLOT_DARK)
    )
    return PictureOut(light=light, dark=dark, width=slot.width, height=slot.height, alt=words(resolved, slot.alt))


def said(resolved: Resolved) -> list[Part]:
    """The texts of a design, in the order in which it draws them; a clock is left out, because words stand still."""
    found: list[Part] = []
    for layer in resolved.layers:
        if isinstance(layer, Badge):
            found.append(Part("badge", layer.text))
        elif isinstance(layer, Column):
            found.extend(map(_part, layer.items))
        elif isinstance(layer, Cells):
            found.extend(_part(item) for cell in layer.cells for item in cell.items)
    return [part for part in found if part.text]


def _part(item: Item) -> Part:
    struck = item.struck if isinstance(item, Price) else ""
    return Part(str(type(item).__struct_config__.tag), in_words(item), struck)


def _error(status: str, field: str, message: str, extra: Headers | None = None) -> Answer:
    return respond.json({"error": {"field": field, "message": message}}, status, extra)
