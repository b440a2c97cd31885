"""The decision as HTML: one block, the whole mail in a browser, and JSON for mails that ask for it.

They show what the pictures show: the same open, the same decision. The whole mail is the plan's own template, filled
with the person's fields and with the addresses its mail has; its pictures are fetched from there like the mail's.
"""

from __future__ import annotations

from typing import Final

from markupsafe import escape

from base.clock import monotonic
from base.errors import BadToken
from base.tokens import WHOLE_MAIL, Purpose, Token
from render import mailpage, respond
from render.binding import resolve
from render.cache import Picture
from render.creative import Badge, Button, Column, Price, Text
from render.facts import Chosen
from render.fetch import Fetch, Open
from render.fields import default_fields
from render.open import Environ, fetch_of, find_open, note_unrecorded
from render.parts import Parts
from render.plan import Plan, Slot
from render.recording import fetch_record
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
        if _noted(parts, fetch, opened, body, chosen.offer):
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
        gone = "<!doctype html><html lang=en><title>Mail</title><p>This mail can no longer be shown.</p></html>"
        return respond.page(gone)
    body = mail_html(parts, fetch, opened)
    if not opened.is_recorded:
        note_unrecorded(parts, fetch, opened)
    elif not _noted(parts, fetch, opened, body, None):
        body = _plain_mail(parts, fetch, opened)
    return respond.page(body)


def show_json(parts: Parts, text: str, environ: Environ) -> Answer:
    """Answer `GET /amp/<token>`: the decision of one slot, or of all, with complete addresses."""
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.AMP)
    except BadToken:
        return _forged(parts)
    fetch = fetch_of(parts, token, "html", environ, started)
    opened = find_open(parts, fetch)
    if opened is None:
        return respond.json({"items": []})
    slots = [slot for slot in opened.plan.slots if token.slot in (slot.index, WHOLE_MAIL)]
    items = [_item(parts, fetch, opened, slot) for slot in slots]
    chosen = opened.in_slot(token.slot)
    if opened.is_recorded:
        _noted(parts, fetch, opened, str(items), chosen.offer if chosen is not None else None)
    return respond.json({"items": items})


def mail_html(parts: Parts, fetch: Fetch, opened: Open) -> str:
    """The plan's page for this delivery; a plain list of its blocks where the plan has none that can be filled."""
    if not opened.plan.view_html:
        return _plain_mail(parts, fetch, opened)
    state = opened.state if opened.is_recorded else None
    links: dict[str, str] = {
        "view": _address(parts, fetch, Purpose.VIEW),
        "unsubscribe": _address(parts, fetch, Purpose.UNSUBSCRIBE),
    }
    urls: dict[str, str] = {}
    for slot in opened.plan.slots:
        links[slot.name] = _address(parts, fetch, Purpose.CLICK, slot)
        urls[f"picture_{slot.index}"] = _address(parts, fetch, Purpose.PICTURE, slot)
        urls[f"dark_{slot.index}"] = _address(parts, fetch, Purpose.PICTURE_DARK, slot)
    try:
        return mailpage.fill(opened.plan.view_html, state.traits if state is not None else {}, links, urls)
    except ValueError:
        parts.metrics.count("errors", value="other")
        return _plain_mail(parts, fetch, opened)


def block_html(parts: Parts, fetch: Fetch, opened: Open, slot: Slot, chosen: Chosen) -> str:
    """One block: its picture and its words, both linked to where its click goes."""
    creative = opened.plan.creative_by_id[chosen.creative]
    resolved = resolve(creative, chosen.fields, opened.locale, opened.plan.currency, fetch.now_ms)
    words: list[str] = []
    for layer in resolved.layers:
        if isinstance(layer, Badge):
            words.append(f"<p><strong>{escape(layer.text)}</strong></p>")
        elif isinstance(layer, Column):
            words.extend(f"<p>{_words(item)}</p>" for item in layer.items if _words(item))
    direction = ' dir="rtl"' if resolved.rtl else ""
    return (
        f'<!doctype html><html lang="{escape(opened.locale)}"{direction}><head><meta charset="utf-8">'
        f"<title>{escape(slot.alt)}</title></head>"
        f'<body style="margin:0;font-family:Arial,sans-serif" data-decision="{escape(opened.decision)}">'
        f'<a href="{escape(_address(parts, fetch, Purpose.CLICK, slot))}" style="color:inherit;text-decoration:none">'
        f"{_image(parts, fetch, slot)}<div>{''.join(words)}</div></a></body></html>"
    )


