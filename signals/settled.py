"""What people's orders came to by a moment, for reports: as placed and changed, and what came back of each.

States say what is left of orders now. A report also asks what was paid back, how often, and how it stood some while
ago, so it goes by the same placements (signals/orders.py) of the calls up to its moment. Only orders that some call
corrected are looked at: all others came to what they told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from signals.catalog import Listed, Naming
from signals.foldevent import FoldEvent
from signals.histories import order_history
from signals.orders import resolve

BATCH: Final = 500
"""Orders that are read together."""


class Settled(NamedTuple):
    """An order that came to something else than it told when it was placed.

    `event` is the arrival number of its call, `told_by` of the call whose goods it has, `taken` of all whose contents
    it took, in their order, as words; empty where it took its own alone. `paid`, `back`, `share` and `returns` are a
    `Placement`'s, money in hundredths of its `currency` (None: it tells none).
    """

    event: int
    told_by: int
    taken: str
    paid: int | None
    currency: str | None
    back: int
    share: float
    returns: int


SETTLED: Final = """
    settled (event, told_by, taken, paid, currency, back, share, returns) AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:settled_event AS bigint[]), CAST(:settled_told_by AS bigint[]), CAST(:settled_taken AS text[]),
            CAST(:settled_paid AS bigint[]), CAST(:settled_currency AS text[]), CAST(:settled_back AS bigint[]),
            CAST(:settled_share AS float8[]), CAST(:settled_returns AS integer[]))
    )
"""
"""SQL of a common table, `settled`, of what was found; `given_settled` fills it."""


def newest_told(value: str) -> str:
    """SQL: what the newest of the calls told that an order took its contents from and that told this at all, of a row
    `s` of `settled`; NULL where none did. `value` is an expression of the call's `figures`."""
    return f"""(
        SELECT {value}
        FROM unnest(CAST(string_to_array(s.taken, ' ') AS bigint[])) WITH ORDINALITY AS each (id, place)
        JOIN event call ON call.id = each.id CROSS JOIN LATERAL (SELECT call.figures) AS said (figures)
        WHERE {value} IS NOT NULL ORDER BY each.place DESC LIMIT 1
    )"""  # noqa: S608 - every part is written in this program


_MEMBERS: Final = text("SELECT id, root_id FROM profile WHERE root_id = ANY(:roots)")


def settled(session: Session, corrected: Iterable[tuple[int, str]], until: datetime) -> list[Settled]:
    """Of these orders, each with its root profile, those that were changed or of which something came back, up to a
    moment. An order of which a damaged signal tells counts as it was told when it was placed.

    Raises Unavailable.
    """
    categories = Listed(session)
    wanted = sorted(set(corrected))
    return [
        order
        for start in range(0, len(wanted), BATCH)
        for order in _settled(session, wanted[start : start + BATCH], until, categories)
    ]


def given_settled(orders: Sequence[Settled]) -> dict[str, list[Any]]:
    """The parameters of SETTLED."""
    return {f"settled_{name}": [getattr(order, name) for order in orders] for name in Settled._fields}


def _settled(
    session: Session, corrected: Sequence[tuple[int, str]], until: datetime, categories: Naming
) -> Iterator[Settled]:
    wanted = set(corrected)
    roots = sorted({root for root, _ in wanted})
    whose = {row.id: row.root_id for row in session.execute(_MEMBERS, {"roots": roots})}
    events: dict[int, list[FoldEvent]] = {}
    history = order_history(session, list(whose), {order for _, order in wanted}, categories, until)
    wanted -= {(whose[told.profile], told.event.order_id) for told in history if told.damaged}
    for told in history:
        # Of two people who have an order of the same id, one may be of another batch.
        if told.folds and (whose[told.profile], told.event.order_id) in wanted:
            events.setdefault(whose[told.profile], []).append(told.event)
    for own in events.values():
        for index, order in resolve(own).placements.items():
            event = own[index]
            taken = order.taken if order.taken != [event.arrival] else []
            if order.returns or order.back or taken:
                yield Settled(
                    event.arrival, order.told_by, " ".join(map(str, taken)), order.paid, order.currency or None,
                    order.back, order.share, order.returns,
                )  # fmt: skip
