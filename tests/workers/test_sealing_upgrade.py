"""A database of the release before is sealed as it is upgraded; nothing of it is lost, and nothing stays readable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from base.embedded import PostgresServer
from base.errors import SettingError
from base.vault import CLOSED
from signals.identifying import SEALED
from signals.signal import Arrival, Signal, content_key, read
from signals.state import ProfileState, encode
from tests.databases import HASH_KEY, VAULT
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
     " VALUES ('hash', now(), true, 'bounced', 'dsn', 'countess is full')", ()),
    ("INSERT INTO mail_report (key, kind, via, at, received_at, campaign_id, occurrence, words)"
     " VALUES ('k', 'soft', 'dsn', now(), now(), 1, 1, 'countess is full')", ()),
    ("INSERT INTO shop_waiting (source_id, order_id, message_id, event, properties, at, received_at)"
     " VALUES (1, 'o9', 'r1', 'Order Refunded', '{\"note\": \"for Mildred\"}', now(), now())", ()),
)  # fmt: skip
WORDS = ("ann@", "Zephyrine", "Wilhelmina", "WILHELMINA", "Ann agreed", "one door", "Wales", "countess", "Mildred")


@contextmanager
def upgraded(postgres: PostgresServer, revision: str, rows: Sequence[tuple[str, tuple[Any, ...]]]) -> Iterator[str]:
    """A database as an earlier release made it, with rows in it; its address."""
    server, name = postgres.url.rsplit("/", 1)[0], f"test_upgraded_{revision}"
    plain = server.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(f"{plain}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            migrate(f"{server}/{name}", VAULT if revision > BEFORE else CLOSED, b"", revision)
            with psycopg.connect(f"{plain}/{name}") as there:
                for statement, values in rows:
                    there.execute(statement, values)
            yield f"{server}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database as the release before sealing made it, with rows in it."""
    with upgraded(postgres, BEFORE, ROWS) as address:
        yield address


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
        migrate(url, CLOSED, HASH_KEY)
    with psycopg.connect(plain) as there:
        assert [word for word in WORDS if word not in dump(there)] == []
    migrate(url, VAULT, HASH_KEY)
    migrate(url, VAULT, HASH_KEY)
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


NOW = datetime(2026, 3, 2, tzinfo=UTC)
SAID = json.dumps(
    {"type": "identify", "userId": "ann", "traits": {"phone": "+49 151 1234567"}, "timestamp": "2026-03-01T09:30:00Z"}
).encode()


def bare(monkeypatch: pytest.MonkeyPatch) -> Signal:
    """The call as the release before read it: named by a hash without a key."""
    with monkeypatch.context() as before:
        before.setattr("signals.signal.hmac", SimpleNamespace(digest=lambda _key, content, _algorithm: content))
        return read(SAID, Arrival(NOW))


@pytest.mark.feature("SU-13")
def test_it_keys_what_contents_were_hashed_to_and_still_tells_repeats(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = bare(monkeypatch), read(SAID, Arrival(NOW, content_key=content_key(HASH_KEY)))
    names = (old.message_id, "m-1", "content-my own", "shopify-order-7-buyer-2026-03-01T09:30:00+00:00-0badcafe")
    source = "INSERT INTO source (id, name, kind, trust, created_at) VALUES (1, 'shop', 'server', 100, now())"
    event = (
        "INSERT INTO event (id, message_id, source_id, profile_id, type, event_time, received_at, content_hash, folds,"
        " body) VALUES (%s, %s, 1, 1, 'identify', now(), now(), %s, true, '')"
    )
    rows: list[tuple[str, tuple[Any, ...]]] = [
        (source, ()),
        ("INSERT INTO profile (id, root_id, created_at) VALUES (1, 1, now())", ()),
        *((event, (number, name, old.content_hash)) for number, name in enumerate(names, 1)),
        ("INSERT INTO event_conflict (message_id, source_id, content_hash, received_at, body)"
         " VALUES ('m-1', 1, %s, now(), '')", (old.content_hash,)),
        *(("INSERT INTO household_claim (profile_id, kind, key, since, said_at, message_id)"
           " VALUES (1, 'hand', %s, now(), now(), %s)", (f"k{number}", name)) for number, name in enumerate(names[:2])),
    ]  # fmt: skip
    with upgraded(postgres, "0045", rows) as url, psycopg.connect(url.replace("+psycopg", "")) as there:
        there.autocommit = True
        with pytest.raises(SettingError, match="LATEBIND_HASH_KEY"):
            migrate(url, VAULT, b"", "0046")
        assert old.content_hash.hex()[:32] in dump(there)
        migrate(url, VAULT, HASH_KEY, "0046")
        left = dump(there)
        assert old.content_hash.hex()[:32] not in left
        assert old.content_hash.decode("latin-1") not in left
        assert "0badcafe" not in left
        stored = there.execute("SELECT message_id, content_hash FROM event ORDER BY id").fetchall()
        assert {hashed for _, hashed in stored} == {new.content_hash}
        assert [name for name, _ in stored[:3]] == [new.message_id, "m-1", "content-my own"]
        assert there.execute("SELECT content_hash FROM event_conflict").fetchall() == [(new.content_hash,)]
        claims = there.execute("SELECT message_id FROM household_claim ORDER BY id").fetchall()
        assert claims == [(new.message_id,), ("m-1",)]


@pytest.mark.feature("SU-13")
def test_it_keys_contradicting_calls_also_where_no_event_is_left(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = bare(monkeypatch), read(SAID, Arrival(NOW, content_key=content_key(HASH_KEY)))
    rows: list[tuple[str, tuple[Any, ...]]] = [
        ("INSERT INTO event_conflict (message_id, source_id, content_hash, received_at, body)"
         " VALUES ('m-1', 1, %s, now(), '')", (old.content_hash,)),
    ]  # fmt: skip
    with upgraded(postgres, "0045", rows) as url, psycopg.connect(url.replace("+psycopg", "")) as there:
        there.autocommit = True
        with pytest.raises(SettingError, match="LATEBIND_HASH_KEY"):
            migrate(url, VAULT, b"", "0046")
        migrate(url, VAULT, HASH_KEY, "0046")
        found = there.execute("SELECT message_id, content_hash FROM event_conflict").fetchall()
        assert found == [("m-1", new.content_hash)]
