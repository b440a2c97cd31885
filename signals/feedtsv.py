"""Tab-separated product feeds: an item a line, below a line that names the columns.

Titles begin with quotation marks and end in inches, and some programs put values into quotation marks, doubling those
inside, as CSV does. A value is read that way only where it is whole: its marks are doubled, and one that goes over
several lines ends with its item complete. Otherwise a mark is a character like others, so that it never swallows the
items below.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, Final

from base.errors import InvalidInput

FAULT: Final = "\t"
"""The attribute, whose name no feed can have, that says what is wrong with an item as a whole."""
MOST_COLUMNS: Final = 1_000
"""Of a feed: each has its name read, and each item is looked through for all of them."""
MOST_LINES: Final = 200
"""Lines over which a value in quotation marks may go."""
MOST_OPEN: Final = 1_000
"""Marks that open a value and are never closed, after which those of a feed are taken as they stand."""


def items(stream: IO[bytes], encoding: str | None, attribute: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    """The items of a feed by `attribute` of their columns. Raises InvalidInput when its first line names no id."""
    text = io.TextIOWrapper(stream, encoding=encoding or "utf-8-sig", errors="strict" if encoding else "replace")
    try:
        lines = (line.rstrip("\n") for line in text)
        first = next(lines, "")
        if first.count("\t") >= MOST_COLUMNS:
            raise InvalidInput("", f"the first line must name at most {MOST_COLUMNS:,} columns")
        head = [attribute(_plain(name)) for name in first.split("\t")]
        if "id" not in head:
            raise InvalidInput("id", "the first line must name the columns, tab-separated, id among them")
        for row in _rows(lines, len(head)):
            if len(row) > len(head):
                fault = f"the item has {len(row)} values, the first line names {len(head)}"
                yield {"id": row[head.index("id")], FAULT: fault}
            elif any(row):
                yield dict(zip(head, row, strict=False))
    finally:
        text.detach()


def _rows(lines: Iterator[str], width: int) -> Iterator[Sequence[str]]:
    ahead: deque[str] = deque()
    left = MOST_OPEN

    def following() -> str | None:
        return ahead.popleft() if ahead else next(lines, None)

    while (line := following()) is not None:
        row = line.split("\t")
        whole = None
        if len(row) > width:
            whole = _whole([line], width)  # Perhaps a tab is inside quotation marks.
            _trim(row, width)
        if whole is None and left and len(row) <= width and row[-1].startswith('"') and not _is_quoted(row[-1]):
            taken = [line]
            whole = _whole(_following(taken, following, width), width)
            if whole is None:
                left -= 1
                ahead.extendleft(reversed(taken[1:]))
        yield whole or [_plain(value) for value in row]


def _following(taken: list[str], following: Callable[[], str | None], width: int) -> Iterator[str]:
    """The lines over which an item may go, one after the other; all that were read are in `taken`."""
    yield taken[0]
    while len(taken) < MOST_LINES and (more := following()) is not None:
        taken.append(more)
        if more.count("\t") >= max(1, width - 1):
            break  # An item of its own.
        yield more


def _whole(lines: Iterable[str], width: int) -> list[str] | None:
    """The values of the item that these lines begin with, if its quotation marks are all closed; no more lines are read
    than it has."""
    try:
        row = next(csv.reader((f"{line}\n" for line in lines), delimiter="\t", strict=True))
    except csv.Error:
        return None
    _trim(row, width)
    return row if len(row) == width else None


def _trim(row: list[str], width: int) -> None:
    """Some end each line in a tab."""
    while len(row) > width and not row[-1]:
        row.pop()


def _plain(value: str) -> str:
    """A value without the quotation marks around it, if it is one of those."""
    return value[1:-1].replace('""', '"') if _is_quoted(value) else value


def _is_quoted(value: str) -> bool:
    inner = value[1:-1]
    return len(value) > 1 and value[0] == '"' == value[-1] and '"' not in inner.replace('""', "")
