"""Shops that tell of orders by webhook, for programs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from campaigns import shops
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.parts import parts
from campaigns.views.acting import actor


class ShopIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shop to connect. Shopify shows the secret; for WooCommerce one is made where none is given.

    `currency` is that of its product prices; `prefix` is put before its customer and order
    numbers; a WooCommerce shop needs one of its own beside another.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    platform: Literal["shopify", "woocommerce"]
    secret: Annotated[str, msgspec.Meta(max_length=200)] = ""
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)] = "EUR"
    prefix: Annotated[str, msgspec.Meta(max_length=40)] = ""


class NewShop(msgspec.Struct, frozen=True):
    """A new shop: where it posts to, and the secret it signs with, which is told this once."""

    id: int
    url: str
    secret: str


class TopicOut(msgspec.Struct, frozen=True):
    """How many calls of a topic came to what, and the last one.

    Outcomes: taken, passed, unknown topic, unreadable, forged, to be erased.
    """

    topic: str
    outcome: str
    number: int
    last_at: str


class ShopOut(msgspec.Struct, frozen=True):
    """A shop. `waiting` refunds and the like wait for an order that has not come yet."""

    id: int
    name: str
    platform: str
    url: str
    disabled_at: str | None
    topics: list[TopicOut]
    waiting: int


class ShopList(msgspec.Struct, frozen=True):
    """All shops, by name; DELETE /sources/{id} ends one."""

    shops: list[ShopOut]


@api.get("/shops")
@allow("admin")
@served(200, ShopList, "people")
def list_shops() -> ShopList:
    """The shops that tell of orders by webhook, with what came of each topic."""
    with parts().transaction() as session:
        return ShopList([
            ShopOut(
                one.id, one.name, one.platform, one.url, one.disabled_at.isoformat() if one.disabled_at else None,
                [TopicOut(t.topic, t.outcome, t.number, t.last_at.isoformat()) for t in one.topics], one.waiting,
            )
            for one in shops.connected(session, parts().settings)
        ])  # fmt: skip


@api.post("/shops")
@allow("admin")
@served(201, NewShop, "people")
def add_shop(json: ShopIn) -> tuple[NewShop, int]:
    """Connect a shop; enter the address and the secret there."""
    with parts().transaction() as session:
        number, url, secret = shops.add_shop(
            session, parts().settings, json.name, json.platform, parts().now(), actor(), secret=json.secret,
            currency=json.currency, prefix=json.prefix,
        )  # fmt: skip
        return NewShop(number, url, secret), 201
