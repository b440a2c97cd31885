"""Kept counts are folded by name, the oldest changes first: found by index, whatever else a campaign has counts of."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("open_count_campaign", "open_count")
    op.drop_index("open_count_new", "open_count")
    op.create_index("open_count_name", "open_count", ["campaign_id", "what", "name"])
    op.create_index("open_count_new", "open_count", ["id"], postgresql_where=sa.text("NOT folded"))


def downgrade() -> None:
    op.drop_index("open_count_new", "open_count")
    op.drop_index("open_count_name", "open_count")
    op.create_index("open_count_new", "open_count", ["campaign_id"], postgresql_where=sa.text("NOT folded"))
    op.create_index("open_count_campaign", "open_count", ["campaign_id"])
