"""What stands behind an offer: products picked at open, what orders say of products and categories, and tiers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("product", sa.Column("tier", sa.Integer(), nullable=True))
    op.add_column("offer", sa.Column("pick", postgresql.JSONB(none_as_null=True), nullable=True))
    op.add_column("offer", sa.Column("when_due", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("offer", sa.Column("window_hours", sa.Integer(), nullable=True))
    op.add_column("offer", sa.Column("units", sa.Integer(), nullable=True))
    op.add_column("offer", sa.Column("incentive", postgresql.JSONB(none_as_null=True), nullable=True))
    op.create_table(
        "relations",
        sa.Column("number", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("orders", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_relations"),
    )
    op.create_table(
        "relation_by_hand",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("other", sa.Text(), nullable=True),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_relation_by_hand"),
    )
    op.create_index(
        "relation_by_hand_once", "relation_by_hand", ["category", sa.text("coalesce(other, '')")], unique=True
    )


def downgrade() -> None:
    op.drop_table("relation_by_hand")
    op.drop_table("relations")
    for name in ("incentive", "units", "window_hours", "when_due", "pick"):
        op.drop_column("offer", name)
    op.drop_column("product", "tier")
