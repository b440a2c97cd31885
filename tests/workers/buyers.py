"""People who buy six things, each thing by a rhythm of its own, in a database of theirs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from base import db, stores
from base.embedded import PostgresServer, ValkeyServer
from signals.importing import import_events
from signals.intake import Intake
from signals.sources import keyless_sender
from tests.conftest import NOON
from tests.databases import VAULT

WEEKS = 26
# How often each thing is bought, in days; each person buys four of the six, so that there is something to learn.
RHYTHMS = {"Milk": 4, "Bread": 6, "Coffee": 14, "Soap": 28, "Tea": 10, "Rice": 21}


def order(person: int, at: datetime, *names: str) -> dict[str, object]:
    """An order of one piece of each."""
    products = [{"product_id": f"p-{name}", "category": name, "price": 2.5, "quantity": 1} for name in names]
    number = f"{person}-{at.isoformat()}"
    return {
        "type": "track", "event": "Order Completed", "messageId": number, "userId": f"u{person}",
        "timestamp": at.isoformat(),
        "properties": {"order_id": number, "total": 2.5 * len(names), "products": products},
    }  # fmt: skip


def shopping(person: int, end: datetime, seed: int = 5) -> list[dict[str, object]]:
    """Half a year of one person's orders, each thing by its own rhythm with some noise."""
    dice = random.Random(f"{seed}:{person}")
    habits = dice.sample(sorted(RHYTHMS), 4)
    orders: list[dict[str, object]] = []
    for name in habits:
        at = end - timedelta(weeks=WEEKS) + timedelta(days=dice.uniform(0, RHYTHMS[name]))
        while at < end:
            orders.append(order(person, at, name))
            at += timedelta(days=RHYTHMS[name] * dice.uniform(0.7, 1.3))
    return orders


@dataclass(frozen=True)
class World:
    """A database with half a year of people's orders."""

    url: str
    sessions: db.Sessions
    intake: Intake

    def tell(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Import events."""
        with db.transaction(self.sessions) as session:
            sender = keyless_sender(session, "file", NOON)
        lines = [json.dumps(event).encode() for event in events]
        assert import_events(self.intake, sender, lines, NOON).accepted == len(lines)


@contextmanager
def buyers(postgres: PostgresServer, valkey_server: ValkeyServer, name: str, people: int) -> Iterator[World]:
    """So many people's orders until NOON, in a database of this name."""
    admin = postgres.url.replace("postgresql+psycopg", "postgresql").rsplit("/", 1)[0] + "/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE latebind")
    url = postgres.url.rsplit("/", 1)[0] + f"/{name}"
    engine, store = db.connect(url, vault=VAULT), stores.connect(valkey_server.url)
    made = World(url, db.sessions(engine), Intake(db.sessions(engine), store, b"k" * 32))
    made.tell(event for person in range(people) for event in shopping(person, NOON))
    yield made
    store.close()
    engine.dispose()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
