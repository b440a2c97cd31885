"""An order that tells no total came to its lines by their prices, for reports as for states.

`latebind rebuild` is not needed: states always counted them so.
"""

from migrations import traffic

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None

TOTALS = r"""
    UPDATE event o SET order_total_cents = told.cents
    FROM (
        SELECT e.id, sum(round(100 * (line ->> 'price')::numeric) * CASE
                   WHEN line ->> 'quantity' ~ '^[0-9]{1,6}(\.[0-9]{1,15})?$' THEN trunc((line ->> 'quantity')::numeric)
                   ELSE 1 END)::bigint AS cents
        FROM event e CROSS JOIN json_array_elements(CASE
            WHEN json_typeof(e.figures #> '{properties,products}') = 'array' THEN e.figures #> '{properties,products}'
            END) AS line
        WHERE e.id > :after AND e.id <= :upto AND e.name = 'Order Completed' AND e.order_total_cents IS NULL
          AND line ->> 'price' ~ '^[0-9]{1,10}(\.[0-9]{1,15})?$'
        GROUP BY e.id
    ) told
    WHERE o.id = told.id
"""


def upgrade() -> None:
    traffic.fill("event", TOTALS)


def downgrade() -> None:
    """Nothing goes: the release before reads such totals as it reads told ones."""
