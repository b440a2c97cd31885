"""`GET /amp/<token>`: the decision as JSON, for a mail's AMP part.

The picture's address, the words for who does not see it, and the link come in one answer, because an AMP mail can use
only whole attributes, and so that all three are of one decision. Mail programs ask as the rules of AMP for Email say
(amp.dev, "CORS in AMP for Email"): version 2 names the mail's sender in a header, version 1 in the query and sends an
origin. Who asks for another sender's mail is refused before anything is looked up, decided or recorded.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

import msgspec

from base.clock import monotonic
from base.errors import BadToken
from base.tokens import WHOLE_MAIL, Purpose
from render import respond
from render.addresses import address
from render.block import bound, default_in, words
from render.cache import Picture
from render.fetch import Fetch, Open
from render.notice import not_found
from render.open import Environ, fetch_of, find_open, note_unrecorded
from render.parts import Parts
from render.plan import Plan, Slot
from render.respond import Answer, Headers
from render.view import noted
from signals.moments import unix_ms

JSON: Final = "application/json"
MAX_QUERY: Final = 2000
_SOURCE: Final = "__amp_source_origin"
_encode: Final = msgspec.json.Encoder().encode


class Refused(Exception):
    """The request names a sender whose mails are none of this campaign's. `field` is where it does."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Item(msgspec.Struct, frozen=True):
    """One slot as an AMP mail fills it: addresses are whole, `decision` is that of the picture."""

    name: str
    decision: str
    img: str
    url: str
    alt: str


def show_amp(parts: Parts, text: str, environ: Environ) -> Answer:
    """Answer `GET /amp/<token>`: the decision of one slot, or of all."""
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.AMP)
    except BadToken:
        parts.metrics.count("forged")
        return not_found()
    running = parts.lookup.running(token.campaign, unix_ms(parts.now()))
    try:
        allowed = allowance(environ, running.plan if running is not None else None)
    except Refused as refused:
        fault = {"field": refused.field, "message": "This sender's mails may not ask for this decision."}
        return respond.json({"error": fault}, "403 Forbidden")
    fetch = fetch_of(parts, token, "amp", environ, started)
    opened = find_open(parts, fetch)
    items = _items(parts, fetch, opened) if opened is not None else []
    return respond.json({"items": items}, extra=allowed)


def allowance(environ: Environ, plan: Plan | None) -> Headers:
    """The headers that let the mail of a campaign's own sender read the answer; none for who asks as no mail does.

    Raises Refused for any other sender's.
    """
    sender = str(environ.get("HTTP_AMP_EMAIL_SENDER", ""))
    if sender:
        return [("AMP-Email-Allow-Sender", _own(plan, sender, "AMP-Email-Sender"))]
    query = str(environ.get("QUERY_STRING", ""))
    if _SOURCE not in query:
        return []
    sources = parse_qs(query[:MAX_QUERY]).get(_SOURCE, [])
    origin = str(environ.get("HTTP_ORIGIN", ""))
    if len(sources) != 1 or not origin:
        raise Refused(_SOURCE if origin else "Origin")
    source = _own(plan, sources[0], _SOURCE)
    return [
        # Of whichever mail program: no cookie is ever read here, and the token in the address is what opens the door.
        ("Access-Control-Allow-Origin", origin),
        ("AMP-Access-Control-Allow-Source-Origin", source),
        ("Access-Control-Expose-Headers", "AMP-Access-Control-Allow-Source-Origin"),
        ("Vary", "Origin"),
    ]


def _own(plan: Plan | None, sender: str, field: str) -> str:
    """The sender as it asks, if it is one of the campaign's own; what was around it is no part of a header."""
    asks = sender.strip()
    if plan is None or not plan.amp_senders or asks.lower() not in plan.amp_senders:
        raise Refused(field)
    return asks


def _items(parts: Parts, fetch: Fetch, opened: Open) -> list[Item]:
    """What is said once it is recorded; what cannot be recorded is answered with the places' own words."""
    slots = [slot for slot in opened.plan.slots if fetch.token.slot in (slot.index, WHOLE_MAIL)]
    if not opened.is_recorded:
        note_unrecorded(parts, fetch, opened)
        return [_item(parts, fetch, opened, slot, slot.alt) for slot in slots]
    items = []
    for slot in slots:
        chosen = opened.in_slot(slot.index) or default_in(opened.plan, slot)
        items.append(_item(parts, fetch, opened, slot, words(bound(fetch, opened, chosen), slot.alt)))
    shown = opened.in_slot(fetch.token.slot)
    answer = Picture(_encode(items), JSON, is_personal=True)
    if noted(parts, fetch, opened, answer, shown.offer if shown is not None else None):
        return items
    return [_item(parts, fetch, opened, slot, slot.alt) for slot in slots]


def _item(parts: Parts, fetch: Fetch, opened: Open, slot: Slot, alt: str) -> Item:
    base = parts.settings.render_base(opened.plan.brand)
    return Item(
        name=slot.name,
        decision=opened.decision,
        img=base + address(parts, fetch, opened.plan, Purpose.PICTURE, slot),
        url=base + address(parts, fetch, opened.plan, Purpose.CLICK, slot),
        alt=alt,
    )
