"""The lines of CSV, among which a quotation mark may stand that opens no field: it must not swallow the rows below."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

MOST_LETTERS: Final = 4 * 2**20
"""Of one field, and of a row of several lines. What a call takes is shorter; a column that no call takes may be a
description, pictures and all."""
MOST_OPEN: Final = 1_000
"""Quotation marks of a file that are looked for the end of in further lines, and have none; after that a row is a
line."""
_MARKS: Final = (csv.QUOTE_MINIMAL,)
_BOTH: Final = (csv.QUOTE_MINIMAL, csv.QUOTE_NONE)
"""Quotation marks are some, or are characters like others."""


class Lines:
    """The lines of a text, of which those that a row took wrongly can be given back.

    A row goes on over further lines while a quotation mark is open. Where a further one is a row by itself, as wide as
    the others and with a moment, the mark is none that opens a value, and the row ends before that line; unless the
    first line is none by itself, and the row becomes one by that line, whose moment it takes: so ends a text of several
    lines in a column before the moment's.
    """

    def __init__(self, text: Iterator[str], delimiter: str) -> None:
        self._text = text
        self._delimiter = delimiter
        self._ahead: deque[str] = deque()
        self._taken: list[str] = []
        self._letters = 0
        self._is_first: bool | None = None
        self._left = MOST_OPEN
        self.began = 1
        self.width = 0
        self.says_when: Callable[[Sequence[str]], bool] = lambda values: False

    def begin(self) -> None:
        """A row begins with the next line."""
        self.began += len(self._taken)
        self._taken, self._letters, self._is_first = [], 0, None

    def give_back(self) -> bool:
        """Have the lines below the first one of this row read anew; says whether there are any."""
        more = self._taken[1:]
        if more:
            self._left = max(0, self._left - 1)
            self._ahead.extendleft(reversed(more))
            del self._taken[1:]
        return bool(more)

    def fault(self, error: csv.Error | None = None) -> str:
        """What is wrong with this row, by what the reader said of it."""
        if "limit" in str(error):
            return f"the row has a field of more than {MOST_LETTERS:,} letters in line {self.began}"
        return (
            f"the row has a quotation mark in line {self.began} that opens a field and closes none:"
            " where a field is in quotation marks, those inside are doubled"
        )

    def began_with_row(self) -> bool:
        """Whether this row goes over several lines, of which the first is a row by itself."""
        return len(self._taken) > 1 and self._first_is_row()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._taken and (not self._left or self._letters > MOST_LETTERS):
            raise StopIteration
        line = self._ahead.popleft() if self._ahead else next(self._text)
        if self._taken and self._is_another(line):
            self._ahead.appendleft(line)
            raise StopIteration
        self._taken.append(line)
        self._letters += len(line)
        return line

    def _is_another(self, line: str) -> bool:
        """Whether a line below a mark that is open is a row of its own, or begins one.

        All that was taken is read here twice at most: a row that has its moment goes on over no other.
        """
        if self._first_is_row() and self._is_row([line], _BOTH):
            return True
        if not self._is_row([line], _MARKS):
            return False
        return self._is_row(self._taken, _MARKS) or not self._is_row([*self._taken, line], _MARKS)

    def _first_is_row(self) -> bool:
        if self._is_first is None:
            self._is_first = self._is_row(self._taken[:1], _BOTH)
        return self._is_first

    def _is_row(self, lines: Sequence[str], quotings: Sequence[Literal[0, 3]]) -> bool:
        """Whether lines are a row by themselves, or begin one, by one of these ways to read quotation marks."""
        for quoting in quotings:
            reader = csv.reader([*lines, ""], delimiter=self._delimiter, quoting=quoting)
            try:
                values = next(reader, [])
            except csv.Error:
                continue
            is_open = reader.line_num > len(lines)
            if (len(values) == self.width or (is_open and len(values) < self.width)) and self.says_when(values):
                return True
        return False
