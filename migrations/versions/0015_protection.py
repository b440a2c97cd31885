"""Whom a campaign sells nothing to, what it does with those the profit guard flags, and computed traits of people."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("suppress", JSONB(), nullable=True))
    op.add_column("campaign", sa.Column("guard", sa.Text(), server_default="off", nullable=False))
    op.create_table(
        "profile_score",
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("profile_id", "name", name="pk_profile_score"),
    )
    op.create_index("ix_profile_score_name_value", "profile_score", ["name", "value"])


def downgrade() -> None:
    op.drop_table("profile_score")
    op.drop_column("campaign", "guard")
    op.drop_column("campaign", "suppress")
