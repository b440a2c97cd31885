"""An order that tells no total came to its lines by their prices, for reports as for states.

States always counted them so. What tells its one product beside no list of them stays as it is: its price is sealed.
A line that names no product is left out, as shipping is; so is one that tells only a category, which states count: the
lines that can be read here do not say whether they name one.
"""

from migrations import traffic

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None

TOTALS = r"""
    UPDATE event o SET order_total_cents = told.cents
    FROM (
        SELECT e.id, least(1000000000000, sum(round(100 * (line ->> 'price')::numeric) * pieces.number))::bigint
                   AS cents
        FROM event e CROSS JOIN json_array_elements(CASE
            WHEN json_typeof(e.figures #> '{properties,products}') = 'array' THEN e.figures #> '{properties,products}'
            END) AS line
        CROSS JOIN LATERAL (SELECT CASE
            WHEN line ->> 'quantity' ~ '^-?[0-9]{1,6}(\.[0-9]{1,15})?$' THEN trunc((line ->> 'quantity')::numeric)
            ELSE 1 END AS number) pieces
        WHERE e.id > :after AND e.id <= :upto AND e.name = 'Order Completed' AND e.order_total_cents IS NULL
          AND pieces.number >= 1 AND line ->> 'product_id' IS NOT NULL
          AND line ->> 'price' ~ '^[0-9]{1,10}(\.[0-9]{1,15})?$'
        GROUP BY e.id
    ) told
    WHERE o.id = told.id
"""


def upgrade() -> None:
    traffic.fill("event", TOTALS)


def downgrade() -> None:
    """Nothing goes: the release before reads such totals as it reads told ones."""
