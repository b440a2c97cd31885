"""Which followed segments were written into all states once: those are not waited for when a scheduler starts again."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("live_segment", sa.Column("written", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("live_segment", "written")
