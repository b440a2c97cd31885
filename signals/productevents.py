"""Who bought a product and who looked at it, told by the newest stored signals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

LOOKED_THROUGH: Final = 20_000
"""The newest signals that are looked through, whatever is stored."""


@dataclass(frozen=True, slots=True)
class Interest:
    """People who bought a product and people who looked at it, among the newest signals.

    `signals` were looked through, the oldest of which came at `since` (None: there are none); `is_all` tells that there
    are no older ones.
    """

    bought: int
    looked: int
    signals: int
    since: datetime | None
    is_all: bool


# Figures are read as JSON where the id stands in them, or a backslash, by which JSON may spell the id in another way.
# A repeat of a known order folds nowhere.
_COUNT: Final = text("""
    WITH newest AS (
        SELECT id, profile_id, lower(name) AS name, folds, received_at, figures FROM event ORDER BY id DESC LIMIT :most
    ), named AS (
        SELECT profile_id, name IN ('order completed', 'completed order') AS is_order,
               figures -> 'properties' AS properties
        FROM newest
        WHERE folds AND name IN ('order completed', 'completed order', 'product viewed', 'viewed product',
                                 'product clicked')
              AND (strpos(CAST(figures AS text), :product) > 0 OR strpos(CAST(figures AS text), chr(92)) > 0)
    ), told AS (
        SELECT profile_id, is_order FROM named CROSS JOIN LATERAL (
            SELECT CASE json_typeof(properties -> 'products') WHEN 'array' THEN properties -> 'products'
                   ELSE json_build_array(properties) END AS lines
        ) l
        WHERE EXISTS (
            SELECT 1 FROM json_array_elements(l.lines) AS line
            WHERE json_typeof(line) = 'object' AND line ->> 'product_id' = :product
        )
    )
    SELECT (SELECT count(DISTINCT p.root_id) FROM told JOIN profile p ON p.id = told.profile_id WHERE is_order)
               AS bought,
           (SELECT count(DISTINCT p.root_id) FROM told JOIN profile p ON p.id = told.profile_id WHERE NOT is_order)
               AS looked,
           (SELECT count(*) FROM newest) AS signals, (SELECT min(received_at) FROM newest) AS since
""")


def interest(session: Session, product: str) -> Interest:
    """Who bought the product and who looked at it, of the newest twenty thousand signals; returns are not taken off."""
    asked = {"most": LOOKED_THROUGH, "product": product}
    row = session.execute(_COUNT, asked).one()
    return Interest(row.bought, row.looked, row.signals, row.since, row.signals < LOOKED_THROUGH)
