"""A mail as AMP for Email: the same mail, whose slots ask for their decision when it is looked at.

The document is made from the mail's HTML, so it says what the HTML says; each slot becomes an `amp-list`. What AMP has
no place for is left out where nobody misses it, and refused at publish, with the reason, where somebody would.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Final

from base.errors import InvalidInput
from campaigns import markup
from campaigns.ampstyle import MAX_CSS, Sheet
from campaigns.markup import Place

MAX_DOCUMENT: Final = 200_000
"""Bytes of the whole AMP part; the validator's DOCUMENT_SIZE_LIMIT_EXCEEDED begins here."""
_TAGS: Final = frozenset({
    "a", "abbr", "address", "article", "aside", "b", "bdi", "bdo", "blockquote", "br", "caption", "cite", "code",
    "col", "colgroup", "dd", "del", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "footer", "h1", "h2", "h3",
    "h4", "h5", "h6", "header", "hr", "i", "ins", "kbd", "li", "main", "mark", "nav", "ol", "p", "pre", "q", "s",
    "samp", "section", "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr",
    "u", "ul", "var", "wbr",
})  # fmt: skip
_EVERYWHERE: Final = frozenset({"class", "dir", "id", "lang", "role", "title", "aria-hidden", "aria-label"})
_ATTRIBUTES: Final = {
    "a": frozenset({"href", "target"}),
    "table": frozenset({"align", "bgcolor", "border", "cellpadding", "cellspacing", "width"}),
    "tr": frozenset({"align", "bgcolor", "height", "valign"}),
    "td": frozenset({"align", "bgcolor", "colspan", "height", "rowspan", "valign", "width"}),
    "th": frozenset({"align", "bgcolor", "colspan", "height", "rowspan", "scope", "valign", "width"}),
    "col": frozenset({"span"}),
    "ol": frozenset({"start", "type"}),
}
_VOID: Final = frozenset({"br", "col", "hr", "wbr"})
_UNSEEN: Final = frozenset({"title", "noscript"})
"""Elements whose text is no part of the mail."""
_OWN_SIZE: Final = ("display", "height", "max-height", "max-width", "min-width", "width")
"""Styles of a picture that its AMP form states otherwise."""
_EXPRESSION: Final = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})", re.DOTALL)
_PIXELS: Final = re.compile(r"(?:^|;)\s*(width|height)\s*:\s*(\d+)px")
_IDENTIFIER: Final = re.compile(r"[A-Za-z][\w-]{0,60}", re.ASCII)
_HEAD: Final = (
    '<meta charset="utf-8"><script async src="https://cdn.ampproject.org/v0.js"></script>'
    '<script async custom-element="amp-list" src="https://cdn.ampproject.org/v0/amp-list-0.1.js"></script>'
    '<script async custom-template="amp-mustache" src="https://cdn.ampproject.org/v0/amp-mustache-0.2.js"></script>'
    "<style amp4email-boilerplate>body{visibility:hidden}</style>"
)
_ALT_STYLE: Final = (
    "font-family:Arial,sans-serif;font-size:16px;line-height:24px;color:#1c1b1a;background-color:#f4f2ee;"
    "text-align:center;text-decoration:none;display:block"
)


def document(content: str, slots: Iterable[Place], locale: str, field: str) -> str:
    """The AMP form of a mail's HTML, its template expressions untouched; `content` still names its slots.

    Raises InvalidInput naming `field` for what AMP cannot show.
    """
    reader = _Reader(field)
    reader.feed(content)
    reader.close()
    by_name = {slot.name: slot for slot in slots}
    body = markup.SLOT.sub(lambda found: slot_markup(by_name[found[1]], reader.sheet), "".join(reader.pieces))
    css = reader.sheet.text()
    if len(css.encode()) > MAX_CSS:
        raise InvalidInput(field, f"has {len(css.encode())} bytes of styles; AMP allows {MAX_CSS}")
    return (
        f'<!doctype html>\n<html ⚡4email data-css-strict lang="{html.escape(locale)}"><head>{_HEAD}'
        f"<style amp-custom>{{% raw %}}{css}{{% endraw %}}</style></head>{body}</html>\n"
    )


