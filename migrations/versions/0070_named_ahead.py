"""Customer numbers that an alias names before anybody comes under them."""

import sqlalchemy as sa
from alembic import op

from migrations import traffic

revision = "0070"
down_revision = "0069"
branch_labels = None
depends_on = None


def upgrade() -> None:
    traffic.add_columns("identifier", sa.Column("presumed", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    # The release before takes each for somebody's number.
    op.execute("DELETE FROM identifier WHERE presumed")
    op.drop_column("identifier", "presumed")
