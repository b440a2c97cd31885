"""What things cost a campaign."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "profit_terms",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("margin_share", sa.Float(), nullable=False),
        sa.Column("window_days", sa.Integer(), nullable=False),
        sa.Column("return_cents", sa.Integer(), nullable=False),
        sa.Column("service_cents", sa.Integer(), nullable=False),
        sa.Column("named_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("named_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "version", name="pk_profit_terms"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_profit_terms_campaign_id_campaign"),
    )


def downgrade() -> None:
    op.drop_table("profit_terms")