def default_in(plan: Plan, slot: Slot) -> Chosen:
    """What a slot shows when nothing else may be shown."""
    offer = plan.offer_by_id[slot.default]
    return Chosen(slot.index, offer.id, offer.creative, default_fields(plan, offer))


def _noted(parts: Parts, fetch: Fetch, opened: Open, body: str, offer: int | None) -> bool:
    """Mark and record the page; its own addresses make it personal."""
    page = Picture(body.encode(), HTML, is_personal=True)
    sight = opened.sight(fetch, offer) if offer is not None else None
    noted = parts.opening.mark(fetch, opened, sight, fetch_record(fetch, opened, page, "drawn"))
    if noted:
        parts.metrics.count("fetches", value=fetch.verdict.fetch_class)
    return noted


def _item(parts: Parts, fetch: Fetch, opened: Open, slot: Slot) -> dict[str, str]:
    base = parts.settings.render_url
    return {
        "name": slot.name,
        "decision": opened.decision,
        "img": base + _address(parts, fetch, Purpose.PICTURE, slot),
        "url": base + _address(parts, fetch, Purpose.CLICK, slot),
        "alt": slot.alt,
    }


def _plain_mail(parts: Parts, fetch: Fetch, opened: Open) -> str:
    blocks = "".join(
        f'<p><a href="{escape(_address(parts, fetch, Purpose.CLICK, slot))}">{_image(parts, fetch, slot)}</a></p>'
        for slot in opened.plan.slots
    )
    return (
        f'<!doctype html><html lang="{escape(opened.locale)}"><head><meta charset="utf-8">'
        f"<title>{escape(opened.plan.brand or opened.plan.name)}</title></head><body>{blocks}"
        f'<p><a href="{escape(_address(parts, fetch, Purpose.UNSUBSCRIBE))}">Unsubscribe</a></p></body></html>'
    )


def _image(parts: Parts, fetch: Fetch, slot: Slot) -> str:
    dark = escape(_address(parts, fetch, Purpose.PICTURE_DARK, slot))
    return (
        f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{escape(_address(parts, fetch, Purpose.PICTURE, slot))}" width="{slot.width}" '
        f'height="{slot.height}" alt="{escape(slot.alt)}" style="display:block;border:0"></picture>'
    )


_PATHS: Final = {
    Purpose.PICTURE: "/o/",
    Purpose.PICTURE_DARK: "/o/",
    Purpose.CLICK: "/c/",
    Purpose.VIEW: "/view/",
    Purpose.UNSUBSCRIBE: "/u/",
}


def _address(parts: Parts, fetch: Fetch, purpose: Purpose, slot: Slot | None = None) -> str:
    """The address that this delivery's mail has, without a host: tokens are the same whenever they are minted."""
    token = fetch.token
    made = Token(
        purpose, token.profile, token.campaign, token.occurrence,
        slot.index if slot is not None else WHOLE_MAIL,
        slot.width if slot is not None else 0,
        slot.height if slot is not None else 0,
        slot.fmt if slot is not None else "jpg",
        token.send_day, token.neutral,
    )  # fmt: skip
    extension = f".{slot.fmt}" if slot is not None and _PATHS[purpose] == "/o/" else ""
    return f"{_PATHS[purpose]}{parts.tokens.mint(made)}{extension}"


def _words(item: object) -> str:
    match item:
        case Price():
            struck = f"<s>{escape(item.struck)}</s> " if item.struck else ""
            return f"{struck}<strong>{escape(item.amount)}</strong>"
        case Button():
            return f"<strong>{escape(item.text)}</strong>"
        case Text():
            return str(escape(item.text))
        case _:
            return str(escape(getattr(item, "text", "")))


def _forged(parts: Parts) -> Answer:
    parts.metrics.count("forged")
    return respond.not_found()
