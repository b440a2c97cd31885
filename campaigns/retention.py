"""How long records of opens are kept, by class, and what is kept of them now.

Deleting is the work of a worker loop; pages and the doctor tell by this what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.settings import Settings
from campaigns.opens import PARTITIONED

HOLD: Final = timedelta(days=31)
"""A fetch can belong to a decision that is older by the longest hold, 30 days: decisions stay for so much longer."""
GRACE: Final = timedelta(days=14)
"""Bytes stay at least so long after they were last served: a process relies on a hand-over for half of that."""
EXACT_BELOW: Final = 100_000
"""Tables with more rows than this are told by the planner's estimate."""
FEW: Final = 500
Class = Literal["people", "machine", "test"]


@dataclass(frozen=True)
class Policy:
    """How long records are kept, by class of who fetched."""

    people: timedelta
    machine: timedelta
    test: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """As it is set. Nothing is kept longer than what people were shown."""
        days = [settings.keep_days, settings.keep_machine_days, settings.keep_test_days]
        return cls(*(timedelta(days=min(number, settings.keep_days)) for number in days))

    def kept_since(self, now: datetime) -> datetime:
        """The moment before which nothing that was shown to anybody is kept any more."""
        return now - self.people - HOLD

    def youngest(self, table: str) -> timedelta:
        """How old a row of this table is at least when it expires."""
        return min(self.people, self.machine, self.test) + (HOLD if table == "decision" else timedelta(0))

    def age(self, kind: Class) -> timedelta:
        """How old a record of this class gets."""
        return {"people": self.people, "machine": self.machine, "test": self.test}[kind]


@dataclass(frozen=True)
class Rule:
    """One class, in words: what is kept, for how long, and the moment before which it has expired."""

    what: str
    days: int
    since: datetime


def rules(policy: Policy, now: datetime) -> list[Rule]:
    """What is kept how long, in words."""
    words: dict[Class, str] = {
        "people": "What people were shown and why, their clicks, and the facts their mails left with",
        "machine": "Fetches and clicks of machines",
        "test": "Fetches and clicks of tests and of staff",
    }
    return [Rule(what, policy.age(kind).days, now - policy.age(kind)) for kind, what in words.items()]


@dataclass(frozen=True)
class Kept:
    """A table as it stands: rows, bytes with its indexes, and the first of the month its oldest part is of."""

    what: str
    rows: int
    bytes: int
    month: str | None


@dataclass(frozen=True)
class Stock:
    """Everything that grows with opens."""

    tables: tuple[Kept, ...]

    @property
    def bytes_per_open(self) -> float | None:
        """Bytes of the database an open takes; None while there are too few to tell it from what empty tables take."""
        opens = next(table.rows for table in self.tables if table.what == "decision")
        theirs = sum(table.bytes for table in self.tables if table.what != "anonymous_fetch")
        return theirs / opens if opens >= FEW else None


_SIZE = text("""
    SELECT coalesce(sum(pg_total_relation_size(part.relid)), 0)::bigint AS bytes,
           coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint AS rows
    FROM pg_partition_tree(to_regclass(:table)) part JOIN pg_class c ON c.oid = part.relid WHERE part.isleaf
""")
_WHOLE = text("""
    SELECT pg_total_relation_size(oid) AS bytes, greatest(reltuples, 0)::bigint AS rows
    FROM pg_class WHERE oid = to_regclass(:table)
""")
_MONTHS = text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(:table) AND c.relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY c.relname
""")


def months(session: Session, table: str) -> list[str]:
    """The names of a table's monthly partitions, oldest first; each ends with its year and month."""
    return list(session.scalars(_MONTHS, {"table": table}))


def stock(session: Session) -> Stock:
    """What is kept of opens now."""
    return Stock(tuple(_kept(session, table) for table in (*PARTITIONED, "served_bytes")))


def _kept(session: Session, table: str) -> Kept:
    size = session.execute(_SIZE if table in PARTITIONED else _WHOLE, {"table": table}).one()
    rows = size.rows
    if rows < EXACT_BELOW:
        # An estimate may be missing; a table that was estimated at less than this can be counted.
        counted = text(f'SELECT count(*) FROM (SELECT FROM "{table}" LIMIT :most) AS known')  # noqa: S608 - our names
        rows = session.scalar(counted, {"most": EXACT_BELOW}) or 0
    parts = months(session, table) if table in PARTITIONED else []
    return Kept(table, rows, size.bytes, parts[0][-7:].replace("_", "-") if parts else None)
