"""Which source last told of a product, what a search looks through, and how much each source told of products a day."""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("product", sa.Column("source_id", sa.Integer(), nullable=True))
    op.add_column("product", sa.Column("words", sa.Text(), server_default="", nullable=False))
    # Small letters as the database makes them; the next word of a feed brings those of every script.
    op.execute("UPDATE product SET words = lower(concat_ws(' ', id, title, brand, line))")
    op.create_table(
        "feed_day",
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source_id", "day", name="pk_feed_day"),
    )


def downgrade() -> None:
    op.drop_table("feed_day")
    op.drop_column("product", "words")
    op.drop_column("product", "source_id")
