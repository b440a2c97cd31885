"""Whether a campaign's mails have an AMP part."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("amp", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("campaign", "amp")
