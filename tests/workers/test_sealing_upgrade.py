"""A database of the release before is sealed as it is upgraded; nothing of it is lost, and nothing stays readable."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from base.embedded import PostgresServer
from base.errors import SettingError
from base.vault import CLOSED
from signals.identifying import SEALED
from signals.state import ProfileState, encode
from tests.databases import VAULT
from workers.migration import migrate
from workers.rekeying import places

BEFORE = "0042"
STATE = encode(ProfileState(traits={"first_name": "Zephyrine", "city": "Bonn", "note": "  "}))
BODY = (
    '{"type": "track", "event": "Order Completed", "properties": {"order_id": "o1", "total": 12.50, "currency": "EUR",'
    ' "note": "for Wilhelmina", "coupon": "FORWILHELMINA", "products": [{"product_id": "p1", "price": "12.50"}, 7]}}'
)
DOCUMENT = {
    "segments": [3],
    "traits": {"first_name": "Zephyrine", "city": "Bonn", "note": "  "},
    "consent": {"email": True},
}
ROWS = (
    ("INSERT INTO source (id, name, kind, trust, created_at) VALUES (1, 'shop', 'server', 100, now())", ()),
    ("INSERT INTO profile (id, root_id, created_at) VALUES (1, 1, now()), (2, 2, now())", ()),
    *(
        (
            "INSERT INTO identifier (type, value, value_hash, profile_id, owns, source_id, trust, first_seen,"
            " last_seen)"
            " VALUES ('email', 'ann@example.com', 'hash', %s, %s, 1, 100, now(), now())",
            (profile, profile == 1),
        )
        for profile in (1, 2)
    ),
    (
        "INSERT INTO event (id, message_id, source_id, profile_id, type, name, event_time, received_at, order_id,"
        " order_total_cents, content_hash, folds, body)"
        " VALUES (1, 'm1', 1, 1, 'track', 'Order Completed', now(), now(), 'o1', 1250, '', true, %s)",
        (BODY,),
    ),
    (
        "INSERT INTO event_conflict (message_id, source_id, content_hash, received_at, body)"
        " VALUES ('m1', 1, 'x', now(), %s)",
        (BODY,),
    ),
    (
        "INSERT INTO rejected_event (source_id, reason, field, message, body, at)"
        " VALUES (1, 'invalid', 'a', 'b', %s, now())",
        ('{"to": "ann@example.com"}',),
    ),
    (
        "INSERT INTO profile_state (profile_id, version, document, encoded, updated_at) VALUES (1, 1, %s, %s, now())",
        (json.dumps(DOCUMENT), STATE),
    ),
    (
        "INSERT INTO trait_lineage (profile_id, name, value, event_time, source_id, event_id)"
        " VALUES (1, 'first_name', %s, now(), 1, 1), (1, 'gone', 'null', now(), 1, 1)",
        ('"Zephyrine"',),
    ),
    (
        "INSERT INTO consent (profile_id, purpose, granted, at, received_at, source_id, wording, event_id) VALUES"
        " (1, 'email', true, now(), now(), 1, 'Ann agreed', 1), (1, 'sms', true, now(), now(), 1, NULL, 1)",
        (),
    ),
    ("INSERT INTO household_claim (profile_id, kind, key, since, said_at, message_id, why, ended_why)"
     " VALUES (1, 'hand', 'k', now(), now(), '', 'one door', 'moved to Wales')", ()),
    ("INSERT INTO suppression_change (address_hash, at, listed, reason, via, evidence)"
     " VALUES ('h', now(), true, 'bounced', 'dsn', 'countess is full')", ()),
    ("INSERT INTO mail_report (key, kind, via, at, received_at, words)"
     " VALUES ('k', 'soft', 'dsn', now(), now(), 'countess is full')", ()),
    ("INSERT INTO shop_waiting (source_id, order_id, message_id, event, properties, at, received_at)"
     " VALUES (1, 'o9', 'r1', 'Order Refunded', '{\"note\": \"for Mildred\"}', now(), now())", ()),
)  # fmt: skip
WORDS = ("ann@", "Zephyrine", "Wilhelmina", "WILHELMINA", "Ann agreed", "one door", "Wales", "countess", "Mildred")


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database as the release before made it, with rows in it."""
    server, name = postgres.url.rsplit("/", 1)[0], "test_upgraded"
    plain = server.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(f"{plain}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            migrate(f"{server}/{name}", CLOSED, BEFORE)
            with psycopg.connect(f"{plain}/{name}") as there:
                for statement, values in ROWS:
                    there.execute(statement, values)
            yield f"{server}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def dump(there: psycopg.Connection) -> str:
    """All rows of all tables, bytes also as they spell."""
    lines = []
    for (table,) in there.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ):
        for row in there.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))):
            lines += [one.decode("latin-1") if isinstance(one, bytes) else str(one) for one in row]
    return "\n".join(lines)


@pytest.mark.feature("SU-13")
def test_it_seals_what_the_release_before_kept(url: str) -> None:
    plain = url.replace("postgresql+psycopg", "postgresql")
    with pytest.raises(SettingError, match="LATEBIND_PII_KEYS"):
        migrate(url, CLOSED)
    with psycopg.connect(plain) as there:
        assert [word for word in WORDS if word not in dump(there)] == []
    migrate(url, VAULT)
    migrate(url, VAULT)
    with psycopg.connect(plain) as there:
        assert [word for word in WORDS if word in dump(there)] == []
        found: dict[str, list[bytes | None]] = {}
        for place in places():
            column, table = sql.Identifier(place.column.name), sql.Identifier(place.table.name)
            rows = there.execute(sql.SQL("SELECT {} FROM {} ORDER BY ctid").format(column, table))
            found[place.name] = [None if one is None else VAULT.open(one, place.kind.place) for (one,) in rows]
        assert found == {
            "consent.wording": [b"Ann agreed", None], "delivery.test_address": [], "event.body": [BODY.encode()],
            "event_conflict.body": [BODY.encode()], "household_claim.ended_why": [b"moved to Wales"],
            "household_claim.why": [b"one door"], "identifier.value": [b"ann@example.com"] * 2,
            "mail_report.words": [b"countess is full"], "profile_state.encoded": [STATE],
            "rejected_event.body": [b'{"to": "ann@example.com"}'],
            "shop_waiting.properties": [b'{"note": "for Mildred"}'],
            "suppression_change.evidence": [b"countess is full"], "trait_lineage.value": [b'"Zephyrine"', b"null"],
        }  # fmt: skip
        ((figures,),) = there.execute("SELECT figures FROM event")
        assert figures == {
            "properties": {
                "currency": "EUR", "coupon": True, "total": 12.5,
                "products": [{"product_id": "p1", "price": "12.50"}, {}],
            }
        }  # fmt: skip
        ((document,),) = there.execute("SELECT document FROM profile_state")
        assert document == DOCUMENT | {"traits": {"city": "Bonn"}, SEALED: {"first_name": True, "note": False}}
