"""States that are to be published: what a store that was away, or a process that died, left behind."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "state_due",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_state_due"),
    )
    op.create_index("ix_state_due_profile_id", "state_due", ["profile_id"])


def downgrade() -> None:
    op.drop_table("state_due")
