"""What everybody buys, learnt before the first snapshot: which categories, how often, and which go together.

The tables are part of the model's artefact and are read by open and training alike. Taking them from before the first
snapshot keeps every outcome out of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals.moments import today_of
from signals.signal import ORDER_COMPLETED
from workers.trade import Trade

MOST_CATEGORIES: Final = 400
"""Categories that are looked at in pairs; the table of pairs has the square of it."""

LEAST_TOGETHER: Final = 30
"""Orders that must hold a pair before it counts as one."""

COMPLEMENTS_KEPT: Final = 20
TRADE_DAYS: Final = 730
_CHUNK: Final = 20_000
_DAY: Final = timedelta(days=1)

Baskets = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Market:
    """`popularity`: share of all purchases per category. `buyers`: profiles that bought it. Neither has sensitive ones.

    `complements`: bought -> {other: weight}, the weight being how much likelier an order holds `other` when it holds
    `bought` than otherwise, as a difference of probabilities; only positive ones, the strongest twenty of each.
    """

    popularity: dict[int, float]
    buyers: dict[int, int]
    complements: dict[int, dict[int, float]]

    def candidates(self, count: int) -> tuple[int, ...]:
        """The categories that most profiles bought, widest first, the lower id first among equals."""
        return tuple(sorted(self.buyers, key=lambda category: (-self.buyers[category], category))[:count])


_SHARES = text("""
    SELECT category, count(*) AS orders, count(DISTINCT p.root_id) AS buyers
    FROM event e JOIN profile p ON p.id = e.profile_id CROSS JOIN unnest(e.category_ids) AS category
    WHERE e.name = :name AND e.folds AND e.event_time < :until
      AND category NOT IN (SELECT id FROM category WHERE sensitive)
    GROUP BY category
""")
_BASKETS = text("""
    SELECT category_ids FROM event
    WHERE name = :name AND folds AND event_time < :until AND cardinality(category_ids) > 1
""")


_ORDERS = text("""
    SELECT p.root_id, e.event_time, e.category_ids FROM event e JOIN profile p ON p.id = e.profile_id
    WHERE e.name = :name AND e.folds AND e.event_time >= :since AND e.event_time < :until
""")


def trade(session: Session, market: Market, until: datetime) -> Trade:
    """What was bought day by day, at most two years back, in the categories that the market looks at in pairs."""
    since = until - TRADE_DAYS * _DAY
    told = Trade(market.candidates(MOST_CATEGORIES), today_of(since), today_of(until) - today_of(since))
    at = {"name": ORDER_COMPLETED, "since": since, "until": until}
    for row in session.execute(_ORDERS.execution_options(yield_per=_CHUNK), at):
        told.tell(row.root_id, today_of(row.event_time), row.category_ids)
    return told.counted()


def survey(session: Session, until: datetime) -> Market:
    """The market before a moment."""
    at = {"name": ORDER_COMPLETED, "until": until}
    shares = list(session.execute(_SHARES, at))
    total = sum(row.orders for row in shares)
    market = Market(
        popularity={row.category: row.orders / total for row in shares},
        buyers={row.category: row.buyers for row in shares},
        complements={},
    )
    market.complements.update(_complements(session, at, market.candidates(MOST_CATEGORIES)))
    return market


def _complements(session: Session, at: dict[str, Any], categories: tuple[int, ...]) -> dict[int, dict[int, float]]:
    if not categories:
        return {}
    return complements(
        _baskets(session, at, {category: place for place, category in enumerate(categories)}), categories
    )


def complements(baskets: Iterable[Baskets], categories: Sequence[int]) -> dict[int, dict[int, float]]:
    """`Market.complements` of baskets: rows of zeros and ones, a column for each of the categories."""
    together, orders = np.zeros((len(categories), len(categories))), 0
    for chunk in baskets:
        together += chunk.T @ chunk
        orders += len(chunk)
    alone = np.diag(together).copy()
    found: dict[int, dict[int, float]] = {}
    for place, category in enumerate(categories):
        if not 0 < alone[place] < orders:
            continue
        lift = together[place] / alone[place] - (alone - together[place]) / (orders - alone[place])
        lift[(together[place] < LEAST_TOGETHER) | (np.arange(len(categories)) == place)] = 0.0
        best = [other for other in np.argsort(-lift, kind="stable")[:COMPLEMENTS_KEPT].tolist() if lift[other] > 0]
        if best:
            found[category] = {categories[other]: float(lift[other]) for other in best}
    return found


def _baskets(session: Session, at: dict[str, Any], places: dict[int, int]) -> Iterator[Baskets]:
    """The orders as rows of zeros and ones, a chunk at a time."""
    rows = session.execute(_BASKETS.execution_options(yield_per=_CHUNK), at)
    for chunk in rows.partitions(_CHUNK):
        matrix = np.zeros((len(chunk), len(places)), dtype=np.float32)
        for index, row in enumerate(chunk):
            matrix[index, [places[category] for category in row.category_ids if category in places]] = 1.0
        yield matrix
