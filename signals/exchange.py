"""The installation's own currency, and what orders in others are worth in it, at the rate of the order's own day.

Both stand in the database and not among the settings of a process: they decide what is stored, so every process must go
by the same, and who changes them has what they change folded again. A rate holds from its day (UTC) until the next that
is given. Without an own currency amounts are added up as they are told. `exchange_rate_at` (migration 0052) is the one
place that knows a rate, for Python and for SQL: 1 for the own currency and where none is told, 0 where there is none.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Protocol

import msgspec
from sqlalchemy import BigInteger, Numeric, delete, select, text, tuple_
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput
from signals.currencies import NO_CURRENCY, is_code
from signals.foldevent import FoldEvent
from signals.moments import moment_of

MOST_RATES: Final = 200_000
"""Rows of one file: thirty currencies, daily, for eighteen years."""
BAD_SHOWN: Final = 100
LOOKED_AT: Final = 20_000
"""The newest orders that are looked at for currencies."""
INTERRUPTED: Final = (
    "States still follow a change of rates. If no `latebind currency` is at work, give the rates again, or run"
    " `latebind rebuild`."
)
_COLUMNS: Final = ("currency", "day", "rate")
_RATE: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,30})?")
_TEN: Final = Decimal(1).scaleb(-10)


class OwnCurrency(Model):
    """The currency in which this installation adds money up, in one row; without it, as told."""

    __tablename__ = "own_currency"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str]
    changed_at: Mapped[datetime]


class ExchangeRate(Model):
    """What one unit of a currency was worth in the own one, `own`, from a day on. Those of another own one wait."""

    __tablename__ = "exchange_rate"

    own: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    rate: Mapped[Decimal] = mapped_column(Numeric(16, 10))


class ExchangeDue(Model):
    """Orders in a currency, from a day on, that are to be folded again as what they are worth changed; those in any
    under an empty one. Noted by who changes it and taken off once that is done. `number` is another each time."""

    __tablename__ = "exchange_due"

    currency: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[date]
    number: Mapped[int] = mapped_column(BigInteger, server_default=text("nextval('exchange_due_number')"))


class Entry(Protocol):
    """Who carries an event that is to be folded."""

    event: FoldEvent


_HOLD: Final = text("SELECT pg_advisory_xact_lock_shared(hashtext('latebind rates'))")
_CHANGE: Final = text("SELECT pg_advisory_xact_lock(hashtext('latebind rates'))")
_RATES: Final = text("""
    SELECT told, day, (exchange_rate_at(told, day) * 10000000000)::bigint AS rate
    FROM unnest(CAST(:told AS text[]), CAST(:days AS timestamptz[])) AS wanted (told, day)
