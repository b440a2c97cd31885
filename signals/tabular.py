"""Rows of tables (CSV, Parquet) as Segment calls, by a plan that says which column goes where.

A plan is a JSON object: `type` and `event` of every call, `columns` from a column to its place in the call (`userId`,
`timestamp`, `properties.total`), `values` that are the same in every row, the `timezone` of moments without an offset,
and the `decimal` mark of numbers, a point or a comma. A column is taken as it is, or made a number, a whole number,
true or false, a moment, or JSON.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import IO, Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from base.errors import InvalidInput, no_json
from signals import csvlines
from signals.importing import BadRow
from signals.signal import TYPES

KINDS: Final = ("text", "number", "whole", "boolean", "moment", "json")
"""What a column can be made."""
DECIMALS: Final = (".", ",")
DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""What may stand between the fields of CSV, by the name it has in commands."""
MOST_COLUMNS: Final = 200
PARTS: Final = ("properties", "traits", "context")
FIELDS: Final = ("event", "name", "userId", "anonymousId", "previousId", "groupId", "messageId", "timestamp")
DEPTH: Final = 4
_COMMA: Final = re.compile(r"[+-]?[0-9.]*,[0-9]+")
_GROUPED: Final = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]+)?")
"""A number whose thousands are set apart by points, with a decimal comma or none."""
_TRUE: Final = frozenset({"true", "yes", "1", "t", "y"})
_FALSE: Final = frozenset({"false", "no", "0", "f", "n"})


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"kind": "as"}):
    """Where a column goes in the call, and what it is made."""

    to: str
    kind: str = "text"


class RowPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rows become calls."""

    columns: Annotated[dict[str, str | Column], msgspec.Meta(min_length=1, max_length=MOST_COLUMNS)]
    type: str = "track"
    event: str | None = None
    values: dict[str, Any] = {}
    timezone: str = "UTC"
    decimal: str = "."


class Rows:
    """A plan, checked: makes a call of each row."""

    def __init__(self, plan: RowPlan) -> None:
        if plan.type not in TYPES:
            raise InvalidInput("type", f"must be one of {', '.join(TYPES)}")
        if plan.decimal not in DECIMALS:
            raise InvalidInput("decimal", f"must be one of {' '.join(DECIMALS)}")
        try:
            self._zone: tzinfo = ZoneInfo(plan.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise InvalidInput("timezone", "must be the name of a time zone, such as Europe/Vienna") from None
        self.columns: dict[str, Column] = {}
        for name, to in plan.columns.items():
            column = to if isinstance(to, Column) else Column(to, "moment" if to == "timestamp" else "text")
            _check_place(column.to, f"columns.{name}")
            if column.kind not in KINDS:
                raise InvalidInput(f"columns.{name}.as", f"must be one of {', '.join(KINDS)}")
            self.columns[name] = column
        for place in plan.values:
            _check_place(place, f"values.{place}")
        places = [column.to for column in self.columns.values()] + list(plan.values)
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise InvalidInput("columns", f"two go to {twice}")
        # Without either, a row of a file that is loaded again could not be told from a new one.
        if "timestamp" not in places and "messageId" not in places:
            raise InvalidInput("columns", "one must go to timestamp or to messageId")
        inside = next((one for one in places for other in places if other.startswith(f"{one}.")), None)
        if inside is not None:
            raise InvalidInput("columns", f"one goes into {inside}, to which another goes")
        when = (name for name, column in self.columns.items() if column.to == "timestamp" and column.kind == "moment")
        self._when = next(when, None)
        self._apart = [name for name, column in self.columns.items() if column.to in ("timestamp", "messageId")]
        self._fixed = {"type": plan.type} | ({"event": plan.event} if plan.event is not None else {})
        self._values = plan.values
        self._decimal = plan.decimal

    def call(self, row: Mapping[str, Any]) -> bytes:
        """The call of a row, as JSON. Raises InvalidInput naming the column."""
        call: dict[str, Any] = dict(self._fixed)
        for place, value in self._values.items():
            _put(call, place, value)
        for name, column in self.columns.items():
            value = self._made(row.get(name), column.kind, name)
            if value is not None:
                _put(call, column.to, value)
        if "timestamp" not in call and "messageId" not in call:
            raise InvalidInput(self._apart[0], "must be given: loaded again, the row would count once more")
        return msgspec.json.encode(call)

    def shown(self, row: Mapping[str, Any]) -> bytes:
        """What a row says, each column as text in its place of the call: so it is found by whom it names."""
        call: dict[str, Any] = dict(self._fixed)
        for name, column in self.columns.items():
            if row.get(name) is not None:
                _put(call, column.to, str(row[name])[:200])
        return msgspec.json.encode(call)

    def says_when(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has a moment where the plan wants one, which other text has by no chance."""
        if self._when is None or not row.get(self._when):
            return False
        try:
            return bool(self._moment(row[self._when], self._when))
        except InvalidInput:
            return False

    def is_told_apart(self, row: Mapping[str, Any]) -> bool:
        """Whether a row says its moment or its messageId, as every row of a file does."""
        return any(row.get(name) for name in self._apart)

    def _made(self, value: Any, kind: str, name: str) -> Any:
        if value is None or value == "":
            return None
        match kind:
            case "text":
                return self._plain(value)
            case "number" | "whole":
                return _number(value, name, self._decimal, whole=kind == "whole")
            case "boolean":
                return _truth(value, name)
            case "moment":
                return self._moment(value, name)
            case "json":
                return self._plain(value) if not isinstance(value, str) else _json(value, name)

    def _plain(self, value: Any) -> Any:
        """A value of a table as JSON has it: numbers stay numbers, lists and structs become arrays and objects."""
        match value:
            case datetime():
                return self._moment(value, "")
            case Decimal():
                return int(value) if value == value.to_integral_value() else float(value)
            case date():
                return value.isoformat()
            case bytes():
                return value.decode("utf-8", "replace")
            case list() | tuple():
                return [self._plain(one) for one in value]
            case dict():
                return {str(name): self._plain(one) for name, one in value.items() if one is not None}
            case _:
                return value

    def _moment(self, value: Any, name: str) -> str:
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                raise InvalidInput(name, "must be a moment such as 2026-03-01 09:30:00") from None
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the plan's zone is put to it below
        if not isinstance(value, datetime):
            raise InvalidInput(name, "must be a moment such as 2026-03-01 09:30:00")
        return (value if value.tzinfo is not None else value.replace(tzinfo=self._zone)).isoformat()


