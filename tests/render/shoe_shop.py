"""A small shop to decide for: running shoes, attire to go with them, and what hangs on a purchase.

The plan, states and facts are the real structs; only the story is made up. Mails are sent at SENT, opened at NOON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import lightgbm
import msgspec
import numpy as np

from render.creative import Box, Column, Creative, Text
from render.facts import Facts
from render.faults import validate
from render.model import Model
from render.plan import Offer, Plan, Slot
from signals.candidates import MODEL_FEATURES
from signals.fold import fold_all
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.state import ProfileState

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SENT = NOON - timedelta(days=1)
NOON_MS, SENT_MS = unix_ms(NOON), unix_ms(SENT)
SHOES, ATTIRE, GIFTS = 1, 2, 3
CATEGORIES = {"shoes": SHOES, "attire": ATTIRE, "gifts": GIFTS}
HERO = 0
DISCOUNT, THANKS, TIGHTS, SERVICE, BOOTS, DEFAULT, STRIP_DEFAULT = 1, 2, 3, 4, 5, 90, 91
NAMES = {
    "discount": DISCOUNT,
    "thanks": THANKS,
    "tights": TIGHTS,
    "service": SERVICE,
    "boots": BOOTS,
    "default": DEFAULT,
    "strip default": STRIP_DEFAULT,
}
CREATIVE = Creative(
    id=1,
    name="Plain card",
    width=600,
    height=200,
    layers=(Column(box=Box(20, 20, 560, 160), items=(Text(text="{{ offer.headline }}"),)),),
)
LANDING = "https://shop.example.com/shoes"


def offer(number: int, kind: str, **changes: Any) -> Offer:
    """An offer of the shop; the first name found for its number becomes its name."""
    name = next((name for name, known in NAMES.items() if known == number), f"offer {number}")
    content = {"id": number, "name": name, "kind": kind, "creative": 1, "landing": LANDING} | changes
    return msgspec.convert({"fields": {"headline": name}} | content, Offer)


def offers(**changes: dict[str, Any]) -> tuple[Offer, ...]:
    """The shop's offers; `changes` by name, such as `discount={"cap_total": 5}`."""
    base = {
        "discount": offer(DISCOUNT, "replacement", category=SHOES, purpose_category=SHOES, priority=3),
        "thanks": offer(THANKS, "thank-you", category=SHOES, after_category=SHOES, priority=2),
        "tights": offer(TIGHTS, "cross-sell", category=ATTIRE, product="tights-1", needs_stock=True, priority=1),
        "service": offer(SERVICE, "service", rules={"relevant": {"field": "complaint.open", "op": "=", "value": True}}),
        "default": offer(DEFAULT, "neutral"),
        "strip default": offer(STRIP_DEFAULT, "neutral"),
    }
    for words, change in changes.items():
        name = words.replace("_", " ")
        known = msgspec.to_builtins(base[name]) if name in base else {"kind": "cross-sell"}
        merged = known | change
        base[name] = offer(NAMES[name], merged.pop("kind"), **merged)
    return tuple(base.values())


def plan(mode: str = "rules", slots: int = 1, **changes: dict[str, Any]) -> Plan:
    """A valid plan over `offers(**changes)`; slots after the hero are small and fall back to their own default."""
    held = offers(**changes)
    candidates = tuple(one.id for one in held if one.id not in (DEFAULT, STRIP_DEFAULT))
    made = Plan(
        campaign=7,
        name="Running shoes",
        slots=tuple(
            Slot(
                index=index,
                name="hero" if index == HERO else f"strip {index}",
                width=600,
                height=200,
                offers=candidates,
                default=DEFAULT if index == HERO else STRIP_DEFAULT,
                alt="Your offer",
                mode="model" if mode == "model" else "rules",
            )
            for index in range(slots)
        ),
        offers=held,
        creatives=(CREATIVE,),
        default_landing="https://shop.example.com/",
        brand="Stride",
        categories=CATEGORIES,
        category_names={"shoes": "Running shoes", "attire": "Running attire", "gifts": "Gifts"},
        sensitive=(GIFTS,),
    )
    assert validate(made) == []
    return made


def state(events: Iterable[FoldEvent] = (), **consent: bool) -> ProfileState:
    """The state that these signals fold to."""
    consents = [FoldEvent(time_ms=SENT_MS - 10**9, message_id="consent", kind="consent", consent=consent)]
    return fold_all([*(consents if consent else []), *events])


def bought(category: int, at: datetime, product: str = "p", order: str = "o1", cents: int = 9900) -> FoldEvent:
    """An order of one thing."""
    return FoldEvent(
        time_ms=unix_ms(at),
        message_id=f"order-{order}",
        kind="order",
        arrival=unix_ms(at),
        order_id=order,
        lines=(Line(product, category, 1, cents),),
        total_cents=cents,
    )


def returned(order: str, at: datetime) -> FoldEvent:
    """The refund of a whole order."""
    return FoldEvent(
        time_ms=unix_ms(at), message_id=f"refund-{order}", kind="refund", arrival=unix_ms(at), order_id=order
    )


def complained(at: datetime) -> FoldEvent:
    """A complaint that stays open."""
    return FoldEvent(time_ms=unix_ms(at), message_id="complaint", kind="complaint", arrival=unix_ms(at), subject="c1")


def model_bytes(popularity_of: Mapping[int, float] | None = None) -> bytes:
    """An artefact of a model that knows one thing: the more popular the category, the likelier the success."""
    matrix = np.full((600, len(MODEL_FEATURES)), np.nan, dtype=np.float32)
    popularity = np.linspace(0, 1, 600, dtype=np.float32)
    matrix[:, MODEL_FEATURES.index("offer.popularity")] = popularity
    parameters = {"objective": "binary", "num_leaves": 8, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, popularity > 0.5), num_boost_round=5)
    shares = {SHOES: 0.9, ATTIRE: 0.1} if popularity_of is None else popularity_of
    return Model.build(booster.model_to_string(), MODEL_FEATURES, [0.0, 1.0], [0.0, 1.0], popularity=shares)


def product(stock: int | None = 5, price: int = 4999, fed: datetime = NOON, name: str = "tights-1") -> ProductFacts:
    """The tights, as the feed knows them."""
    return ProductFacts(name, price, "USD", stock, unix_ms(fed), "Running tights", ATTIRE, "")


def facts(known: ProfileState | None, **changes: Any) -> Facts:
    """Facts of an open at NOON of the mail sent at SENT; the tights are in stock."""
    return Facts(**({"state": known, "sent_at_ms": SENT_MS, "products": {"tights-1": product()}} | changes))
