"""The lines of CSV, among which a quotation mark may stand that opens no field: it must not swallow the rows below."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

MOST_LETTERS: Final = 4 * 2**20
"""Of one field, and of a row of several lines. What a call takes is shorter; a column that no call takes may be a
description, pictures and all."""
NEAR_LINES: Final = 256
NEAR_LETTERS: Final = 64 * 2**10
"""How far below a line that looks like a row the text that it may be part of ends, so that it may be."""
MOST_IN_VAIN: Final = 4 * 2**20
"""Letters of a file that are looked through for lines like rows in vain, as the text ends far below the first; after
that a text is no longer than what is near."""
_MARKS: Final = (csv.QUOTE_MINIMAL,)
_NONE: Final = (csv.QUOTE_NONE,)
_BOTH: Final = (*_MARKS, *_NONE)
"""Quotation marks are some, or are characters like others."""


class Lines:
    """The lines of a text, of which a row gets further ones only where it ends with them.

    Where a line leaves a quotation mark open, it is looked for where that closes. A mark that closes nowhere, or inside
    a value, opens none, and the row ends with its first line. So it does where a further line is a row by itself, with
    a moment and no fewer fields than others, and the mark closes far below. Where it closes near that line, nobody can
    tell one row from several (`are_rows`); unless the first line is none by itself, and the row becomes one by that
    line, whose moment it takes: so ends a text of several lines in a column before the moment's.

    Each line is looked through once for the end of marks: one that is open before several lines closes where one does
    that is open before the last of them.
    """

    def __init__(self, text: Iterator[str], delimiter: str) -> None:
        self._text = text
        self._delimiter = delimiter
        self._ahead: deque[str] = deque()
        self._ahead_letters = 0
        self._closes: bool | None = None
        self._taken: list[str] = []
        self._left = MOST_IN_VAIN
        self.began = 1
        self.are_rows = False
        self.width = 0
        self.says_when: Callable[[Sequence[str]], bool] = lambda values: False

    def begin(self) -> None:
        """A row begins with the next line."""
        self.began += len(self._taken)
        self._taken, self.are_rows = [], False

    def fault(self, error: csv.Error) -> str:
        """What is wrong with this row, by what the reader said of it."""
        if "limit" in str(error):
            return f"the row has a field of more than {MOST_LETTERS:,} letters in line {self.began}"
        return (
            f"the row has a quotation mark in line {self.began} that opens a field and closes none:"
            " where a field is in quotation marks, those inside are doubled"
        )

    @property
    def are_several(self) -> bool:
        """Whether this row goes over several lines."""
        return len(self._taken) > 1

    def either(self) -> str:
        """What is wrong with lines that may be one row or several."""
        return (
            f"lines {self.began} to {self._last} are one row with a text of several lines, or several rows of which one"
            " has a quotation mark that closes none: put the text in one line, or leave the mark out"
        )

    def named(self, fault: str) -> str:
        """What is wrong with this row, with its lines where these are several."""
        return f"{fault} (lines {self.began} to {self._last})" if self.are_several else fault

    @property
    def _last(self) -> int:
        return self.began + len(self._taken) - 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self._taken) == 1 and not self._goes_on():
            raise StopIteration
        line = self._following()
        self._taken.append(line)
        return line

    def _following(self) -> str:
        if not self._ahead:
            return next(self._text)
        line = self._ahead.popleft()
        self._ahead_letters -= len(line)
        if not self._ahead:
            self._closes = None
        return line

    def _goes_on(self) -> bool:
        """Whether this row, whose first line leaves a mark open, goes on over all lines ahead."""
        first = self._taken[0]
        if not self._look_ahead(first) or len(first) + self._ahead_letters > MOST_LETTERS:
            return False
        is_near = self._is_near(-1)
        if not is_near and not self._left:
            return False
        gives_moment = self._is_row([first], _MARKS)
        is_first = gives_moment or self._is_row([first], _NONE)
        place = self._another(first, is_first=is_first)
        if place is None:
            # The first line alone may be a row: it looks like one, but it is another line that gives the moment.
            self.are_rows = is_first and not gives_moment
            return True
        self.are_rows = is_near or self._is_near(place)
        if not self.are_rows:
            self._left = max(0, self._left - sum(map(len, islice(self._ahead, place + 1))))
        return self.are_rows

    def _look_ahead(self, first: str) -> bool:
        """Whether the mark that is open before the lines ahead closes in the last of them, and the row ends with it.

        So does one that is open before any other of these lines. Where it is not known yet, more lines are looked at.
        """
        if self._closes is None:
            is_over = False

            def further() -> Iterator[str]:
                nonlocal is_over
                opening = '"'
                while len(first) + self._ahead_letters <= MOST_LETTERS:
                    line = next(self._text, None)
                    if line is None:
                        break
                    self._ahead.append(line)
                    self._ahead_letters += len(line)
                    yield opening + line
                    opening = ""
                is_over = True

            try:
                next(csv.reader(further(), delimiter=self._delimiter, strict=True), None)
                closes = True
            except csv.Error:
                closes = False
            self._closes = None if is_over else closes
        return bool(self._closes)

    def _is_near(self, place: int) -> bool:
        """Whether the last of the lines ahead is near below the one at this place, or at -1 the first of this row."""
        below = len(self._ahead) - place - 1
        return below <= NEAR_LINES and sum(map(len, islice(reversed(self._ahead), below))) <= NEAR_LETTERS

    def _another(self, first: str, *, is_first: bool) -> int | None:
        """Where the first of the lines ahead is that is a row of its own, or begins one; `is_first` says whether the
        first line of this row is one.

        All of them are read here twice at most: a row that has its moment goes on over no other.
        """
        taken = [first]
        for place, line in enumerate(self._ahead):
            if is_first:
                if self._is_row([line], _BOTH, or_wider=True):
                    return place
            elif self._is_row([line], _MARKS, or_wider=True) and (
                self._is_row(taken, _MARKS) or not self._is_row([*taken, line], _MARKS)
            ):
                return place
            taken.append(line)
        return None

    def _is_row(self, lines: Sequence[str], quotings: Sequence[Literal[0, 3]], *, or_wider: bool = False) -> bool:
        """Whether lines are a row by themselves, or begin one, by one of these ways to read quotation marks; or one of
        too many fields.
        """
        for quoting in quotings:
            reader = csv.reader([*lines, ""], delimiter=self._delimiter, quoting=quoting)
            try:
                values = next(reader, [])
            except csv.Error:
                continue
            is_open = reader.line_num > len(lines)
            is_wide = len(values) >= self.width if or_wider else len(values) == self.width
            if (is_wide or (is_open and len(values) < self.width)) and self.says_when(values):
                return True
        return False
