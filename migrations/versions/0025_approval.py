"""What a campaign must show somebody, kept with it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scenario",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("told", JSONB(), server_default="[]", nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scenario"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_scenario_campaign_id_campaign"),
    )
    op.create_index("scenario_name", "scenario", ["campaign_id", "name"], unique=True)


def downgrade() -> None:
    op.drop_table("scenario")
