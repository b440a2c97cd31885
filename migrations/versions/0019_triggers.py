"""Campaigns that wait for a behaviour, and who has entered them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("trigger", JSONB(), nullable=True))
    op.create_table(
        "trigger_entry",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("occurrence", sa.BigInteger(), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "profile_id", name="pk_trigger_entry"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_trigger_entry_campaign_id_campaign"),
    )


def downgrade() -> None:
    op.drop_table("trigger_entry")
    op.drop_column("campaign", "trigger")
