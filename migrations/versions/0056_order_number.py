"""The number by which a shop's buyers know an order, beside its id; `latebind rebuild` fills it for older orders."""

import sqlalchemy as sa
from alembic import op

from migrations import traffic

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    traffic.add_columns("event", sa.Column("order_number", sa.Text(), nullable=True))
    traffic.create_index(
        "ix_event_order_number",
        "event",
        [sa.text("lower(ltrim(order_number, '#'))")],
        postgresql_where=sa.text("order_number IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_event_order_number", "event")
    op.drop_column("event", "order_number")
