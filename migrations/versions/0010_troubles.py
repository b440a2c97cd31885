"""What keeps a campaign's mails from leaving; what the home page counts is found by index."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENTS = (
    ("delivery_settled", "delivery", "settled_at"),
    ("ix_event_received_at", "event", "received_at"),
    ("ix_rejected_event_at", "rejected_event", "at"),
)


def upgrade() -> None:
    op.add_column("campaign", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("campaign", sa.Column("trouble_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index("delivery_unknown", "delivery", ["campaign_id"], postgresql_where=sa.text("state = 'unknown'"))
    for name, table, column in MOMENTS:
        op.create_index(name, table, [column], postgresql_using="brin")


def downgrade() -> None:
    for name, table, _ in MOMENTS:
        op.drop_index(name, table_name=table)
    op.drop_index("delivery_unknown", table_name="delivery")
    op.drop_column("campaign", "trouble_since")
    op.drop_column("campaign", "trouble")
