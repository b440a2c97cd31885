"""The stream of signals: refused ones can be taken once more, a tracking plan, the newest of a source by index."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("rejected_event", sa.Column("call", sa.Text(), server_default="", nullable=False))
    op.add_column("rejected_event", sa.Column("skew_ms", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("rejected_event", sa.Column("name", sa.Text(), nullable=True))
    # What is kept of earlier ones may have been cut.
    op.add_column("rejected_event", sa.Column("whole", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("rejected_event", sa.Column("replayed_at", moment, nullable=True))
    op.create_index("ix_event_source_id_id", "event", ["source_id", "id"])
    op.add_column("source", sa.Column("planned_only", sa.Boolean(), server_default="false", nullable=False))
    op.create_table(
        "planned_event",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spelt", sa.Text(), nullable=False),
        sa.Column("definition", JSONB(), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_planned_event"),
        sa.UniqueConstraint("spelt", name="uq_planned_event_spelt"),
    )


def downgrade() -> None:
    op.drop_table("planned_event")
    op.drop_column("source", "planned_only")
    op.drop_index("ix_event_source_id_id", "event")
    for name in ("replayed_at", "whole", "name", "skew_ms", "call"):
        op.drop_column("rejected_event", name)
