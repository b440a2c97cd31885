"""Which of two writers of a state came later. Rows of earlier releases keep 0: their version stands for it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("profile_state", sa.Column("edition", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("profile_state", "edition")
