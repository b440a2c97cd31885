"""From MJML to the HTML of a mail: what a manager may write, compiled once when a message is checked or published."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Final, Protocol
from urllib.parse import urlsplit

import css_inline
import mrml

from base.errors import InvalidInput

# Unknown tags pass mrml without a word, so names are checked here. mj-include would read other files.
KNOWN_TAGS: Final = frozenset({
    "mjml", "mj-head", "mj-body", "mj-attributes", "mj-all", "mj-class", "mj-breakpoint", "mj-html-attributes",
    "mj-selector", "mj-html-attribute", "mj-preview", "mj-style", "mj-title", "mj-accordion", "mj-accordion-element",
    "mj-accordion-title", "mj-accordion-text", "mj-button", "mj-carousel", "mj-carousel-image", "mj-column",
    "mj-divider", "mj-group", "mj-hero", "mj-image", "mj-navbar", "mj-navbar-link", "mj-raw", "mj-section", "mj-social",
    "mj-social-element", "mj-spacer", "mj-table", "mj-text", "mj-wrapper",
})  # fmt: skip
FORBIDDEN: Final = frozenset({
    "script", "iframe", "frame", "object", "embed", "applet", "form", "input", "button", "select", "textarea", "link",
    "base",
})  # fmt: skip
SCHEMES: Final = ("https", "http", "mailto")
SLOT: Final = re.compile(r"\{\{\s*slot\.([a-z][a-z0-9_]*)\s*\}\}")
_TAG: Final = re.compile(r"</?\s*(mj[a-z-]*)")
_PERSONAL_URL: Final = re.compile(
    r"""(?:href|src|srcset|action|background)\s*=\s*["'][^"']*\{\{(?!\s*(?:link|url)\.)""", re.IGNORECASE
)
_INLINER: Final = css_inline.CSSInliner(keep_style_tags=True, keep_at_rules=True, load_remote_stylesheets=False)
# No web fonts: mrml would link a font service for its default family, which tells it who opened the mail.
_OPTIONS: Final = mrml.RenderOptions(fonts={})


class Place(Protocol):
    """What the markup of a slot needs: its number, name, declared size in CSS pixels and alternative text."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def alt(self) -> str: ...


def to_html(mjml: str, locale: str, field: str) -> str:
    """The mail's HTML with styles inlined and template expressions untouched. Raises InvalidInput naming `field`."""
    unknown = sorted({tag for tag in _TAG.findall(mjml) if tag not in KNOWN_TAGS})
    if unknown:
        raise InvalidInput(field, f"has tags that MJML does not know: {', '.join(unknown)}")
    try:
        content = mrml.to_html(mjml, None, _OPTIONS).content
    except OSError as error:
        raise InvalidInput(field, f"is not sound MJML: {error}") from None
    content = content.replace('lang="und"', f'lang="{html.escape(locale)}"')
    try:
        inlined = _INLINER.inline(content)
    except (ValueError, css_inline.InlineError) as error:
        raise InvalidInput(field, f"has styles that cannot be inlined: {error}") from None
    _check(inlined, field)
    return inlined


def slot_markup(slot: Place) -> str:
    """One slot in the mail: a linked picture with fixed size and alternative text, dark and light, one decision.

    Outlook's Word engine obeys the attributes and not the CSS, so the size stands in both. The alternative text is
    styled because it is what most readers see first.
    """
    alt = html.escape(slot.alt, quote=True)
    style = (
        f"display:block;width:100%;max-width:{slot.width}px;height:auto;border:0;"
        "font-family:Arial,sans-serif;font-size:16px;line-height:24px;color:#1c1b1a;background-color:#f4f2ee;"
    )
    return (
        f'<a href="{{{{ link.{slot.name} }}}}" target="_blank" style="text-decoration:none;display:block;"><picture>'
        f'<source srcset="{{{{ url.dark_{slot.index} }}}}" media="(prefers-color-scheme: dark)">'
        f'<img src="{{{{ url.picture_{slot.index} }}}}" width="{slot.width}" height="{slot.height}" '
        f'alt="{alt}" style="{style}">'
        "</picture></a>"
    )


class _Checker(HTMLParser):
    """Refuses what no mail needs and every mail client strips: code, forms, foreign documents, odd schemes."""

    def __init__(self, field: str) -> None:
        super().__init__(convert_charrefs=True)
        self.field = field

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in FORBIDDEN:
            raise InvalidInput(self.field, f"contains <{tag}>, which a mail must not")
        for name, value in attrs:
            if name.startswith("on"):
                raise InvalidInput(self.field, f"contains the attribute {name}, which a mail must not")
            if name in ("href", "src", "action", "background") and value and "{{" not in value:
                self._check_address(name, value)

    def _check_address(self, name: str, value: str) -> None:
        scheme = urlsplit(value.strip()).scheme.lower()
        if scheme not in SCHEMES and not (name == "href" and value.startswith("#")):
            raise InvalidInput(self.field, f"has the {name} {value[:60]!r}; addresses begin with https:// or mailto:")


def _check(content: str, field: str) -> None:
    if _PERSONAL_URL.search(content):
        raise InvalidInput(field, "puts a field into an address; only {{ link.name }} may stand there, alone")
    try:
        checker = _Checker(field)
        checker.feed(content)
        checker.close()
    except AssertionError as error:
        raise InvalidInput(field, f"is not sound HTML: {error}") from None
