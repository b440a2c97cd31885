"""Databases for tests: copied from a migrated one, and after a test emptied and handed on under another name.

A copy is 11 MB in 700 files and takes a quarter of a second of a core; to delete the rows that a test has written takes
a tenth of that. Whoever still knows a database by its old name finds nothing there.
"""

from __future__ import annotations

import itertools
from typing import LiteralString

import psycopg
from psycopg import sql

from base.embedded import PostgresServer
from base.vault import Vault

TEMPLATE = "latebind"
PII_KEYS = {1: b"p" * 32}
VAULT = Vault(PII_KEYS)
HASH_KEY = b"h" * 32
"""What seals and opens in every test that says nothing else."""

GROWN_BYTES = 16_000_000
"""Deleted rows stay in their tables: a database of so many is not handed on."""

_END_OTHERS = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
# A copy has the object numbers of what it was copied from.
_SHAPE = """
    SELECT (SELECT array_agg((oid, relname) ORDER BY oid)::text FROM pg_class WHERE oid >= 16384),
           (SELECT md5(string_agg((attrelid, attnum, atttypid, attnotnull)::text, ',' ORDER BY attrelid, attnum))
            FROM pg_attribute WHERE attrelid >= 16384),
           (SELECT md5(string_agg((oid, adbin)::text, ',' ORDER BY oid)) FROM pg_attrdef),
           (SELECT md5(string_agg((oid, conname, conbin)::text, ',' ORDER BY oid)) FROM pg_constraint),
           (SELECT md5(string_agg((oid, tgname, tgenabled)::text, ',' ORDER BY oid)) FROM pg_trigger),
           (SELECT min(version_num) FROM alembic_version)
"""
_TABLES = """
    SELECT oid, relname, pg_relation_size(oid) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
"""
_COUNT_ANEW = """
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences
    WHERE last_value IS NOT NULL
"""


class Databases:
    """Those of one server, whose database `latebind` is the template."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server.url.replace("postgresql+psycopg", "postgresql").rsplit("/", 1)[0]
        self._numbers = itertools.count(1)
        self._empty: list[str] = []
        with psycopg.connect(f"{self._server}/{TEMPLATE}") as connection:
            self._tables = {row[0] for row in connection.execute(_TABLES)}
            self._shape = connection.execute(_SHAPE).fetchone()

    def take(self) -> str:
        """The name of a migrated, empty database."""
        name = f"test_{next(self._numbers)}"
        if self._empty:
            self._run("ALTER DATABASE {} RENAME TO {}", self._empty.pop(), name)
        else:
            self._run("CREATE DATABASE {} TEMPLATE {}", name, TEMPLATE)
        return name

    def give_back(self, name: str) -> None:
        """End all connections to a database and empty it for another test; drop it if it can no longer be as it was."""
        kept = f"{name}_emptied"
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            connection.execute(_END_OTHERS, [name])
            try:
                connection.execute(_named("ALTER DATABASE {} RENAME TO {}", name, kept))
            except psycopg.errors.ObjectInUse:
                # Somebody who was not told to end has connected again.
                connection.execute(_named("DROP DATABASE {} WITH (FORCE)", name))
                return
        if self._emptied(kept):
            self._empty.append(kept)
        else:
            self._run("DROP DATABASE {} WITH (FORCE)", kept)

    def _emptied(self, name: str) -> bool:
        """Delete all rows and what tables were added; whether that leaves the template's shape in about its size."""
        with psycopg.connect(f"{self._server}/{name}") as connection:
            tables = connection.execute(_TABLES).fetchall()
            # No order of tables satisfies every foreign key; a replica checks none.
            todo: list[sql.Composable] = [sql.SQL("SET session_replication_role = replica")]
            for number, table, size in tables:
                if number not in self._tables:
                    todo.append(sql.SQL("DROP TABLE {}").format(sql.Identifier(table)))
                elif size:
                    todo.append(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            connection.execute(sql.SQL(";").join(todo))
            connection.execute(_COUNT_ANEW)
            grown = sum(size for *_, size in tables) > GROWN_BYTES
            return not grown and connection.execute(_SHAPE).fetchone() == self._shape

    def _run(self, statement: LiteralString, *names: str) -> None:
        # A connection each time: tests may kill the server.
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            connection.execute(_named(statement, *names))


def _named(statement: LiteralString, *names: str) -> sql.Composed:
    return sql.SQL(statement).format(*map(sql.Identifier, names))
