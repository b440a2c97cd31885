"""Where the bytes that were served lie, how far the loops have come, and what is still to be dated."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "served_bytes",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "owner", name="pk_served_bytes"),
    )
    op.create_table(
        "loop_cursor",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_loop_cursor"),
    )
    for table in ("fetch", "click"):
        undated = sa.text("decision_at IS NULL AND decision_id IS NOT NULL")
        op.create_index(f"{table}_undated", table, ["decision_id"], postgresql_where=undated)


def downgrade() -> None:
    op.drop_index("click_undated")
    op.drop_index("fetch_undated")
    op.drop_table("loop_cursor")
    op.drop_table("served_bytes")
