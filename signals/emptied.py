"""Whether nothing is in an order any more, as an update of it said: what SQL asks of stored signals.

States and windows of rules count such an order, with no goods (signals/orders.py); it starts nothing and ends nothing.
"""

from __future__ import annotations

from typing import Final

from signals.foldevent import spellings_of

_NAMES: Final = ", ".join(f"'{name}'" for name in (*spellings_of("order completed"), *spellings_of("order updated")))
_EMPTIED: Final = """
    coalesce((
        SELECT told.pieces IS NOT DISTINCT FROM 0 FROM (
            SELECT call.event_time, call.message_id, call.source_id, lower(call.name) = 'order updated' AS is_update,
                   call.figures -> 'properties' ->> 'product_id' AS product,
                   json_array_length(CASE WHEN json_typeof(call.figures -> 'properties' -> 'products') = 'array'
                                          THEN call.figures -> 'properties' -> 'products' END) AS pieces
            FROM event call JOIN profile person ON person.id = call.profile_id
            WHERE call.order_id = {order} AND person.root_id = {root} AND call.folds AND lower(call.name) IN ({names})
        ) AS told
        WHERE told.pieces > 0 OR (told.pieces = 0 AND told.is_update) OR (told.pieces IS NULL AND told.product <> '')
        ORDER BY told.event_time DESC, told.message_id COLLATE "C" DESC, told.source_id DESC LIMIT 1
    ), false)
"""


def emptied(order: str, root: str) -> str:
    """Whether the last call that says what is in a person's order says that nothing is, in SQL; both arguments are SQL
    for what the order and the person's root are."""
    return _EMPTIED.format(order=order, root=root, names=_NAMES)
