"""Tracking level anonymous: fetches and clicks that name nobody, and which plans are of that level."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("plan", sa.Column("anonymous", sa.Boolean(), server_default="false", nullable=False))
    op.create_table(
        "anonymous_fetch",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("occurrence", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("fetch_class", sa.Text(), nullable=False),
        sa.Column("offer_id", sa.Integer(), nullable=True),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", "at", name="pk_anonymous_fetch"),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("anonymous_fetch_campaign", "anonymous_fetch", ["campaign_id", "occurrence"])
    op.create_index("anonymous_fetch_at", "anonymous_fetch", ["at"], postgresql_using="brin")
    op.execute("CREATE TABLE anonymous_fetch_default PARTITION OF anonymous_fetch DEFAULT")


def downgrade() -> None:
    op.drop_table("anonymous_fetch")
    op.drop_column("plan", "anonymous")
