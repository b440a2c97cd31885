"""What offers give away and cost, how they compete and rest; how often people may be mailed, which mails must go."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OFFER: tuple[sa.Column[Any], ...] = (
    sa.Column("incentive_cents", sa.Integer(), server_default="0", nullable=False),
    sa.Column("aftercare_cents", sa.Integer(), server_default="0", nullable=False),
    sa.Column("lever", sa.Float(), server_default="1", nullable=False),
    sa.Column("prior", sa.Float(), nullable=True),
    sa.Column("prior_weight", sa.Integer(), server_default="200", nullable=False),
    sa.Column("fatigue", JSONB(), server_default="[]", nullable=False),
)
CAMPAIGN: tuple[sa.Column[Any], ...] = (
    sa.Column("arbitration", JSONB(), nullable=True),
    sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
    sa.Column("mandatory", sa.Boolean(), server_default="false", nullable=False),
)


def upgrade() -> None:
    for column in OFFER:
        op.add_column("offer", column)
    for column in CAMPAIGN:
        op.add_column("campaign", column)
    op.create_index("delivery_contact", "delivery", ["address_hash", "created_at"])
    op.create_table(
        "contact_limit",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("period_days", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("channel", name="pk_contact_limit"),
    )


def downgrade() -> None:
    op.drop_table("contact_limit")
    op.drop_index("delivery_contact", "delivery")
    for column in CAMPAIGN:
        op.drop_column("campaign", column.name)
    for column in OFFER:
        op.drop_column("offer", column.name)
