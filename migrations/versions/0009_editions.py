"""Which of two writers of a state came later, and which erasures are still to be finished.

Rows of earlier releases keep 0 as their edition: their version stands for it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("profile_state", sa.Column("edition", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("profile", sa.Column("erasing", sa.Boolean(), server_default="false", nullable=False))
    op.create_index("ix_profile_erasing", "profile", ["root_id"], postgresql_where="erasing")


def downgrade() -> None:
    op.drop_index("ix_profile_erasing", table_name="profile")
    op.drop_column("profile", "erasing")
    op.drop_column("profile_state", "edition")
