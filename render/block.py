"""One block as HTML that mail programs and pages can show: a table, inline styles, declared sizes, light and dark."""

from __future__ import annotations

from typing import Final

from markupsafe import escape

from base.tokens import Purpose
from render.addresses import address
from render.binding import resolve
from render.creative import Badge, Button, Cells, Column, Countdown, Item, Price, Rating, Resolved
from render.facts import Chosen
from render.fetch import Fetch, Open
from render.fields import default_fields
from render.parts import Parts
from render.plan import Plan, Slot

MAX_WORDS: Final = 300
"""Characters of a picture said in words; readers of screens cannot skip within an alternative text."""
_DARK: Final = (
    "@media (prefers-color-scheme:dark){.lb-ground{background:#17181c!important}.lb-link{color:#f4f3f0!important}}"
)


def default_in(plan: Plan, slot: Slot) -> Chosen:
    """What a slot shows when nothing else may be shown."""
    offer = plan.offer_by_id[slot.default]
    return Chosen(slot.index, offer.id, offer.creative, default_fields(plan, offer))


def bound(fetch: Fetch, opened: Open, chosen: Chosen) -> Resolved:
    """The design that was chosen, with its texts as they are at the moment of the fetch."""
    plan = opened.plan
    return resolve(plan.creative_by_id[chosen.creative], chosen.fields, opened.locale, plan.currency, fetch.now_ms)


def words(resolved: Resolved, alt: str) -> str:
    """What the picture says, for who does not see it; `alt`, the place's own words, where it says nothing."""
    said: list[str] = []
    for layer in resolved.layers:
        if isinstance(layer, Badge):
            said.append(layer.text)
        elif isinstance(layer, Column):
            said.extend(filter(None, map(in_words, layer.items)))
        elif isinstance(layer, Cells):
            cells = (" ".join(filter(None, map(in_words, cell.items))) for cell in layer.cells)
            said.extend(filter(None, cells))
    text = " ".join(map(_sentence, said))
    return (text if len(text) <= MAX_WORDS else f"{text[: MAX_WORDS - 1].rstrip()}…") or alt


def block_html(parts: Parts, fetch: Fetch, opened: Open, slot: Slot, chosen: Chosen) -> str:
    """The block as a page of its own: its picture, and beneath it a link in words; both lead where its click goes."""
    resolved = bound(fetch, opened, chosen)
    link = escape(address(parts, fetch, opened.plan, Purpose.CLICK, slot))
    direction = ' dir="rtl"' if resolved.rtl else ""
    return (
        f'<!doctype html><html lang="{escape(opened.locale)}"{direction}><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(slot.alt)}</title>'
        f"<style>{_DARK}</style></head>"
        f'<body class="lb-ground" style="margin:0;padding:0" data-decision="{escape(opened.decision)}">'
        f'<table role="presentation" width="{slot.width}" align="center" cellpadding="0" cellspacing="0" border="0" '
        f'style="width:100%;max-width:{slot.width}px;border-collapse:collapse"><tr><td style="padding:0">'
        f'<a href="{link}" target="_blank" style="display:block;text-decoration:none">'
        f"{picture_html(parts, fetch, opened.plan, slot, words(resolved, slot.alt))}</a></td></tr>"
        '<tr><td align="center" style="padding:12px 16px;font-family:Helvetica,Arial,sans-serif;font-size:16px;'
        f'line-height:24px"><a class="lb-link" href="{link}" target="_blank" style="color:#1c1b1a;font-weight:bold">'
        f"{escape(_label(resolved) or slot.alt)}</a></td></tr></table></body></html>"
    )


def picture_html(parts: Parts, fetch: Fetch, plan: Plan, slot: Slot, alt: str) -> str:
    """A slot's picture, light and dark, with its declared size: Outlook's Word engine obeys the attributes alone."""
    dark = escape(address(parts, fetch, plan, Purpose.PICTURE_DARK, slot))
    return (
        f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{escape(address(parts, fetch, plan, Purpose.PICTURE, slot))}" width="{slot.width}" '
        f'height="{slot.height}" alt="{escape(alt)}" style="display:block;width:100%;max-width:{slot.width}px;'
        "height:auto;border:0;font-family:Helvetica,Arial,sans-serif;font-size:16px;line-height:24px;color:#1c1b1a;"
        'background-color:#f4f2ee"></picture>'
    )


def in_words(item: Item) -> str:
    """An item in words. A former price is left out: without its stroke it would read as one to pay.

    So is what a clock shows: words stand still.
    """
    match item:
        case Price():
            return item.amount
        case Countdown():
            return ""
        case Rating():
            return f"{item.value} / 5 ({item.count})"
        case _:
            return item.text


def _sentence(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if one_line[-1:] in ".!?…:,。！？" else f"{one_line}."


def _label(resolved: Resolved) -> str:
    """What the design's button says."""
    items = (item for layer in resolved.layers if isinstance(layer, Column) for item in layer.items)
    return next((item.text for item in items if isinstance(item, Button)), "")
