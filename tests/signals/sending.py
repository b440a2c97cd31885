"""What the tests of the intake send: Segment calls as dictionaries and bytes, and what came of them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import text

from base import keys
from base.clock import SteppedClock
from base.db import Sessions
from base.settings import Settings
from base.stores import Store
from signals.identity import IdentifierType, address_hash, value_hash
from signals.intake import Intake, take
from signals.moments import today_of
from signals.products import FeedReport, Telling, take_products
from signals.reading import Outcome
from signals.rebuild import RebuildReport, rebuild
from signals.sources import Sender, SourceKind, create_source, sender
from signals.state import EDITION, EDITION_MARK, ProfileState, decode
from signals.suppression import Suppression
from tests.opening import opened
from tests.serving import Serve

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_ids = itertools.count(1)


def call(type_: str, **fields: Any) -> dict[str, Any]:
    """A Segment call with a message id and a time of its own unless given."""
    return {"type": type_, "messageId": f"m-{next(_ids)}", "timestamp": "2026-03-01T10:00:00.000Z"} | fields


def order(
    user: str, order_id: str, *products: tuple[str, str, float], time: str = "2026-03-01T10:00:00Z"
) -> dict[str, Any]:
    """An Order Completed of these (product id, category, price), one of each."""
    lines = [
        {"product_id": name, "category": category, "price": price, "quantity": 1} for name, category, price in products
    ]
    total = sum(line[2] for line in products)
    properties = {"order_id": order_id, "products": lines, "total": total}
    return call("track", event="Order Completed", userId=user, properties=properties, timestamp=time)


def viewed(category: str, **fields: Any) -> dict[str, Any]:
    """A Product Viewed."""
    properties = {"product_id": f"{category}-1", "category": category, "price": 10}
    return call("track", event="Product Viewed", properties=properties, **fields)


def refunded(user: str, order_id: str, product: str, time: str = "2026-03-01T10:30:00Z") -> dict[str, Any]:
    """An Order Refunded of one product."""
    properties = {"order_id": order_id, "products": [{"product_id": product, "quantity": 1}]}
    return call("track", event="Order Refunded", userId=user, properties=properties, timestamp=time)


def cancelled(user: str, order_id: str, time: str = "2026-03-01T10:30:00Z") -> dict[str, Any]:
    """An Order Cancelled."""
    return call("track", event="Order Cancelled", userId=user, properties={"order_id": order_id}, timestamp=time)


def identified(user: str, anonymous: str = "", time: str = "2026-03-01T10:00:00Z", **traits: Any) -> dict[str, Any]:
    """An identify with these traits."""
    named = {"anonymousId": anonymous} if anonymous else {}
    return call("identify", userId=user, timestamp=time, traits=traits, **named)


def unissued(held: object) -> bytes:
    """The bytes of a state as Valkey holds it, without its edition."""
    assert isinstance(held, bytes)
    assert held[0] == EDITION_MARK
    return held[EDITION.size :]


class Desk:
    """An intake with one server and one browser source, and eyes on what it stored."""

    def __init__(self, sessions: Sessions, store: Store) -> None:
        self.sessions = sessions
        self.store = store
        self.intake = Intake(sessions, store, b"k" * 32)
        self.server = self.source("shop", "server")
        self.browser = self.source("site", "browser")

    def source(self, name: str, kind: SourceKind) -> Sender:
        """A new source; its write key is its name."""
        with self.sessions.begin() as session:
            return sender(create_source(session, name, kind, NOW, write_key=name)[0])

    def send(self, *calls: dict[str, Any] | bytes, via: Sender | None = None, now: datetime = NOW) -> list[Outcome]:
        """Take these calls as one batch."""
        bodies = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in calls]
        return take(self.intake, via or self.server, bodies, now)

    def run(self, sql: str) -> None:
        """Run a statement."""
        with self.sessions.begin() as session:
            session.execute(text(sql))

    def statuses(self, *calls: dict[str, Any] | bytes, via: Sender | None = None) -> list[str]:
        """What becomes of these calls, as words."""
        return [outcome.status for outcome in self.send(*calls, via=via)]

    def feed(
        self, *items: dict[str, Any], now: datetime = NOW, telling: Telling = "part", via: Sender | None = None
    ) -> FeedReport:
        """Take these items of a product feed."""
        return take_products(self.intake, via or self.server, items, now, telling)

    def rebuilt(self) -> RebuildReport:
        """What a rebuild of everything finds."""
        return rebuild(self.intake, NOW)

    def everything(self) -> dict[str, list[Any]]:
        """All that is known of anybody, for comparing."""
        tables = {
            "profile": "SELECT id, root_id, erased_at FROM profile ORDER BY 1",
            "identifier": "SELECT type, value, profile_id, owns FROM identifier ORDER BY 1, value_hash, 3",
            "state": "SELECT profile_id, version, document, encoded FROM profile_state ORDER BY 1",
            "lineage": "SELECT profile_id, name, value, event_time, event_id FROM trait_lineage ORDER BY 1, 2",
            "consent": "SELECT profile_id, purpose, granted, at, wording, event_id FROM consent ORDER BY 6, 2",
            "folds": "SELECT id, folds, void, left_category_ids FROM event ORDER BY 1",
        }
        stored = {name: [tuple(row) for row in self.rows(sql)] for name, sql in tables.items()}
        found = sorted(self.store.scan_iter(match="*:state"))
        return stored | {"valkey": [(key, unissued(self.store.get(key))) for key in found]}

    def day(self, date: str) -> int:
        """A date as states count days."""
        return today_of(datetime.fromisoformat(f"{date}T00:00:00+00:00"))

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """The rows of a query, with what is sealed in them opened."""
        with self.sessions.begin() as session:
            return opened(session.execute(text(sql), values))

    def is_suppressed(self, address: str) -> bool:
        """Whether an address must get no mail."""
        with self.sessions.begin() as session:
            return session.get(Suppression, address_hash(self.intake.hash_key, address)) is not None

    def root(self, kind: str, value: str) -> int:
        """The root profile of an identifier."""
        found = self.rows(
            "SELECT p.root_id FROM identifier i JOIN profile p ON p.id = i.profile_id"
            " WHERE i.type = :type AND i.value_hash = :hash AND i.owns",
            type=kind,
            hash=value_hash(self.intake.hash_key, cast("IdentifierType", kind), value),
        )
        assert len(found) == 1, f"{len(found)} owners of {kind}"
        return int(found[0][0])

    def read(self, profile: int) -> ProfileState:
        """The state that an open would read."""
        data = self.store.get(keys.state(profile))
        assert isinstance(data, bytes), f"profile {profile} has no state in Valkey"
        return decode(data)

    def state(self, profile: int) -> ProfileState:
        """The state that an open would read, which is also the stored one."""
        stored = self.rows(
            "SELECT encoded FROM profile_state s JOIN profile p ON p.root_id = s.profile_id WHERE p.id = :id",
            id=profile,
        )
        assert bytes(stored[0][0]) == unissued(self.store.get(keys.state(profile)))
        return self.read(profile)

    def category(self, name: str) -> int:
        """The number of a category."""
        self.intake.categories.learn([name], create=False)
        number = self.intake.categories.lookup(name)
        assert number is not None
        return number


def clocked(settings: Settings, desk: Desk, folder: Path) -> Settings:
    """The settings of an app that shares the desk's key and whose clock stands at NOW."""
    SteppedClock(folder / "clock", NOW).set(NOW)
    return replace(settings, hash_key=desk.intake.hash_key, clock_file=folder / "clock")


def address(serve: Serve, settings: Settings, desk: Desk) -> str:
    """The address of a running intake that shares the desk's key and runs on the machine's clock."""
    return serve("signals", replace(settings, hash_key=desk.intake.hash_key)).url
