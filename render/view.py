"""The decision as HTML: one block, and the whole mail in a browser.

They show what the pictures show: the same open, the same decision. The whole mail is the plan's own template, filled
with the person's fields and with the addresses its mail has; its pictures are fetched from there like the mail's.
"""

from __future__ import annotations

from typing import Final

from markupsafe import escape

from base.clock import monotonic
from base.errors import BadToken
from base.tokens import Purpose, pack_size
from render import mailpage, respond
from render.addresses import address
from render.block import block_html, default_in, picture_html
from render.cache import Picture
from render.fetch import Fetch, Open
from render.notice import not_found, notice
from render.open import Environ, fetch_of, find_open, note_unrecorded
from render.parts import Parts
from render.recording import answer_record
from render.respond import Answer

HTML: Final = "text/html; charset=utf-8"


def show_block(parts: Parts, text: str, environ: Environ) -> Answer:
    """Answer `GET /h/<token>`: the block as HTML, of the decision its picture shows."""
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.HTML)
    except BadToken:
        return _forged(parts)
    fetch = fetch_of(parts, token, "html", environ, started)
    opened = find_open(parts, fetch)
    slot = opened.plan.slot_by_index.get(token.slot) if opened is not None else None
    if opened is None or slot is None:
        return respond.page("<!doctype html><html lang=en><title></title></html>", embeddable=True)
    if opened.is_recorded:
        chosen = opened.in_slot(token.slot) or default_in(opened.plan, slot)
        body = block_html(parts, fetch, opened, slot, chosen)
        if noted(parts, fetch, opened, _page(body), chosen.offer):
            return respond.page(body, embeddable=True)
    else:
        note_unrecorded(parts, fetch, opened)
    return respond.page(block_html(parts, fetch, opened, slot, default_in(opened.plan, slot)), embeddable=True)


def show_mail(parts: Parts, text: str, environ: Environ) -> Answer:
    """Answer `GET /view/<token>`: the whole mail in a browser."""
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.VIEW)
    except BadToken:
        return _forged(parts)
    fetch = fetch_of(parts, token, "view", environ, started)
    opened = find_open(parts, fetch)
    if opened is None:
        return notice("This mail can no longer be shown", "<p>It is over, or it cannot be read just now.</p>")
    body = mail_html(parts, fetch, opened)
    if not opened.is_recorded:
        note_unrecorded(parts, fetch, opened)
    elif not noted(parts, fetch, opened, _page(body), None):
        body = _plain_mail(parts, fetch, opened)
    return respond.page(body)


def mail_html(parts: Parts, fetch: Fetch, opened: Open) -> str:
    """The plan's page for this delivery; a plain list of its blocks where the plan has none that can be filled.

    The person's fields are printed as the mail printed them, or not at all: see `mailpage.printed_mark`.
    """
    if not opened.plan.view_html:
        return _plain_mail(parts, fetch, opened)
    state = opened.state if opened.is_recorded else None
    traits = state.traits if state is not None else {}
    token = fetch.token
    if pack_size(token.width, token.height, token.fmt) != mailpage.printed_mark(opened.plan.view_html, traits):
        traits = {}
    links: dict[str, str] = {
        "view": address(parts, fetch, opened.plan, Purpose.VIEW),
        "unsubscribe": address(parts, fetch, opened.plan, Purpose.UNSUBSCRIBE),
    }
    urls: dict[str, str] = {}
    for slot in opened.plan.slots:
        links[slot.name] = address(parts, fetch, opened.plan, Purpose.CLICK, slot)
        urls[f"picture_{slot.index}"] = address(parts, fetch, opened.plan, Purpose.PICTURE, slot)
        urls[f"dark_{slot.index}"] = address(parts, fetch, opened.plan, Purpose.PICTURE_DARK, slot)
    try:
        return mailpage.fill(opened.plan.view_html, traits, links, urls)
    except ValueError:
        parts.metrics.count("errors", value="other")
        return _plain_mail(parts, fetch, opened)


def noted(parts: Parts, fetch: Fetch, opened: Open, page: Picture, offer: int | None) -> bool:
    """Mark and record what answers the fetch, a page or data; `offer` is the one it shows, None for more than one."""
    sight = opened.sight(fetch, offer) if offer is not None else None
    noted = parts.opening.mark(fetch, opened, sight, answer_record(fetch, opened, page, "drawn", offer))
    if noted:
        parts.metrics.count("fetches", value=fetch.verdict.fetch_class)
    return noted


def _page(body: str) -> Picture:
    """A page as it is recorded; its own addresses make it personal."""
    return Picture(body.encode(), HTML, is_personal=True)


def _plain_mail(parts: Parts, fetch: Fetch, opened: Open) -> str:
    blocks = "".join(
        f'<p><a href="{escape(address(parts, fetch, opened.plan, Purpose.CLICK, slot))}">'
        f"{picture_html(parts, fetch, opened.plan, slot, slot.alt)}</a></p>"
        for slot in opened.plan.slots
    )
    return (
        f'<!doctype html><html lang="{escape(opened.locale)}"><head><meta charset="utf-8">'
        f"<title>{escape(opened.plan.brand or opened.plan.name)}</title></head><body>{blocks}"
        f'<p><a href="{escape(address(parts, fetch, opened.plan, Purpose.UNSUBSCRIBE))}">Unsubscribe</a></p>'
        "</body></html>"
    )


def _forged(parts: Parts) -> Answer:
    parts.metrics.count("forged")
    return not_found()
