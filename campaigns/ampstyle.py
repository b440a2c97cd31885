"""Styles as AMP for Email allows them: what a client would refuse is left out, what was `!important` wins by weight.

AMP knows no `!important`, and inline styles count towards the same 75,000 bytes as the sheet. So each distinct inline
style becomes one class, and weight takes the place of what AMP lacks: a selector gains the weight of one id where the
mail had an inline style, and of two where it had `!important`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAX_CSS: Final = 75_000
"""Bytes of styles in one AMP mail (amp.dev, "AMP for Email format", CSS requirements)."""
PROPERTIES: Final = frozenset({
    "align-content", "align-items", "align-self", "background", "background-attachment", "background-clip",
    "background-color", "background-image", "background-origin", "background-position", "background-repeat",
    "background-size", "border", "border-bottom", "border-bottom-color", "border-bottom-left-radius",
    "border-bottom-right-radius", "border-bottom-style", "border-bottom-width", "border-collapse", "border-color",
    "border-left", "border-left-color", "border-left-style", "border-left-width", "border-radius", "border-right",
    "border-right-color", "border-right-style", "border-right-width", "border-spacing", "border-style", "border-top",
    "border-top-color", "border-top-left-radius", "border-top-right-radius", "border-top-style", "border-top-width",
    "border-width", "box-shadow", "box-sizing", "caption-side", "clear", "color", "direction", "display",
    "empty-cells", "flex", "flex-basis", "flex-direction", "flex-flow", "flex-grow", "flex-shrink", "flex-wrap",
    "float", "font", "font-family", "font-size", "font-stretch", "font-style", "font-variant", "font-weight",
    "height", "hyphens", "justify-content", "letter-spacing", "line-break", "line-height", "list-style",
    "list-style-position", "list-style-type", "margin", "margin-bottom", "margin-left", "margin-right", "margin-top",
    "max-height", "max-width", "min-height", "min-width", "opacity", "order", "outline", "outline-color",
    "outline-offset", "outline-style", "outline-width", "overflow", "overflow-wrap", "overflow-x", "overflow-y",
    "padding", "padding-bottom", "padding-left", "padding-right", "padding-top", "table-layout", "text-align",
    "text-align-last", "text-decoration", "text-decoration-color", "text-decoration-line", "text-decoration-style",
    "text-indent", "text-overflow", "text-shadow", "text-transform", "unicode-bidi", "vertical-align", "white-space",
    "width", "word-break", "word-spacing", "word-wrap", "writing-mode",
})  # fmt: skip
"""Each was put to the official validator; what a mail does not need (cursor, position, z-index) is not here."""
_MEDIA: Final = re.compile(
    r"(?:only\s+)?(?:all|screen)?(?:\s*and\s*)?"
    r"(?:\(\s*(?:min|max)-(?:width|height)\s*:\s*[\d.]+(?:px|em)\s*\)(?:\s*and\s*(?=\())?)*",
    re.IGNORECASE,
)
_SELECTOR: Final = re.compile(r"[\w.#>+~*,\s-]+", re.ASCII)
_VALUE: Final = re.compile(r"[^{}<>\\;@]+")
_URL: Final = re.compile(r"url\(\s*(['\"]?)(.*?)\1\s*\)", re.IGNORECASE)
_IMPORTANT: Final = re.compile(r"\s*!\s*important\s*$", re.IGNORECASE)
_COMMENT: Final = re.compile(r"/\*.*?\*/|<!--|-->", re.DOTALL)
_WEIGHT: Final = ":not(#_)"


class Sheet:
    """The styles of one mail, as they are met."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._rules: list[str] = []

    def class_of(self, style: str, without: tuple[str, ...] = ()) -> str:
        """The class that stands for an inline style; empty where nothing of it may stay. `without` names properties."""
        kept = [(name, value) for name, value, _ in _declarations(style) if name not in without]
        text = ";".join(f"{name}:{value}" for name, value in kept)
        return self._classes.setdefault(text, f"lb{len(self._classes)}") if text else ""

    def add(self, css: str, media: str | None = None) -> None:
        """The rules of a style element, those of other programs' tricks left out."""
        rules = list(_rules(_COMMENT.sub("", css)))
        self._rules += _within(media, rules) if media else rules

    def text(self) -> str:
        """The one sheet."""
        classes = [f".{name}{_WEIGHT}{{{text}}}" for text, name in self._classes.items()]
        return "\n".join([*self._rules, *classes])


def _rules(css: str) -> Iterator[str]:
    for head, block in _blocks(css):
        if head.startswith("@"):
            name, _, query = head.partition(" ")
            if name.lower() == "@media":
                yield from _within(query, list(_rules(block)))
        elif _SELECTOR.fullmatch(head):
            yield from _styled(head, block)


def _within(query: str, rules: list[str]) -> list[str]:
    """The rules inside a media query; none where AMP does not know it (`prefers-color-scheme` is such a one)."""
    return [f"@media {query.strip()}{{{' '.join(rules)}}}"] if rules and _MEDIA.fullmatch(query.strip()) else []


def _styled(head: str, block: str) -> Iterator[str]:
    selectors = [" ".join(selector.split()) for selector in head.split(",") if selector.strip()]
    kept = list(_declarations(block))
    for important, weight in ((False, ""), (True, _WEIGHT * 2)):
        texts = [f"{name}:{value}" for name, value, is_important in kept if is_important == important]
        if texts and selectors:
            yield f"{','.join(selector + weight for selector in selectors)}{{{';'.join(texts)}}}"


def _blocks(css: str) -> Iterator[tuple[str, str]]:
    """The (head, content) pairs of a sheet's outermost blocks; what has no block is skipped."""
    position = 0
    while (opened := css.find("{", position)) >= 0:
        depth, end = 1, opened + 1
        while end < len(css) and depth:
            depth += {"{": 1, "}": -1}.get(css[end], 0)
            end += 1
        yield css[position:opened].rpartition(";")[2].strip(), css[opened + 1 : end - 1 if not depth else end]
        position = end


def _declarations(block: str) -> Iterator[tuple[str, str, bool]]:
    """Name, value and whether it is important, of what may stay."""
    for declaration in block.split(";"):
        name, colon, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip()
        important = _IMPORTANT.search(value) is not None
        value = " ".join(_IMPORTANT.sub("", value).split())
        if colon and name in PROPERTIES and _VALUE.fullmatch(value) and _is_fetchable(value):
            yield name, value, important


def _is_fetchable(value: str) -> bool:
    """Whether every address in a value may stand in an AMP mail."""
    found = list(_URL.finditer(value))
    return all(one[2].startswith("https://") for one in found) and len(found) == value.lower().count("url(")
