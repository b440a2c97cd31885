"""Since when the newest word on a product holds: for price and sale, for stock, and for all the rest; and products that
opens are still to be told of."""

import sqlalchemy as sa
from alembic import op

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None

_TOLD = ("price_told_at", "stock_told_at", "rest_told_at")


def upgrade() -> None:
    for name in _TOLD:
        op.add_column("product", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE product SET price_told_at = feed_at, stock_told_at = feed_at, rest_told_at = feed_at")
    op.create_table(
        "product_due",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("product_id", name="pk_product_due"),
    )


def downgrade() -> None:
    op.drop_table("product_due")
    for name in _TOLD:
        op.drop_column("product", name)
