"""The sale price of a product with the time in which it counts, apart from the price it has without."""

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("product", sa.Column("sale_cents", sa.BigInteger(), nullable=True))
    op.add_column("product", sa.Column("sale_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("product", sa.Column("sale_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for name in ("sale_until", "sale_from", "sale_cents"):
        op.drop_column("product", name)
