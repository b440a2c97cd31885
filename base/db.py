"""PostgreSQL: the engine with its limits in time, the base class of all tables, and transactions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import repeat
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import DateTime, Engine, LargeBinary, MetaData, Text, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from base.errors import Busy, Conflict, Refused, Unavailable
from base.vault import CLOSED, Vault, ask_watch, give

CONNECT_SECONDS = 3
STATEMENT_MS = 30_000
LOCK_MS = 10_000
IDLE_MS = 1_800_000
"""How long a transaction may wait for whoever began it: longer than any computes between two statements."""
POOL_WAIT_SECONDS = 5
SILENT_SECONDS = 20
_KEEPALIVES: Final = {
    "keepalives_idle": SILENT_SECONDS // 4,
    "keepalives_interval": SILENT_SECONDS // 4,
    "keepalives_count": 3,
}
"""When either side gives up a host that says nothing, as libpq calls it; PostgreSQL puts tcp_ before."""
QUERY_CANCELED: Final = "57014"
"""PostgreSQL's code of a statement that took too long (its manual, appendix A)."""
_TOO_MANY_CONNECTIONS: Final = "53300"
_LOCK_NOT_AVAILABLE: Final = "55P03"
_STOOD_STILL: Final = "25P03"
_NOT_DONE: Final = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
"""Errors of statements that went through SQLAlchemy and, the latter two, of those that went past it, as COPY does."""


class Model(DeclarativeBase):
    """The base of every table. Constraints have names by rule, so migrations can speak of them.

    Python types map to the types we use everywhere: text without a length, moments with a time zone, JSONB.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        str: Text(),
        bytes: LargeBinary(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        list[Any]: JSONB(),
    }


Sessions = sessionmaker[Session]


class Binaries(list[bytes]):
    """A bytea array that goes to the server as it is.

    The driver writes a plain list as text, each byte as two digits, and looks for quotes in every element: for the
    documents of a hundred profiles that took longer than making them.
    """


class Texts(list[str]):
    """A text array that goes to the server as it is; worth it in statements that every batch of signals runs."""


class Numbers(list[int]):
    """A bigint array that goes to the server as it is, as Texts; every one is a whole number of eight bytes."""


_INT8: Final = psycopg.adapters.types["int8"]
_ARRAY: Final = struct.Struct(">iiIii")
"""The head of an array of one dimension: their number, whether there are nulls, the elements' type, how many from 1."""
_ELEMENT: Final = struct.Struct(">iq")


class _NumbersDumper(Dumper):
    """Numbers as PostgreSQL's binary form of an array, in one step for all instead of several for each."""

    format = psycopg.pq.Format.BINARY
    oid = _INT8.array_oid

    def dump(self, obj: Numbers) -> bytes:
        """Raises struct.error for what is no whole number of eight bytes."""
        head = _ARRAY.pack(1, 0, _INT8.oid, len(obj), 1)
        return head + b"".join(map(_ELEMENT.pack, repeat(_ELEMENT.size - 4), obj))


psycopg.adapters.register_dumper(Binaries, ListBinaryDumper)
psycopg.adapters.register_dumper(Texts, ListBinaryDumper)
psycopg.adapters.register_dumper(Numbers, _NumbersDumper)


def connect(
    url: str,
    *,
    vault: Vault = CLOSED,
    pool_size: int = 5,
    statement_ms: int = STATEMENT_MS,
    application: str = "latebind",
) -> Engine:
    """An engine for a PostgreSQL address; nothing connects before the first use.

    Connecting takes at most 3 s, a statement `statement_ms` (0: no limit, for bulk work), waiting for a lock 10 s.
    A connection that died while idle is replaced unseen, and one whose host is silent for 20 s is given up: one that
    vanished would be waited for a quarter of an hour. The server does so too: by itself it keeps the locks of whoever
    vanished in a transaction for two hours, and for ever those of one that stands still: it ends that after half an
    hour. `vault` seals and opens what is kept of people.
    """
    options = {
        "statement_timeout": statement_ms,
        "lock_timeout": LOCK_MS,
        "idle_in_transaction_session_timeout": IDLE_MS,
        "timezone": "UTC",
    }
    # Not the user timeout: the server would give up who takes long over what it was sent.
    options |= {f"tcp_{name}": value for name, value in _KEEPALIVES.items()}
    engine = create_engine(
        _with_driver(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,  # An error that is logged must not tell what was said of somebody.
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": application,
            **_KEEPALIVES,
            "tcp_user_timeout": SILENT_SECONDS * 1000,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    )
    give(engine, vault)
    return engine


def sessions(engine: Engine) -> Sessions:
    """A maker of sessions whose objects stay readable after commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(make: Sessions) -> Iterator[Session]:
    """A session that commits when the block ends and rolls back when it raises.

    Raises Unavailable when the server cannot be reached or is stopping, Busy when others hold a lock all the while,
    Refused when it does not do this one thing, and what the engine's watch raises. What goes past SQLAlchemy to the
    driver (signals/journal.py) fails no other way.
    """
    try:
        ask_watch(make.kw["bind"])
        with make.begin() as session:
            yield session
    except (PoolTimeout, *_NOT_DONE) as error:
        raise _kind(error)("The database") from error
    except (InternalError, psycopg.InternalError) as error:
        if _state(error) != _STOOD_STILL:
            raise
        raise Unavailable("The database") from error


def is_away(error: Exception) -> bool:
    """Whether an error says nothing of what was being done: the database or another server is away, or files or memory
    are. Others would fail alike."""
    if isinstance(error, OperationalError):
        return not _is_refusal(error)
    return isinstance(error, InterfaceError | Unavailable | OSError | MemoryError) and not isinstance(error, Refused)


def _kind(error: Exception) -> type[Unavailable]:
    """What is raised for an error of the driver or the pool."""
    if _state(error) == _LOCK_NOT_AVAILABLE:
        return Busy
    return Refused if _is_refusal(error) else Unavailable


def _state(error: Exception) -> str:
    """What the server calls an error: SQLAlchemy's has the driver's in it."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _is_refusal(error: Exception) -> bool:
    """Whether the server refuses one statement and goes on with others: it has no room for it (SQLSTATE 53, but for
    connections), it is too complex (54), or its time is up."""
    state = _state(error)
    return state == QUERY_CANCELED or (state[:2] in ("53", "54") and state != _TOO_MANY_CONNECTIONS)


@contextmanager
def alone(make: Sessions, key: int, words: str) -> Iterator[None]:
    """Hold the lock of what runs once at a time; the database lets go of it when this process dies.

    `key` is what the advisory lock is known by. Raises Conflict, with these words, while somebody else holds it.
    """
    engine: Engine = make.kw["bind"]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
            raise Conflict(words)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})


def _with_driver(url: str) -> str:
    """The address with our driver named: operators write `postgresql://`, SQLAlchemy would take psycopg2."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)
