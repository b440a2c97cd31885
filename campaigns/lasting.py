"""What a mail says for good: alternative texts and links are built once, the pictures change at every open.

So neither may speak of one offer. What would become untrue is refused when a campaign is published, with the field at
fault; `faults` is pure and looks only at what is written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Final

from render.plan import Plan

CLAIMS: Final = ("headline", "badge", "eyebrow", "body", "button")
"""Offer texts that a picture may carry and an alternative text may not."""
SHORTEST: Final = 4
"""Characters from which a text tells an offer from plain language."""
SHOWN: Final = 60
_CURRENCIES: Final = "EUR|USD|GBP|JPY|CHF|euros?|dollars?|pounds?|francs?|yen"
_PERCENT: Final = re.compile(r"\d+(?:[.,]\d+)?\s?(?:[%٪％]|per ?cent\b|prozent\b)", re.IGNORECASE)
_PRICE: Final = re.compile(
    rf"[€$£¥₹]\s?\d[\d.,]*|\d[\d.,]*\s?(?:[€$£¥₹]|(?:{_CURRENCIES})\b)|\b(?:{_CURRENCIES})\s?\d[\d.,]*", re.IGNORECASE
)
_SLOT_LINK: Final = re.compile(r"\{\{\s*link\.(\w+)\s*\}\}")


def faults(plan: Plan, html: str, titles: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Field and sentence of whatever would not stay true. `html` is the compiled mail, `titles` product id -> name.

    The fields are `slots[n].alt` of the message, and `mjml` for the text and the address of a link.
    """
    named = _names(plan, titles)
    for position, slot in enumerate(plan.slots):
        for found in _found(slot.alt, plan, named):
            yield (
                f"slots[{position}].alt",
                f"{found}; the alternative text of {slot.name} stays whatever is shown, so it must describe the place",
            )
    slots = {slot.name for slot in plan.slots}
    for link in _links(html):
        through = _SLOT_LINK.fullmatch(link.address.strip())
        if through is not None and through[1] in slots:
            for found in _found(link.text, plan, named):
                yield "mjml", f"{found} in the link “{_cut(link.text)}”, which leads to whatever is shown"
        elif offer := _straight(link.address, plan):
            yield (
                "mjml",
                f"links straight to where the offer {offer!r} leads; write {{{{ link.<place> }}}}, so that a click"
                " follows what was seen",
            )


def _found(text: str, plan: Plan, named: Mapping[str, str]) -> Iterator[str]:
    """What a text claims of a single offer, as phrases."""
    if found := _PERCENT.search(text):
        yield f"names a percentage ({found[0]})"
    own = re.search(rf"\d[\d.,]*\s?{re.escape(plan.currency)}\b|\b{re.escape(plan.currency)}\s?\d", text)
    if found := _PRICE.search(text) or own:
        yield f"names a price ({found[0].strip()})"
    words = f" {_plain(text)} "
    for name, what in named.items():
        if f" {name} " in words:
            yield f"names {what}"


def _names(plan: Plan, titles: Mapping[str, str]) -> dict[str, str]:
    """The plain form of every text that belongs to one offer -> what to call it."""
    named: dict[str, str] = {}
    for offer in plan.offers:
        texts = [(str(offer.fields.get(name, "")), f"the {name} of the offer {offer.name!r}") for name in CLAIMS]
        if offer.product is not None:
            texts.append((titles.get(offer.product, ""), f"the product of the offer {offer.name!r}"))
        for text, what in texts:
            plain = _plain(text)
            if len(plain) >= SHORTEST and "{" not in text:
                named.setdefault(plain, what)
    return named


def _plain(text: str) -> str:
    """Words in small letters with single spaces, without punctuation."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _straight(address: str, plan: Plan) -> str | None:
    """The name of a candidate whose own landing page this is; the default's pages are true for everybody."""
    everybody = {plan.default_landing, *(plan.offer_by_id[slot.default].landing for slot in plan.slots)}
    if address in everybody:
        return None
    return next((offer.name for offer in plan.offers if offer.landing == address), None)


class _Link:
    def __init__(self, address: str) -> None:
        self.address = address
        self.text = ""


class _Links(HTMLParser):
    """The links of a mail with the words a reader clicks."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[_Link] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(_Link(dict(attrs).get("href") or ""))
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.found[-1].text += data


def _links(html: str) -> list[_Link]:
    parser = _Links()
    parser.feed(html)
    parser.close()
    return parser.found


def _cut(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SHOWN else words[: SHOWN - 1] + "…"
