"""The versions that a campaign tries against each other, and whether the groups that are compared are whole."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("campaign", "plan"):
        op.add_column(table, sa.Column("arms", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("campaign", sa.Column("arms_key", sa.LargeBinary(), nullable=True))
    op.add_column("delivery", sa.Column("arm", sa.SmallInteger(), nullable=True))
    op.create_table(
        "ratio_check",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Float(), nullable=False),
        sa.Column("counts", postgresql.JSONB(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "stage", name="pk_ratio_check"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_ratio_check_campaign_id_campaign"),
    )


def downgrade() -> None:
    op.drop_table("ratio_check")
    op.drop_column("delivery", "arm")
    op.drop_column("campaign", "arms_key")
    for table in ("plan", "campaign"):
        op.drop_column(table, "arms")
