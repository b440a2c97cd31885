"""What is left of an order, beside it: that nothing is, and the categories of what is.

Older orders get what history windows took for it so far, read off the figures of their corrections; bodies are sealed.
`latebind rebuild` makes them exact.
"""

import sqlalchemy as sa
from alembic import op

from migrations import traffic

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None

_ORDERS = """
    o.id > :after AND o.id <= :upto AND o.type = 'track' AND lower(o.name) IN ('order completed', 'completed order')
        AND o.folds AND o.order_id IS NOT NULL
"""
_CORRECTION = "c.order_id = o.order_id AND c.folds AND whose.id = c.profile_id AND whose.root_id = p.root_id"
_REFUND = "c.name = 'order refunded'"


def _number(told: str) -> str:
    return rf"CASE WHEN ({told}) ~ '^-?[0-9]{{1,12}}(\.[0-9]+)?$' THEN CAST(({told}) AS numeric) END"


def _products(event: str) -> str:
    told = f"{event}.figures #> '{{properties,products}}'"
    return f"CASE WHEN json_typeof({told}) = 'array' THEN {told} END"


def _lines(what: str, event: str) -> str:
    lines = f"json_array_elements({_products(event)}) AS line"
    return f"(SELECT sum({what}) FROM {lines} WHERE json_typeof(line) = 'object')"  # noqa: S608 - of this file's words alone


_PIECES = "coalesce(" + _number("line ->> 'quantity'") + ", 1)"
_PAID = "round((" + _number("line ->> 'price'") + ") * 100) * " + _PIECES
# What the pieces of a refund's line cost in its order.
_WORTH = f"""
    (SELECT round(least({_PIECES}, own.pieces) * own.paid / nullif(own.pieces, 0)) FROM (
        SELECT sum({_PIECES.replace("line", "one")}) AS pieces, sum({_PAID.replace("line", "one")}) AS paid
        FROM json_array_elements({_products("o")}) AS one
        WHERE json_typeof(one) = 'object' AND one ->> 'product_id' = line ->> 'product_id'
    ) own)
"""  # noqa: S608 - of this file's words alone
_CURRENCY = "figures #>> '{properties,currency}'"
_TOTAL = ", ".join(
    _number(f"c.figures #>> '{{properties,{field}}}'") + " * 100" for field in ("total", "revenue", "value")
)
VOID = f"""
    WITH correction AS (
        SELECT o.id, c.event_time, lower(c.name) AS name, c.figures, round(coalesce({_TOTAL})) AS total,
               o.{_CURRENCY} AS paid_in, c.{_CURRENCY} AS back_in,
               exchange_rate_at(o.{_CURRENCY}, o.event_time) AS paid_rate,
               exchange_rate_at(c.{_CURRENCY}, c.event_time) AS back_rate
        FROM event o JOIN profile p ON p.id = o.profile_id, event c, profile whose
        WHERE {_ORDERS} AND {_CORRECTION}
          AND lower(c.name) IN ('order cancelled', 'order canceled', 'order refunded', 'order updated')
    ), told AS (
        SELECT c.*, CASE WHEN back_in IS NULL OR upper(back_in) = upper(paid_in) THEN total
                         WHEN paid_rate > 0 AND back_rate > 0
                         THEN div(2 * abs(total) * back_rate + paid_rate, 2 * paid_rate)
                         ELSE 0 * total END AS back
        FROM correction c
    ), undone AS (
        SELECT o.id FROM told c JOIN event o ON o.id = c.id GROUP BY o.id
        HAVING max(c.event_time) FILTER (WHERE c.name IN ('order cancelled', 'order canceled'))
                >= coalesce(max(c.event_time) FILTER (WHERE c.name = 'order updated'
                                AND c.figures #>> '{{properties,order_status}}' = 'placed'), '-infinity')
            OR bool_or({_REFUND} AND c.back IS NULL AND NOT CASE
                WHEN json_typeof(c.figures #> '{{properties,products}}') = 'array'
                THEN json_array_length({_products("c")}) > 0
                ELSE coalesce(c.figures #>> '{{properties,product_id}}', c.figures #>> '{{properties,sku}}')
                    IS NOT NULL END)
            OR bool_or({_REFUND} AND c.back <> 0)
                AND sum(coalesce(abs(c.back), {_lines(_WORTH, "c")}, 0)) FILTER (WHERE {_REFUND})
                    >= coalesce(o.order_total_cents, {_lines(_PAID, "o")})
            OR sum({_lines(_PIECES, "c")}) FILTER (WHERE {_REFUND}) >= {_lines(_PIECES, "o")}
    )
    UPDATE event SET void = true FROM undone WHERE event.id = undone.id AND NOT event.void
"""  # noqa: S608 - of this file's words alone
LEFT = f"""
    WITH back AS (
        SELECT o.id, array_agg(DISTINCT category) AS category_ids
        FROM event o JOIN profile p ON p.id = o.profile_id, event c CROSS JOIN unnest(c.category_ids) AS category,
             profile whose
        WHERE {_ORDERS} AND NOT o.void AND {_CORRECTION} AND lower(c.name) = 'order refunded'
        GROUP BY o.id
    )
    UPDATE event SET left_category_ids = ARRAY(
        SELECT own FROM unnest(event.category_ids) AS own WHERE own <> ALL(back.category_ids) ORDER BY own
    )
    FROM back
    WHERE event.id = back.id AND event.category_ids && back.category_ids AND event.left_category_ids IS NULL
"""  # noqa: S608 - of this file's words alone


def upgrade() -> None:
    traffic.add_columns(
        "event",
        sa.Column("void", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("left_category_ids", sa.ARRAY(sa.Integer()), nullable=True),
    )
    traffic.fill("event", VOID, LEFT)


def downgrade() -> None:
    op.drop_column("event", "left_category_ids")
    op.drop_column("event", "void")
