"""People of whom it is to be counted anew what they were shown; at first all who have several profiles."""

import sqlalchemy as sa
from alembic import op

revision = "0071"
down_revision = "0070"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "count_due",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_count_due"),
    )
    op.create_index("ix_count_due_profile_id", "count_due", ["profile_id"])
    op.execute("""
        INSERT INTO count_due (profile_id)
        SELECT DISTINCT root_id FROM profile WHERE id <> root_id AND erased_at IS NULL
    """)


def downgrade() -> None:
    op.drop_table("count_due")
