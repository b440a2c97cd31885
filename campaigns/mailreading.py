"""What stands in a mail's HTML as a reader meets it: its words, pictures and links, and how well its text can be read.

The HTML is ours (MJML with its styles inlined), so a parser of the standard library is enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

from render.colour import contrast

Rgb = tuple[int, int, int]
MAX_DEPTH: Final = 500
WHITE: Final[Rgb] = (255, 255, 255)
BLACK: Final[Rgb] = (0, 0, 0)
NAMED: Final[dict[str, Rgb]] = {
    "white": WHITE, "black": BLACK, "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255),
    "gray": (128, 128, 128), "grey": (128, 128, 128), "silver": (192, 192, 192), "yellow": (255, 255, 0),
    "orange": (255, 165, 0), "navy": (0, 0, 128), "maroon": (128, 0, 0), "purple": (128, 0, 128),
}  # fmt: skip
VOID: Final = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
SILENT: Final = frozenset({"style", "script", "title", "head"})
_HEX: Final = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})")
_RGB: Final = re.compile(r"rgba?\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(?:,\s*([\d.]+)\s*)?\)")
_SIZE: Final = re.compile(r"([\d.]+)px")
_PRINTED: Final = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True)
class Link:
    """An address that is written in the mail (not one of ours, which are filled in), and the words it stands behind."""

    address: str
    words: str


@dataclass(frozen=True)
class Faint:
    """Text whose contrast (1 to 21) with its ground is lower than what can be read well."""

    words: str
    contrast: float


@dataclass
class Reading:
    """What a reader meets. `words` counts those that stand there as text; `mute` are pictures without an alt text."""

    words: int = 0
    links: list[Link] = field(default_factory=list)
    mute: list[str] = field(default_factory=list)
    faint: list[Faint] = field(default_factory=list)


@dataclass(frozen=True)
class _Look:
    tag: str
    colour: Rgb = BLACK
    ground: Rgb = WHITE
    size: float = 16.0
    bold: bool = False
    hidden: bool = False
    silent: bool = False


def read(html: str) -> Reading:
    """Read a mail's HTML, with its template expressions in it."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found = Reading()
        self._open: list[_Look] = [_Look("")]
        self._link: tuple[str, list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        look = _within(self._open[-1], tag, values)
        if tag == "img" and not look.hidden and "alt" not in values:
            self.found.mute.append(values.get("src", ""))
        if tag not in VOID and len(self._open) < MAX_DEPTH:
            self._open.append(look)
        if tag == "a":
            self._link = (values.get("href", "").strip(), [])

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link is not None:
            address, words = self._link
            if address and "{{" not in address:
                self.found.links.append(Link(address, " ".join(" ".join(words).split())))
            self._link = None
        for depth in range(len(self._open) - 1, 0, -1):
            if self._open[depth].tag == tag:
                del self._open[depth:]
                return

    def handle_data(self, data: str) -> None:
        look = self._open[-1]
        if look.silent or look.hidden:
            return
        if self._link is not None:
            self._link[1].append(data)
        text = " ".join(_PRINTED.sub(" x ", data).split())
        number = len(_WORD.findall(text))
        self.found.words += number
        if not number:
            return
        ratio = contrast(look.colour, look.ground)
        # WCAG 2.2, 1.4.3: large text (24 px, or bold from 18.66 px) may be fainter.
        is_large = look.size >= 24 or (look.bold and look.size >= 18.66)
        if ratio < (3.0 if is_large else 4.5):
            self.found.faint.append(Faint(text[:60], ratio))


def _within(around: _Look, tag: str, values: dict[str, str]) -> _Look:
    style = _declared(values.get("style", ""))
    ground = _colour(style.get("background-color") or style.get("background") or values.get("bgcolor", ""))
    size = _SIZE.search(style.get("font-size", ""))
    weight = style.get("font-weight", "")
    # MJML gives cells that hold no text of their own a size of nothing.
    pixels = float(size[1]) if size and size[1].count(".") < 2 else around.size
    return _Look(
        tag=tag,
        colour=_colour(style.get("color", "")) or around.colour,
        ground=ground or around.ground,
        size=pixels or around.size,
        bold=weight in ("bold", "600", "700", "800", "900") or tag in ("b", "strong") or (around.bold and not weight),
        hidden=around.hidden or style.get("display") == "none" or style.get("visibility") == "hidden",
        silent=around.silent or tag in SILENT,
    )


def _declared(style: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in style.lower().split(";"))
    return {name.strip(): value.replace("!important", "").strip() for name, _, value in pairs}


def _colour(text: str) -> Rgb | None:
    """A colour as it is written in a style; None where it says none, or one that lets what is behind it through."""
    for word in text.lower().split(" ") if "rgb" not in text else (text.lower(),):
        if word in NAMED:
            return NAMED[word]
        if _HEX.fullmatch(word):
            digits = word[1:] if len(word) == 7 else "".join(2 * digit for digit in word[1:])
            return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
        if (found := _RGB.search(word)) and (found[4] is None or float(found[4]) >= 1):
            return (min(255, int(found[1])), min(255, int(found[2])), min(255, int(found[3])))
    return None
