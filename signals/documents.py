"""What PostgreSQL reads out of the state documents of `profile_state` (`state.queried`), as typed values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Integer,
    Text,
    case,
    cast,
    false,
    func,
    literal,
    or_,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from signals.identifying import SEALED
from signals.moments import seconds_of, today_of, unix_ms
from signals.profiles import ProfileStateRow
from signals.state import BOUGHT_DAYS, MAX_GAPS, Trait

Expression = ColumnElement[Any]
Condition = ColumnElement[bool]


def bought(category: int | None, place: int) -> Expression:
    """A word about a person's purchases of a category (`state.queried`); NULL where there are none.

    To be read from `profile_state`.
    """
    return _word("bought", category, place)


def _word(part: str, category: int | None, place: int) -> Expression:
    return func.split_part(ProfileStateRow.document[part][str(category)].astext, " ", place)


def compared(trait: str, op: str, wanted: Trait) -> str:
    """That a trait stands so to a value of its sort, for `Document.fits`. Of texts only `==` is asked, as paths order
    them otherwise than Python does."""
    return f"@.{_quoted(trait)} {op} {_quoted(wanted)}"


def told(trait: str) -> str:
    """That a trait has a value, for `Document.fits`."""
    return f"exists(@.{_quoted(trait)})"


def _quoted(value: Trait) -> str:
    # JSON's strings, numbers, true and false are those of its paths.
    return msgspec.json.encode(value).decode()


class Document:
    """A stored state document at a moment: typed values out of its paths, NULL where there is nothing."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.today = today_of(now)
        self.now_s = seconds_of(unix_ms(now))
        self.column: Any = ProfileStateRow.document

    def at(self, *path: str | int) -> Any:
        """The JSON value at a path. Steps are parameters: a trait may be called anything."""
        value = self.column
        for step in path:
            value = value[step]
        return value

    def number(self, *path: str | int) -> Expression:
        return cast(self.at(*path).astext, Double)

    def whole(self, *path: str | int) -> Expression:
        return cast(self.at(*path).astext, BigInteger)

    def text(self, *path: str | int) -> Expression:
        return self.at(*path).astext  # type: ignore[no-any-return]

    def yes(self, *path: str | int) -> Expression:
        return cast(self.at(*path).astext, Boolean)

    def count(self, *path: str | int) -> Expression:
        """A whole number, 0 where there is none."""
        return func.coalesce(self.whole(*path), 0)

    def length(self, *path: str | int) -> Expression:
        """How many entries a list has, 0 where there is none."""
        return func.coalesce(func.jsonb_array_length(self.at(*path)), 0)

    def has(self, entry: Any, *path: str | int) -> Condition:
        """Whether a list has the entry."""
        return func.coalesce(self.at(*path).contains([entry]), false())

    def says(self, trait: str, wanted: Trait) -> Condition:
        """Whether a trait is this value, of its sort. Containment copies nothing out, so it takes half as long as
        reading the value."""
        return self.column.contains({"traits": {trait: wanted}})  # type: ignore[no-any-return]

    def fits(self, predicate: str) -> Condition:
        """Whether the traits fit a predicate of a JSON path, in which `@` are the traits. One that compares what cannot
        be compared is unknown, which does not fit."""
        # The operator takes three quarters of the time that the functions of paths take.
        return func.coalesce(self.at("traits").path_exists(cast(f"$ ? ({predicate})", JSONPATH)), false())

    def tells(self, trait: str) -> Condition:
        """Whether a trait has a value, be it sealed."""
        return or_(*(func.coalesce(self.at(part).has_key(trait), false()) for part in (SEALED, "traits")))

    def days_since(self, *path: str | int) -> Expression:
        """UTC days since the day at a path."""
        return self.since(self.whole(*path))

    def since(self, day: Expression) -> Expression:
        """UTC days since a day. PostgreSQL's GREATEST ignores NULL, so the missing is caught first."""
        return case((day.is_(None), None), else_=func.greatest(0, self.today - day))

    def hours_since(self, *path: str | int) -> Expression:
        moment = self.whole(*path)
        return case((moment.is_(None), None), else_=func.greatest(0, self.now_s - moment) / literal(3600, BigInteger))

    def orders_within(self, within: int) -> Expression:
        """How many orders lie at most `within` days back."""
        query = cast("$.order_days[*] ? (@ >= $oldest)", JSONPATH)
        oldest = cast({"oldest": self.today - within}, JSONB)
        return func.jsonb_array_length(func.jsonb_path_query_array(self.column, query, oldest))

    def bought(self, category: int | None, place: int) -> Expression:
        """A number among the words about purchases of a category (`state.queried`)."""
        return cast(bought(category, place), BigInteger)

    def seen(self, category: int | None, place: int) -> Expression:
        """A number among the words about looks at a category."""
        return cast(_word("seen", category, place), BigInteger)

    def bought_within(self, category: int | None, within: int) -> Expression:
        """How many of a category's latest purchases lie at most `within` days back. Their days stand in their order, so
        those before are counted by halving."""
        words = func.string_to_array(self.text("bought", str(category)), " ", type_=ARRAY(Text))
        days = cast(words[BOUGHT_DAYS : BOUGHT_DAYS + MAX_GAPS], ARRAY(Integer))
        before = func.width_bucket(self.today - within - 1, days)
        return func.coalesce(func.cardinality(days) - before, 0)