def slot_markup(slot: Place, sheet: Sheet) -> str:
    """One slot: what the answer says, a text while it is awaited, and the linked picture where it cannot be had.

    The mustache's values stand for whole attributes, because AMP allows them in no other part of an address.
    """
    alt = html.escape(slot.alt, quote=True)
    size = f'width="{slot.width}" height="{slot.height}" layout="responsive"'
    place = sheet.class_of(f"max-width:{slot.width}px;margin:0 auto")
    link = f'<a href="{{{{ link.{slot.name} }}}}" target="_blank" class="{sheet.class_of(_ALT_STYLE)}">'
    return (
        f'<div class="{place}"><amp-list {size} src="{{{{ url.amp_{slot.index} }}}}" items="items">'
        '<template type="amp-mustache">{% raw %}<a href="{{url}}" target="_blank"><amp-img src="{{img}}" alt="{{alt}}" '
        f"{size}></amp-img></a>{{% endraw %}}</template><div placeholder>{link}{alt}</a></div>"
        f'<div fallback>{link}<amp-img src="{{{{ url.picture_{slot.index} }}}}" alt="{alt}" {size}></amp-img></a></div>'
        "</amp-list></div>"
    )


class _Reader(HTMLParser):
    """Reads the mail's HTML and writes what AMP allows of it."""

    def __init__(self, field: str) -> None:
        super().__init__(convert_charrefs=False)
        self.field = field
        self.sheet = Sheet()
        self.pieces: list[str] = []
        self._style: dict[str, str | None] | None = None
        self._unseen = 0
        self._cell: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "style":
            self._style = values
        elif tag in _UNSEEN:
            self._unseen += 1
        elif tag == "body":
            self.pieces.append(f"<body{self._attributes(tag, values)}>")
        elif tag == "img":
            self._picture(values)
        elif tag in _TAGS:
            if tag == "td":
                self._cell = dict(_PIXELS.findall(values.get("style") or ""))
            self.pieces.append(f"<{tag}{self._attributes(tag, values)}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._style = None
        elif tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "body" or (tag in _TAGS and tag not in _VOID):
            self.pieces.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._style is None:
            self._write(data)
        elif _EXPRESSION.search(data):
            raise InvalidInput(self.field, "prints a field within its styles, which an AMP mail cannot")
        else:
            self.sheet.add(data, self._style.get("media"))

    def handle_entityref(self, name: str) -> None:
        self._write(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._write(f"&#{name};")

    def _write(self, text: str) -> None:
        if not self._unseen and (self.pieces or text.strip()):
            self.pieces.append(text)

    def _attributes(self, tag: str, values: dict[str, str | None], without: tuple[str, ...] = ()) -> str:
        allowed = _EVERYWHERE | _ATTRIBUTES.get(tag, frozenset())
        kept = {name: value for name, value in values.items() if name in allowed and value is not None}
        names = [name for name in (kept.pop("class", "") or "").split() if _IDENTIFIER.fullmatch(name)]
        if style := values.get("style"):
            names.append(self.sheet.class_of(style, without))
        if not _IDENTIFIER.fullmatch(kept.get("id") or ""):
            kept.pop("id", None)
        if (kept.get("href") or "").startswith("#"):
            # A place within the mail: AMP has no addresses without a host.
            kept.pop("href")
        if any(names):
            kept["class"] = " ".join(filter(None, names))
        return "".join(f' {name}="{_escaped(value or "")}"' for name, value in kept.items())

    def _picture(self, values: dict[str, str | None]) -> None:
        source = values.get("src") or ""
        if not source.startswith(("https://", "{{")):
            raise InvalidInput(self.field, f"has the picture {source[:60]!r}; an AMP mail's begin with https://")
        size = {name: (values.get(name) or "").removesuffix("px") for name in ("width", "height")}
        if not size["height"].isdigit() and size["width"] == self._cell.get("width"):
            # A sign in a cell of its own size, as the social elements of MJML are.
            size["height"] = self._cell.get("height", "")
        if not all(number.isdigit() and number != "0" for number in size.values()):
            raise InvalidInput(
                self.field, f"has the picture {source[:60]!r} without a width and a height in pixels; AMP wants both"
            )
        said = self._attributes("img", values, _OWN_SIZE)
        alt = _escaped(values.get("alt") or "")
        self.pieces.append(
            f'<amp-img src="{_escaped(source)}" alt="{alt}" width="{size["width"]}" height="{size["height"]}" '
            f'layout="intrinsic"{said}></amp-img>'
        )


def _escaped(value: str) -> str:
    """An attribute's value; template expressions stay as they are, because what they print is escaped then."""
    return "".join(
        part if number % 2 else html.escape(part, quote=True) for number, part in enumerate(_EXPRESSION.split(value))
    )
