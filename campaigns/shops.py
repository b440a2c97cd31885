"""Shops that tell of orders by webhook, for the people who connect them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from base.errors import InvalidInput
from base.settings import Settings
from campaigns import admin_log
from campaigns.admin_log import Actor
from signals import shoporders, shops
from signals.shops import Platform, ShopTopic

TOPICS: Final[dict[Platform, tuple[tuple[str, str], ...]]] = {
    "shopify": (
        ("orders/create", "Order creation"), ("orders/updated", "Order update"),
        ("orders/cancelled", "Order cancellation"), ("refunds/create", "Refund create"),
        ("customers/create", "Customer creation"), ("customers/update", "Customer update"),
        ("products/create", "Product creation"), ("products/update", "Product update"),
    ),
    "woocommerce": (
        ("order.created", "Order created"), ("order.updated", "Order updated"),
        ("customer.created", "Customer created"), ("customer.updated", "Customer updated"),
        ("product.created", "Product created"), ("product.updated", "Product updated"),
    ),
}  # fmt: skip
"""The topics to subscribe to, each as the shop's own page calls it."""
NAMES: Final[dict[str, str]] = {"shopify": "Shopify", "woocommerce": "WooCommerce"}


@dataclass(frozen=True)
class Connected:
    """A shop as pages show it. `waiting` words wait for an order that has not come yet."""

    id: int
    name: str
    platform: str
    url: str
    disabled_at: datetime | None
    topics: list[ShopTopic]
    waiting: int


def add_shop(
    session: Session,
    settings: Settings,
    name: str,
    platform: str,
    now: datetime,
    by: Actor,
    *,
    secret: str = "",
    currency: str = "EUR",
    prefix: str = "",
) -> tuple[int, str, str]:
    """A new shop: its number, the address it posts to, and its secret. Raises InvalidInput naming the field."""
    try:
        secret.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidInput("secret", "must be letters, digits and signs") from None
    source, row, given = shops.create_shop(
        session, name.strip(), platform, settings.subject_key, now, secret=secret.strip(),
        currency=currency.strip().upper(), prefix=prefix.strip(),
    )  # fmt: skip
    said = {"name": source.name, "platform": row.platform, "currency": row.currency, "prefix": row.prefix}
    admin_log.record(session, by, "create", "shop", source.id, now, after=said)
    return source.id, address(settings, row.platform, row.hook), given


def connected(session: Session, settings: Settings) -> list[Connected]:
    """All shops, the ended ones too, by name."""
    topics, waiting = shops.topics(session), shoporders.waiting(session)
    return [
        Connected(
            source.id, source.name, row.platform, address(settings, row.platform, row.hook), source.disabled_at,
            topics.get(source.id, []), waiting.get(source.id, 0),
        )
        for row, source in shops.shops(session)
    ]  # fmt: skip


def address(settings: Settings, platform: str, hook: str) -> str:
    """Where a shop posts to."""
    return f"{settings.signals_url}/v1/webhooks/{platform}/{hook}"
