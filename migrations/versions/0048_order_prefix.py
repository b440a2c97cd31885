"""Whether a shop's prefix stands before the numbers of its orders too: not where some were told without it."""

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shop_source", sa.Column("prefixes_orders", sa.Boolean(), server_default="false", nullable=False))
    op.alter_column("shop_source", "prefixes_orders", server_default=None)


def downgrade() -> None:
    op.drop_column("shop_source", "prefixes_orders")
