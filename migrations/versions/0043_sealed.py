"""What the database keeps of people is sealed: each column that holds such content becomes bytes that only a key opens.

Tables are written anew, so that nothing of their old content stays in their files. Of a stored event its figures are
kept beside the sealed body, and of a state's document what names the person goes, being in the sealed bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from alembic import context, op
from psycopg import sql
from sqlalchemy import text

from base.vault import Vault
from signals.figures import figures
from signals.identifying import hidden

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

AT_ONCE = 2_000
PLAIN = (
    ("identifier", ("type", "value_hash", "profile_id"), ("value",)),
    ("event_conflict", ("id",), ("body",)),
    ("rejected_event", ("id",), ("body",)),
    ("trait_lineage", ("profile_id", "name"), ("value",)),
    ("consent", ("id",), ("wording",)),
    ("household_claim", ("id",), ("why", "ended_why")),
    ("suppression_change", ("id",), ("evidence",)),
    ("mail_report", ("id",), ("words",)),
    ("shop_waiting", ("id",), ("properties",)),
    ("delivery", ("id",), ("test_address",)),
)
"""Tables whose columns are sealed as the text they hold: name, what names a row, columns."""

Row = Sequence[Any]
Made = dict[str, bytes | str | None]


def upgrade() -> None:
    op.execute(
        "CREATE TABLE sealing_key (number SMALLINT NOT NULL, mark BYTEA NOT NULL, since timestamptz NOT NULL,"
        " CONSTRAINT pk_sealing_key PRIMARY KEY (number))"
    )
    vault: Vault = context.config.attributes["vault"]
    op.execute("ALTER TABLE identifier DROP CONSTRAINT pk_identifier")
    op.drop_index("uq_identifier_owner", "identifier")
    for table, key, columns in PLAIN:
        _write_anew(table, key, columns, dict.fromkeys(columns, "bytea"), _sealing(vault, table, columns))
    op.execute("ALTER TABLE identifier ADD CONSTRAINT pk_identifier PRIMARY KEY (type, value_hash, profile_id)")
    op.create_index("uq_identifier_owner", "identifier", ["type", "value_hash"], unique=True, postgresql_where="owns")

    op.execute("ALTER TABLE event ADD COLUMN figures JSON")

    def event(row: Row) -> Made:
        body = str(row[0]).encode()
        read = figures(json.loads(body))
        return {"body": vault.seal(body, "event.body"), "figures": read.decode() if read is not None else None}

    _write_anew("event", ("id",), ("body",), {"body": "bytea", "figures": "json"}, event)

    def state(row: Row) -> Made:
        sealed = vault.seal(bytes.fromhex(row[1].removeprefix("\\x")), "profile_state.encoded")
        return {"encoded": sealed, "document": json.dumps(hidden(json.loads(row[0])))}

    kinds = {"encoded": "bytea", "document": "jsonb"}
    _write_anew("profile_state", ("profile_id",), ("document", "encoded"), kinds, state)


def downgrade() -> None:
    raise NotImplementedError("what was sealed stays sealed: go back to the copy that was made before")


def _sealing(vault: Vault, table: str, columns: Sequence[str]) -> Callable[[Row], Made]:
    def made(row: Row) -> Made:
        return {
            name: None if value is None else vault.seal(value.encode(), f"{table}.{name}")
            for name, value in zip(columns, row, strict=True)
        }

    return made


def _write_anew(
    table: str, key: Sequence[str], read: Sequence[str], kinds: dict[str, str], made: Callable[[Row], Made]
) -> None:
    """Give columns of a table another type, each row's content made from the columns in `read`, as text.

    What is made is laid beside the table first; then the table is written anew, taking it from there.
    """
    connection: psycopg.Connection[Any] = op.get_bind().connection.driver_connection  # type: ignore[assignment]
    beside = sql.Identifier(f"made_{table}")
    op.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
    empty = sql.SQL(", ").join(
        sql.SQL("NULL::{} AS {}").format(sql.SQL(kind), sql.Identifier(f"new_{name}")) for name, kind in kinds.items()
    )
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {}, {} FROM {} WITH NO DATA").format(
                beside, keys, empty, sql.Identifier(table)
            )
        )
        for rows in _pieces(connection, table, key, read):
            with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(beside)) as copy:
                for row in rows:
                    new = made(row[len(key) :])
                    copy.write_row((*row[: len(key)], *(new[name] for name in kinds)))
        cursor.execute(sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(beside, keys))
        cursor.execute(sql.SQL("ANALYZE {}").format(beside))
        changes = [_taken(cursor, table, key, name, kind) for name, kind in kinds.items()]
        cursor.execute(sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), sql.SQL(", ").join(changes)))
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


def _pieces(
    connection: psycopg.Connection[Any], table: str, key: Sequence[str], read: Sequence[str]
) -> Iterator[list[Row]]:
    columns: list[sql.Composable] = [sql.Identifier(name) for name in key]
    columns += [sql.SQL("{}::text").format(sql.Identifier(name)) for name in read]
    with connection.cursor(name=f"all_{table}") as cursor:
        told = sql.SQL(" OR ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in read)
        cursor.execute(
            sql.SQL("SELECT {} FROM {} WHERE {}").format(sql.SQL(", ").join(columns), sql.Identifier(table), told)
        )
        while rows := cursor.fetchmany(AT_ONCE):
            yield rows


def _taken(cursor: psycopg.Cursor[Any], table: str, key: Sequence[str], name: str, kind: str) -> sql.Composable:
    """The change of one column: of the type, each row's content by a function of what names the row."""
    cursor.execute(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = %s::regclass",
        [table],
    )
    types = dict(cursor.fetchall())
    function = sql.Identifier("pg_temp", f"new_{table}_{name}")
    given = sql.SQL(", ").join(sql.SQL(types[one]) for one in key)
    same = sql.SQL(" AND ").join(
        sql.SQL("m.{} = {}").format(sql.Identifier(one), sql.SQL(f"${number}")) for number, one in enumerate(key, 1)
    )
    cursor.execute(
        sql.SQL(
            "CREATE FUNCTION {}({}) RETURNS {} LANGUAGE plpgsql STABLE AS $do$"
            " BEGIN RETURN (SELECT m.{} FROM {} m WHERE {}); END $do$"
        ).format(
            function,
            given,
            sql.SQL(kind),
            sql.Identifier(f"new_{name}"),
            sql.Identifier(f"made_{table}"),
            same,
        )
    )
    return sql.SQL("ALTER COLUMN {} TYPE {} USING {}({})").format(
        sql.Identifier(name),
        sql.SQL(kind),
        function,
        sql.SQL(", ").join(map(sql.Identifier, key)),
    )