""")


def hold(session: Session) -> None:
    """Have the rates stay as they are until this transaction ends, for who is about to write what they come to.

    Whoever changes rates waits for that, and finds what was written.
    """
    session.execute(_HOLD)


def value(session: Session, entries: Iterable[Entry]) -> None:
    """Give each event that tells another currency than the own one the rate of its day."""
    told = [entry for entry in entries if entry.event.currency]
    ours = own(session) if told else None
    if ours is None:
        return
    wanted: dict[tuple[str, datetime], list[Entry]] = {}
    for entry in told:
        if entry.event.currency != ours:
            day = moment_of(entry.event.time_ms).replace(hour=0, minute=0, second=0, microsecond=0)
            wanted.setdefault((entry.event.currency, day), []).append(entry)
    if not wanted:
        return
    rows = session.execute(_RATES, {"told": [one for one, _ in wanted], "days": [day for _, day in wanted]})
    for row in rows:
        for entry in wanted[row.told, row.day]:
            entry.event = msgspec.structs.replace(entry.event, rate=row.rate)


def own(session: Session) -> str | None:
    """The currency in which money is added up; None where it is added up as it is told."""
    return session.scalar(select(OwnCurrency.currency))


def set_own(session: Session, currency: str | None, now: datetime) -> None:
    """Add money up in this currency from now on, as it is told with None. Once that is committed, what is `due` is to
    be folded again. Raises InvalidInput where it is no code of a currency.
    """
    if currency is not None and (not is_code(currency) or currency.upper() == NO_CURRENCY):
        raise InvalidInput("currency", "must be three letters, such as EUR")
    session.execute(_CHANGE)
    if currency is None:
        session.execute(text("DELETE FROM own_currency"))
    else:
        session.execute(
            text("""
                INSERT INTO own_currency (id, currency, changed_at) VALUES (1, :currency, :now)
                ON CONFLICT (id) DO UPDATE SET currency = excluded.currency, changed_at = excluded.changed_at
            """),
            {"currency": currency.upper(), "now": now},
        )
    session.execute(_NOTE, {"currencies": [_ANY], "since": [date.min]})


@dataclass(frozen=True, slots=True)
class Rate:
    """A row of a file of rates."""

    currency: str
    day: date
    rate: Decimal


@dataclass(slots=True)
class Given:
    """What became of rates that were given: how many are new or another.

    `bad` are the first hundred faults, each with the number of its line.
    """

    changed: int = 0
    refused: int = 0
    bad: list[tuple[int, InvalidInput]] = field(default_factory=list)


def read_rates(lines: Iterable[str], own_currency: str, given: Given) -> Iterator[Rate]:
    """The rates of a CSV with the columns currency, day and rate; what is wrong with others is noted in `given`.

    Raises InvalidInput where columns are missing, or there are too many rows.
    """
    rows = csv.DictReader(lines, strict=True)
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise InvalidInput(", ".join(missing), f"must be a column: the first line is {','.join(_COLUMNS)}")
    try:
        for number, row in enumerate(rows, 1):
            if number > MOST_RATES:
                raise InvalidInput("file", f"may have at most {MOST_RATES:,} rates")
            try:
                yield _rate(row, own_currency)
            except InvalidInput as error:
                given.refused += 1
                if len(given.bad) < BAD_SHOWN:
                    given.bad.append((rows.line_num, error))
    except csv.Error as error:
        raise InvalidInput(f"line {rows.line_num}", f"is no CSV: {error}") from None


def _rate(row: Mapping[str, str | None], own_currency: str) -> Rate:
    told = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    currency = told["currency"].upper()
    if not is_code(currency) or currency == NO_CURRENCY:
        raise InvalidInput("currency", "must be three letters, such as USD")
    if currency == own_currency:
        raise InvalidInput("currency", f"must be another than the own one, {own_currency}")
    try:
        day = date.fromisoformat(told["day"])
    except ValueError:
        raise InvalidInput("day", "must be a date such as 2026-03-01") from None
    if _RATE.fullmatch(told["rate"]) is None:
        raise InvalidInput("rate", "must be a number with a point before its decimals, such as 0.92, below a million")
    rate = Decimal(told["rate"]).quantize(_TEN, ROUND_HALF_UP)
    if not 0 < rate < 10**6:
        raise InvalidInput("rate", "must be more than nothing, with ten decimals, and below a million")
    return Rate(currency, day, rate)


_GIVE: Final = text("""
    INSERT INTO exchange_rate AS known (own, currency, day, rate)
    SELECT DISTINCT ON (currency, day) :own, currency, day, rate
    FROM unnest(CAST(:currencies AS text[]), CAST(:days AS date[]), CAST(:rates AS numeric[]))
         WITH ORDINALITY AS given (currency, day, rate, place)
    ORDER BY currency, day, place DESC
    ON CONFLICT (own, currency, day) DO UPDATE SET rate = excluded.rate WHERE known.rate <> excluded.rate
    RETURNING currency, day
""")
_ANY: Final = ""
_NOTE: Final = text("""
    INSERT INTO exchange_due AS noted (currency, since)
    SELECT currency, min(since)
    FROM unnest(CAST(:currencies AS text[]), CAST(:since AS date[])) AS new (currency, since) GROUP BY currency
    ON CONFLICT (currency) DO UPDATE
    SET since = least(noted.since, excluded.since), number = nextval('exchange_due_number')
""")
_TOLD: Final = """
    SELECT DISTINCT p.root_id FROM event e JOIN profile p ON p.id = e.profile_id {given}
    WHERE e.order_id IS NOT NULL AND {wanted} ORDER BY 1
