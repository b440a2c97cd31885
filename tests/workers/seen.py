"""Opens of a plan of two slots, written as the recorder does, with orders that follow from what was seen."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from base.db import transaction
from render.model import Model
from render.plan import digest, encode
from render.record import (
    CandidateRecord,
    ClickRecord,
    DecisionFacts,
    DecisionRecord,
    FetchRecord,
    Record,
    SlotRecord,
)
from signals.moments import unix_ms
from signals.state import encode as encode_state
from tests.campaigns.shop import Shop
from tests.render import shoe_shop
from workers.exposures import Exposures, exposures
from workers.recording import write
from workers.showings import Archive

HABITS = ("shoes", "attire")
PEOPLE, WEEKS, A_WEEK = 22, 18, 4
TAKEN = {True: 0.45, False: 0.10}
"""How many take what they are shown in the first place, by whether it is their habit."""
SECOND = 0.4
"""How much less is taken in the second place."""

_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd, so that no two numbers come to one id, and ids lie as far apart as hashes do."""
_numbers = itertools.count(1)


@dataclass
class Log:
    """Records and orders that wait to be stored, and the shop they are of."""

    shop: Shop
    records: list[Record] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shop = self.shop
        self.names = [f"p{number:02d}" for number in range(PEOPLE)]
        self.profiles = dict(zip(self.names, shop.people(*self.names), strict=True))
        shop.intake.categories.learn(["Shoes", "Attire"], create=True)
        with shop.sessions.begin() as session:
            rows = session.connection().exec_driver_sql("SELECT slug, id FROM category")
            self.categories: dict[str, int] = {row.slug: row.id for row in rows}
        self.plan = shoe_shop.plan(
            mode="model",
            slots=2,
            discount={"category": self.categories["shoes"]},
            tights={"category": self.categories["attire"], "product": None, "needs_stock": False},
        )
        self.offers = {"shoes": shoe_shop.DISCOUNT, "attire": shoe_shop.TIGHTS}
        self.hash = shop.blobs.put(encode(self.plan))
        assert self.hash == digest(encode(self.plan))
        self.archive = Archive(shop.blobs, shop.settings.subject_key)
        self.model = Model.load(shoe_shop.model_bytes(dict.fromkeys(self.categories.values(), 0.5)))

    def habit(self, name: str) -> str:
        return HABITS[self.names.index(name) % 2]

    def open(self, name: str, at: datetime, shown: tuple[str, str], chance: float = 1.0, **changes: Any) -> str:
        """A person's open of both slots, looked at by a browser unless told otherwise; the decision's id."""
        number = next(_numbers)
        identity = f"{number * _SPREAD % 2**128:032x}"
        bought = shoe_shop.bought(self.categories[self.habit(name)], at - timedelta(days=changes.get("days", 9)))
        slots = tuple(
            SlotRecord(
                place, self.offers[category], 1, 1.0 if place else chance,
                (CandidateRecord(self.offers[category], None, None, changes.get("said", 0.2), 10.0),), policy="epsilon",
            )
            for place, category in enumerate(shown)
        )  # fmt: skip
        known: dict[str, Any] = {
            "profile": self.profiles[name],
            "campaign": changes.get("campaign", 7),
            "occurrence": 1,
        }
        lane, fetch_class = changes.get("lane", "live"), changes.get("fetch_class", "person")
        self.records.append(
            DecisionRecord(
                id=identity, at_ms=unix_ms(at), lane=lane, open_number=number, plan=self.hash, seed=1,
                rung="model" if "model" in changes else "rules", model=changes.get("model"), slots=slots,
                sent_ms=unix_ms(at) - 1000, propensity=chance,
                personal=DecisionFacts(state=encode_state(shoe_shop.state([bought])), fields=({}, {})), **known,
            )
        )  # fmt: skip
        for slot in (0, 1):
            self.records.append(
                FetchRecord(
                    id=f"f{slot}{identity[2:]}", at_ms=unix_ms(at), decision=identity, slot=slot, kind="picture",
                    lane=lane, fetch_class=fetch_class, evidence={}, sha256="0" * 64, size=1, content_type="image/png",
                    **known,
                )
            )  # fmt: skip
        return identity

    def click(self, name: str, at: datetime, decision: str, fetch_class: str, **said: Any) -> None:
        known: dict[str, Any] = {
            "profile": self.profiles[name],
            "campaign": 7,
            "occurrence": 1,
            "slot": 0,
            "evidence": {},
            "offer": 1,
        } | said
        number = f"c{next(_numbers):031x}"
        self.records.append(
            ClickRecord(id=number, at_ms=unix_ms(at), fetch_class=fetch_class, decision=decision, **known)
        )

    def buy(self, name: str, category: str, at: datetime, order_id: str | None = None) -> None:
        self.orders.append(self.shop.order(name, category, at, order_id))

    def store(self) -> None:
        """Write what was recorded, and tell what was bought."""
        with self.shop.sessions.begin() as session:
            for start in range(0, len(self.records), 1000):
                part = self.records[start : start + 1000]
                write(session, self.shop.blobs, self.shop.settings.subject_key, part, self.shop.now)
        for start in range(0, len(self.orders), 500):
            self.shop.send(*self.orders[start : start + 500])
        self.records.clear()
        self.orders.clear()

    def read(self, **limits: Any) -> Exposures:
        """What training reads now."""
        with transaction(self.shop.sessions) as session:
            return exposures(session, self.archive, self.model, self.shop.now, **limits)

    def live(self, dice: random.Random, since: datetime) -> None:
        """Half a year of opens: in two of three the person's habit goes first, by a logged draw."""
        for week in range(WEEKS):
            for name in self.names:
                for _ in range(A_WEEK):
                    at = since + timedelta(weeks=week, hours=dice.uniform(0, 167))
                    habit, other = self.habit(name), HABITS[1 - HABITS.index(self.habit(name))]
                    first = dice.random() < 2 / 3
                    shown = (habit, other) if first else (other, habit)
                    self.open(name, at, shown, 2 / 3 if first else 1 / 3)
                    for place, category in enumerate(shown):
                        if dice.random() < TAKEN[category == habit] * (SECOND if place else 1.0):
                            self.buy(name, category, at + timedelta(minutes=dice.uniform(1, 300)))
