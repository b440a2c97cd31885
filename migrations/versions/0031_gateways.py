"""Gateways for text and push messages, and the campaigns that go by one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gateway",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), server_default="on", nullable=False),
        sa.Column("per_second", sa.Integer(), nullable=True),
        sa.Column("per_hour", sa.Integer(), nullable=True),
        sa.Column("per_day", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateway"),
        sa.UniqueConstraint("name", name="uq_gateway_name"),
    )
    op.add_column("campaign", sa.Column("channel", sa.Text(), server_default="email", nullable=False))
    op.add_column("campaign", sa.Column("gateway_id", sa.Integer(), nullable=True))
    op.add_column("campaign", sa.Column("text", JSONB(), nullable=True))
    op.create_foreign_key("fk_campaign_gateway_id_gateway", "campaign", "gateway", ["gateway_id"], ["id"])


def downgrade() -> None:
    # Without its gateway such a campaign would go out as mail: it ends here.
    op.execute("UPDATE campaign SET state = 'cancelled' WHERE channel <> 'email'")
    op.drop_constraint("fk_campaign_gateway_id_gateway", "campaign", type_="foreignkey")
    op.drop_column("campaign", "text")
    op.drop_column("campaign", "gateway_id")
    op.drop_column("campaign", "channel")
    op.drop_table("gateway")
