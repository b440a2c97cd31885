"""Customers with planted futures: runners who become the best, decoys who look as busy, and people who leave."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

WEEK = timedelta(weeks=1)
WEEKS = 60
GROUPS = {"runner": 24, "decoy": 36, "leaver": 28}
YOUNG = ("alike", "other")
"""Who began eight weeks ago: in taste like the runners, and like the decoys."""
TASTE = {"runner": ("Shoes", "Gels"), "alike": ("Shoes", "Gels")}


def order(name: str, at: datetime, price: float, *categories: str, **more: Any) -> dict[str, Any]:
    """An order of one piece of each."""
    number = f"{name}-{at.isoformat()}"
    products = [{"product_id": f"p-{one}", "category": one, "price": price, "quantity": 1} for one in categories]
    properties = {"order_id": number, "total": price * len(categories), "products": products} | more
    return {
        "type": "track", "event": "Order Completed", "messageId": number, "userId": name,
        "timestamp": at.isoformat(), "properties": properties,
    }  # fmt: skip


def histories(now: datetime) -> Iterator[dict[str, Any]]:
    """Everybody's orders over sixty weeks, up to a moment."""
    for group, count in GROUPS.items():
        for number in range(count):
            yield from _history(group, f"{group}-{number}", now)
    for group in YOUNG:
        for number in range(6):
            yield from _beginning(group, f"{group}-{number}", now - 8 * WEEK, random.Random(f"{group}{number}"))


def _beginning(group: str, name: str, start: datetime, dice: random.Random) -> Iterator[dict[str, Any]]:
    """The first seven weeks: four small orders, by taste."""
    for step in range(4):
        at = start + step * 2 * WEEK + timedelta(days=dice.uniform(0, 3))
        yield order(name, at, 10, TASTE.get(group, ("Socks", "Tea"))[step % 2])


def _history(group: str, name: str, now: datetime) -> Iterator[dict[str, Any]]:
    dice = random.Random(name)
    start = now - WEEKS * WEEK + dice.uniform(0, 30) * WEEK
    yield from _beginning(group, name, start, dice)
    if group == "runner":
        later = ("Watches", "Jackets", "Shoes", "Gels", "Tents", "Bikes")
        for step in range(14):
            yield order(name, start + (8 + step + dice.random() / 2) * WEEK, 60, later[step % 6], "Shoes")
    end = now if group != "leaver" else start + dice.uniform(10, 30) * WEEK
    at = start + (8 if group != "runner" else 24) * WEEK
    while at < end:
        yield order(name, at, 10, *(("Socks",) if group != "runner" else ("Shoes",)))
        at += timedelta(days=14 * dice.uniform(0.8, 1.2))
