"""Product feeds in XML, RSS or Atom: an item is an `item` or `entry`, its attributes are the elements right within it.

A feed is read as it comes, and of an element that has ended nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, Any, Final
from xml.etree import ElementTree

from base.errors import InvalidInput

DEPTH: Final = 100
"""Elements in each other."""
NAMES: Final = 10_000
"""Names of a feed's elements and of what stands in their tags: whatever reads XML keeps each of them to the end."""
_DECLARATION: Final = len(b"<!DOCTYPE") - 1
_Open = tuple[ElementTree.Element, dict[str, Any] | None]
"""An element that has not ended, with what was read of it where it is an item."""


def items(stream: IO[bytes], attribute: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    """The items of a feed by `attribute` of their elements. Raises InvalidInput when it cannot be read further."""
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
    within: list[_Open] = []
    names: set[str] = set()
    empty, tail = True, b""
    try:
        while chunk := stream.read(1 << 16):
            # The end of the piece before is looked at again, for a declaration that the cut went through.
            if b"<!DOCTYPE" in (seen := tail + chunk):
                raise InvalidInput("", "must not declare a document type")
            if b"\x00" in chunk:
                raise InvalidInput("", "must be written in UTF-8 or another encoding without NUL bytes")
            tail = seen[-_DECLARATION:]
            parser.feed(chunk)
            empty = False
            yield from _ended(parser, within, names, attribute)
            for element, _ in within:
                # What has ended was read, and is let go whatever it is: else a long feed fills the memory.
                del element[:]
        parser.close()
        yield from _ended(parser, within, names, attribute)
    except ElementTree.ParseError as error:
        raise InvalidInput("", f"is not well-formed XML: {error}") from None
    except (LookupError, ValueError):
        # The encoding that it names is none, none of text, or one of several bytes a character, such as Shift JIS.
        raise InvalidInput("", "names an encoding that cannot be read here: write the feed in UTF-8") from None
    if empty:
        raise InvalidInput("", "is empty")


def _ended(
    parser: ElementTree.XMLPullParser[ElementTree.Element],
    within: list[_Open],
    names: set[str],
    attribute: Callable[[str], str],
) -> Iterator[dict[str, Any]]:
    """The items that have ended. `within` are the elements that have not, the outermost first, `names` those of all so
    far; both are kept."""
    for event, element in parser.read_events():  # type: ignore[misc]
        if not isinstance(element, ElementTree.Element):
            continue
        if event == "start":
            if len(within) == DEPTH:
                raise InvalidInput("", f"has elements more than {DEPTH} deep in each other")
            names.update((element.tag, *element.attrib))
            if len(names) > NAMES:
                raise InvalidInput("", f"has elements and attributes of more than {NAMES:,} names")
            within.append((element, {} if _local(element.tag) in ("item", "entry") else None))
            continue
        _, item = within.pop()
        outer = within[-1][1] if within else None
        if outer is not None:
            outer.setdefault(attribute(_local(element.tag)), (element.text or element.get("href") or "").strip())
        if item is not None:
            yield item


def _local(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]
