"""Whether a campaign's opens and clicks are followed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("tracking", sa.Text(), server_default="identified", nullable=False))


def downgrade() -> None:
    op.drop_column("campaign", "tracking")
