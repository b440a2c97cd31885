"""A campaign that was mailed by the ledger's own steps, without a mail; and what a page of it says."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from sqlalchemy import text

from campaigns import audience
from tests.campaigns.web import Web


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
