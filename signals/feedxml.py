"""Product feeds in XML, RSS or Atom: an item is an `item` or `entry`, its attributes are the elements right within it.

A feed is read as it comes, and no tree is made of it: of an element that has ended nothing is kept, and one that tells
nothing costs next to nothing. A feed of a few kilobytes, compressed, may have millions of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final
from xml.etree import ElementTree

from base.errors import InvalidInput
from signals.feedtsv import FAULT

DEPTH: Final = 100
"""Elements in each other."""
NAMES: Final = 10_000
"""Names of a feed's elements and of what stands in their tags: whatever reads XML keeps each of them to the end."""
ELEMENTS: Final = 10_000
"""Elements within an item, at any depth. One of a shop has some dozens, and some hundreds with its shipping to many
countries; each that may be an attribute is looked at."""
_DECLARATION: Final = len(b"<!DOCTYPE") - 1


def items(stream: IO[bytes], attribute: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    """The items of a feed by `attribute` of their elements; of one that has too many, `FAULT` says so.

    Raises InvalidInput when the feed cannot be read further.
    """
    told = _Told(attribute)
    parser: ElementTree.XMLParser[None] = ElementTree.XMLParser(target=told)  # noqa: S314 - no document type is taken
    empty, tail = True, b""
    try:
        while chunk := stream.read(1 << 16):
            # The end of the piece before is looked at again, for a declaration that the cut went through.
            if b"<!DOCTYPE" in (seen := tail + chunk):
                raise InvalidInput("", "must not declare a document type")
            if b"\x00" in chunk:
                raise InvalidInput("", "must be written in UTF-8 or another encoding without NUL bytes")
            tail = seen[-_DECLARATION:]
            empty = False
            try:
                parser.feed(chunk)
            finally:
                # What ended above a fault is read.
                yield from told.ended()
        parser.close()
        yield from told.ended()
    except ElementTree.ParseError as error:
        raise InvalidInput("", f"is not well-formed XML: {error}") from None
    except (LookupError, ValueError):
        # The encoding that it names is none, none of text, or one of several bytes a character, such as Shift JIS.
        raise InvalidInput("", "names an encoding that cannot be read here: write the feed in UTF-8") from None
    if empty:
        raise InvalidInput("", "is empty")


class _Item:
    """An item: what was read of it, which of the feed it is, and after how many elements of the feed it began."""

    __slots__ = ("after", "number", "read")

    def __init__(self, number: int, after: int) -> None:
        self.read: dict[str, str] = {}
        self.number, self.after = number, after


class _Open:
    """An element that has not ended: the item that it is, and what it says as an attribute of the item around it."""

    __slots__ = ("attribute", "href", "item", "text")

    def __init__(self, attribute: str, item: _Item | None, text: list[str] | None, href: str) -> None:
        self.attribute, self.item, self.text, self.href = attribute, item, text, href


class _Told:
    """What the parser tells the elements of a feed to, one after the other."""

    def __init__(self, attribute: Callable[[str], str]) -> None:
        self._attribute = attribute
        self._names: dict[str, tuple[str, bool]] = {}
        """Of each name so far, its attribute and whether it is an item's."""
        self._within: list[_Open | None] = []
        """The elements that have not ended, the outermost first; None is one that tells nothing by itself."""
        self._text: list[str] | None = None
        """Where the text goes that comes next: what stands behind an element within an attribute is none of it."""
        self._elements = self._numbered = 0
        self._ended: list[dict[str, Any]] = []

    def ended(self) -> list[dict[str, Any]]:
        """The items that have ended since this was asked last."""
        ended, self._ended = self._ended, []
        return ended

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins. Raises InvalidInput where it lies too deep, or its tag has a name too many."""
        within, names = self._within, self._names
        if len(within) == DEPTH:
            raise InvalidInput("", f"has elements more than {DEPTH} deep in each other")
        for name in (tag, *attributes):
            if name not in names:
                self._name(name)
        self._elements += 1
        attribute, is_item = names[tag]
        item = self._new_item() if is_item else None
        outer = within[-1] if within else None
        around = outer.item if outer is not None else None
        is_told = around is not None and attribute not in around.read and self._elements - around.after <= ELEMENTS
        self._text = [] if is_told else None
        is_plain = item is None and self._text is None
        within.append(None if is_plain else _Open(attribute, item, self._text, attributes.get("href", "")))

    def data(self, text: str) -> None:
        """Text goes on."""
        if self._text is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        """The innermost element ends."""
        self._text = None
        opened = self._within.pop()
        if opened is None:
            return
        outer = self._within[-1] if self._within else None
        if opened.text is not None and outer is not None and outer.item is not None:
            outer.item.read[opened.attribute] = ("".join(opened.text) or opened.href).strip()
        if opened.item is not None:
            self._ended.append(self._whole(opened.item))

    def close(self) -> None:
        """The feed is over."""

    def _name(self, name: str) -> None:
        local = name.rsplit("}", 1)[-1]
        self._names[name] = self._attribute(local), local in ("item", "entry")
        if len(self._names) > NAMES:
            raise InvalidInput("", f"has elements and attributes of more than {NAMES:,} names")

    def _new_item(self) -> _Item:
        self._numbered += 1
        return _Item(self._numbered, self._elements)

    def _whole(self, item: _Item) -> dict[str, Any]:
        """What an item says that has ended."""
        has = self._elements - item.after
        if has <= ELEMENTS:
            return item.read
        fault = f"item {item.number:,} of the feed has {has:,} elements within it, and may have {ELEMENTS:,}"
        return {"id": item.read.get("id"), FAULT: fault}
