"""The sale price of a product with the time in which it counts, since when a product is gone, and the last full feed of
each source."""

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("product", sa.Column("sale_cents", sa.BigInteger(), nullable=True))
    op.add_column("product", sa.Column("sale_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("product", sa.Column("sale_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("product", sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "full_feed",
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gone", sa.Integer(), nullable=False),
        sa.Column("held_back", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source_id", name="pk_full_feed"),
    )


def downgrade() -> None:
    op.drop_table("full_feed")
    for name in ("gone_at", "sale_until", "sale_from", "sale_cents"):
        op.drop_column("product", name)
