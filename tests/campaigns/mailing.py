"""A campaign that was mailed by the ledger's own steps, without a mail; and what a page of it says."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

from sqlalchemy import text

from campaigns import audience
from tests.campaigns.web import Web

COSTS = {"margin_share": 0.35, "window_days": 7, "return_cents": 400, "service_cents": 900}


def words(page: str) -> str:
    """The page's text, in one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def mailed(web: Web, people: int, **changes: Any) -> int:
    """A campaign that so many people were mailed now: g0, g1 and so on."""
    shop = web.shop
    shop.people(*(f"g{number}" for number in range(people)))
    number = shop.campaign(**({"content_holdout": 0.4} | changes))
    shop.schedule(number)
    with shop.sessions.begin() as session:
        audience.freeze(session, number, 1, shop.now, shop.settings.hash_key)
        session.execute(text("UPDATE delivery SET state = 'accepted', sent_at = :now"), {"now": shop.now})
    return number


def held_out(web: Web, campaign: int) -> dict[str, str]:
    """The holdout of everybody in the ledger by user id: none, content or send."""
    groups = {row.profile_id: row.holdout for row in web.shop.ledger(campaign)}
    return {name: groups[profile] for name, profile in web.shop.known().items()}


def bought(web: Web, name: str, paid: float, **order: Any) -> dict[str, Any]:
    """The call that states an order, an hour ago."""
    call = web.shop.order(name, "shoes", web.shop.now - timedelta(hours=1), order_id=f"of-{name}")
    call["properties"] |= {"total": paid, "currency": "EUR"} | order
    return call