def plan_from(data: bytes) -> RowPlan:
    """A plan from its JSON. Raises InvalidInput naming what is wrong."""
    try:
        return msgspec.json.decode(data, type=RowPlan)
    except msgspec.ValidationError as error:
        raise InvalidInput("mapping", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("mapping", f"is {no_json(error)}") from None


def by_name(columns: Sequence[str]) -> RowPlan:
    """The plan of a table whose columns are named as the places of a call: userId, timestamp, properties.total."""
    known = {name: name for name in columns if name in FIELDS or name.partition(".")[0] in PARTS}
    if not known:
        raise InvalidInput("mapping", "must be given: no column is named as a place of a call, such as userId")
    return RowPlan(columns=dict(known))


def from_csv(
    stream: IO[bytes], planned: Callable[[Sequence[str]], Rows], delimiter: str = ",", encoding: str = "utf-8"
) -> Iterator[bytes | BadRow]:
    """The call of each row of a CSV file whose first line names the columns; what is wrong with one that is none.

    Raises InvalidInput when the file itself cannot be read further, as where it is not in that encoding.
    """
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    csv.field_size_limit(csvlines.MOST_LETTERS)
    lines = csvlines.Lines(text, delimiter)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        _check_delimiter(head, delimiter)
        rows = planned(head)
        check_columns(rows.columns, head)
        lines.width = len(head)
        lines.says_when = lambda values: rows.says_when(dict(zip(head, values, strict=False)))
        is_below = False
        while True:
            lines.begin()
            try:
                row = next(reader, None)
            except csv.Error as error:
                # Whom it is about is not known, so it is not kept: the line says where it stands.
                yield BadRow("", lines.fault(error), b"")
                is_below = True
                continue
            if row is None:
                return
            told = dict(zip(head, row, strict=False))
            is_below = is_below and len(row) < len(head) and not rows.is_told_apart(told)
            if lines.are_rows:
                yield BadRow("", lines.either(), b"")
                is_below = True
            elif len(row) > len(head):
                fault = f"the row has {len(row)} fields, the first line names {len(head)}"
                yield BadRow("", lines.named(fault), b"")
                is_below = lines.are_several
            elif row and is_below:
                fault = f"this is part of a row, in line {lines.began} below a quotation mark that closes no field"
                yield BadRow("", lines.named(fault), b"")
            elif row:
                call = called(rows, told)
                yield call if isinstance(call, bytes) else BadRow(call.field, lines.named(call.message), call.body)
    except csv.Error as error:
        raise InvalidInput("", f"is not CSV in line {reader.line_num}: {error}") from None
    except UnicodeError:
        raise InvalidInput("", f"is not {encoding}") from None
    finally:
        # Whoever interrupts an import closes the file first.
        if not stream.closed:
            text.detach()


def check_columns(wanted: Iterable[str], head: Sequence[str]) -> None:
    """Raises InvalidInput unless a table with this head has each wanted column once."""
    for name in wanted:
        if head.count(name) != 1:
            raise InvalidInput("columns", f"the file has {'two columns' if name in head else 'no column'} {name}")


def _check_delimiter(head: Sequence[str], delimiter: str) -> None:
    """Refuse a first line that is one column, full of another delimiter."""
    if len(head) > 1:
        return
    between = next((name for name, mark in DELIMITERS.items() if mark != delimiter and mark in "".join(head)), None)
    if between is not None:
        raise InvalidInput("", f"names one column, {head[0][:60]!r}: perhaps it wants --delimiter {between}")


def called(rows: Rows, row: Mapping[str, Any]) -> bytes | BadRow:
    """The call of a row, or what is wrong with it."""
    try:
        return rows.call(row)
    except InvalidInput as error:
        return BadRow(error.field, error.message, rows.shown(row))


def _check_place(place: str, field: str) -> None:
    first, *more = place.split(".")
    if place in FIELDS or (first in PARTS and 0 < len(more) <= DEPTH and all(more)):
        return
    raise InvalidInput(field, f"must be one of {', '.join(FIELDS)}, or begin with properties., traits. or context.")


def _put(call: dict[str, Any], place: str, value: Any) -> None:
    *parts, last = place.split(".")
    for part in parts:
        call = call.setdefault(part, {})
    call[last] = value


def _number(value: Any, name: str, mark: str, *, whole: bool) -> int | float:
    said = str(value).strip()
    if isinstance(value, str) and mark == ",":
        said = _with_point(said, name)
    try:
        number = Decimal(said) if not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or (whole and number != number.to_integral_value()):
        is_comma = mark == "." and _COMMA.fullmatch(said) is not None
        hint = ' such as 59.90; with "decimal": "," in the mapping commas are read' if is_comma else ""
        raise InvalidInput(name, f"must be a {'whole number' if whole else 'number'}{hint}")
    if abs(number) > 10**18:
        raise InvalidInput(name, "is absurdly large")
    return int(number) if whole or number == number.to_integral_value() else float(number)


def _with_point(said: str, name: str) -> str:
    """A number with a decimal comma as one with a point: 1.234,50 is 1234.50. Raises InvalidInput for 59.90."""
    if "." in said and _GROUPED.fullmatch(said) is None:
        raise InvalidInput(name, 'must be a number such as 59,90, as "decimal" of the mapping says')
    return said.replace(".", "").replace(",", ".")


def _truth(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    said = str(value).strip().lower()
    if said in _TRUE or said in _FALSE:
        return said in _TRUE
    raise InvalidInput(name, "must be true or false")


def _json(value: str, name: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput(name, "must be JSON") from None
