"""Four products of a small shop, and its clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.campaigns.shop import Shop

ITEMS: list[dict[str, Any]] = [
    {"id": "shoe", "title": "Trail shoe 50% light", "price": "79.50 EUR", "product_type": "Sport > Running Shoes",
     "brand": "Swift", "line": "trail", "tier": 2, "quantity": 12, "link": "https://shop.example.com/shoe"},
    {"id": "sock_1", "title": "Socks", "price": "1280 JPY", "product_type": "Sport > Socks",
     "availability": "in_stock"},
    {"id": "belt", "title": "Belt", "price": "4.25 KWD", "product_type": "Belts", "availability": "out_of_stock"},
    {"id": "pills/a", "title": "ÜBER pills", "price": "9 EUR", "product_type": "Medicine"},
]  # fmt: skip


def advance(shop: Shop, by: timedelta) -> None:
    """Move the shop's clock on."""
    shop.clock.set(shop.now + by)