"""
_TOLD_ANY: Final = text(_TOLD.format(given="", wanted="e.figures #>> '{properties,currency}' IS NOT NULL"))
_TOLD_SINCE: Final = text(
    _TOLD.format(
        given="JOIN unnest(CAST(:currencies AS text[]), CAST(:since AS timestamptz[])) AS given (currency, since)"
        " ON given.currency = upper(e.figures #>> '{properties,currency}')",
        wanted="e.event_time >= given.since",
    )
)


def give(session: Session, rates: Sequence[Rate], own_currency: str, given: Given) -> None:
    """Store rates in the own currency, the last of a day where several are given. Once that is committed, what is
    `due` is to be folded again."""
    session.execute(_CHANGE)
    rows = session.execute(
        _GIVE,
        {
            "own": own_currency, "currencies": [one.currency for one in rates], "days": [one.day for one in rates],
            "rates": [one.rate for one in rates],
        },
    ).all()  # fmt: skip
    given.changed = len(rows)
    session.execute(_NOTE, {"currencies": [row.currency for row in rows], "since": [row.day for row in rows]})


def due(session: Session) -> list[ExchangeDue]:
    """What is to be folded again: by who changed it, or by whoever comes next where that was interrupted."""
    return list(session.scalars(select(ExchangeDue).order_by(ExchangeDue.currency)))


def concerned(session: Session, found: Sequence[ExchangeDue]) -> list[int]:
    """Whose orders are due.

    By itself, and after the change was committed: whoever wrote by the old rates has committed too, and whoever writes
    does not wait while all orders are looked through, which may take as long as it takes.
    """
    session.execute(text("SET LOCAL statement_timeout = 0"))
    if any(one.currency == _ANY for one in found):
        return list(session.scalars(_TOLD_ANY))
    since = [datetime(one.since.year, one.since.month, one.since.day, tzinfo=UTC) for one in found]
    currencies = [one.currency for one in found]
    return list(session.scalars(_TOLD_SINCE, {"currencies": currencies, "since": since})) if found else []


def done(session: Session, found: Sequence[ExchangeDue]) -> None:
    """Take off what was due and is folded; what became due anew meanwhile stays."""
    noted = [(one.currency, one.number) for one in found]
    session.execute(delete(ExchangeDue).where(tuple_(ExchangeDue.currency, ExchangeDue.number).in_(noted)))


@dataclass(frozen=True, slots=True)
class Lacking:
    """Orders of a source in a currency that had no rate on their day: their money is in no sum."""

    source: int
    currency: str
    orders: int
    first: date


_NEWEST: Final = """
    WITH newest AS MATERIALIZED (
        SELECT source_id, upper(figures #>> '{properties,currency}') AS told, event_time AS at FROM event
        WHERE order_id IS NOT NULL AND name = 'Order Completed' AND folds ORDER BY id DESC LIMIT :most
    )
"""
# Each rate is asked for once: it is the same all day.
_LACKING: Final = text(
    f"""{_NEWEST}, days AS MATERIALIZED (
        SELECT source_id, told, (at AT TIME ZONE 'UTC')::date AS day, count(*) AS orders
        FROM newest WHERE told IS NOT NULL GROUP BY 1, 2, 3
    ), asked AS MATERIALIZED (SELECT DISTINCT told, day FROM days
    ), unrated AS MATERIALIZED (
        SELECT told, day FROM asked WHERE exchange_rate_at(told, day::timestamp AT TIME ZONE 'UTC') = 0
    )
    SELECT source_id, told, sum(orders)::bigint AS orders, min(day) AS first FROM days JOIN unrated USING (told, day)
    GROUP BY source_id, told ORDER BY 3 DESC, told, source_id LIMIT 100
"""  # noqa: S608
)
_IN_USE: Final = text(
    f"""{_NEWEST}
    SELECT told, (SELECT max(r.day) FROM exchange_rate r WHERE r.own = :own AND r.currency = told) AS day
    FROM newest WHERE told IS NOT NULL GROUP BY told ORDER BY count(*) DESC, told LIMIT 100
"""  # noqa: S608
)


_USUAL: Final = """
    SELECT told FROM ({newest}) AS newest WHERE told ~ '^[A-Z]{{3}}$' AND told <> :none
    GROUP BY told ORDER BY count(*) DESC, told LIMIT 1
"""
_OF_ORDERS: Final = text(
    _USUAL.format(
        newest="SELECT upper(figures #>> '{properties,currency}') AS told FROM event"
        " WHERE id > (SELECT max(id) FROM event) - :most AND order_id IS NOT NULL"
    )
)
_OF_PRODUCTS: Final = text(_USUAL.format(newest="SELECT currency AS told FROM product LIMIT :most"))


def usual(session: Session) -> str | None:
    """The own currency, else the one that most orders among the newest 20,000 signals tell, else most prices of as many
    products; None where nothing tells one.
    """
    looked_at = {"most": LOOKED_AT, "none": NO_CURRENCY}
    return own(session) or session.scalar(_OF_ORDERS, looked_at) or session.scalar(_OF_PRODUCTS, looked_at)


def summed(session: Session) -> str | None:
    """What sums over everybody's orders are in: the own currency, else the only one that the newest 20,000 tell; None
    where they tell several, which are added up as they are, or none.
    """
    if found := own(session):
        return found
    told = in_use(session, None)
    return next(iter(told)) if len(told) == 1 else None


def lacking(session: Session) -> list[Lacking]:
    """Which of the newest 20,000 orders have no rate, by source and currency; none without an own currency."""
    if own(session) is None:
        return []
    rows = session.execute(_LACKING, {"most": LOOKED_AT})
    return [Lacking(row.source_id, row.told, row.orders, row.first) for row in rows]


def in_use(session: Session, own_currency: str | None) -> dict[str, date | None]:
    """The currencies that the newest 20,000 orders tell, the commonest first, each with the day of its newest rate."""
    rows = session.execute(_IN_USE, {"own": own_currency, "most": LOOKED_AT})
    return {row.told: row.day for row in rows}
