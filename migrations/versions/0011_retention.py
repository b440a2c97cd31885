"""Letting go of old records: when bytes were last served, and counts that outlive what they counted."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "expired_count",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "what", "name", name="pk_expired_count"),
    )
    for column in ("seen_at", "last_at"):
        # What was kept so far is taken to have been served to somebody just now: nothing goes too early.
        moment = sa.Column(column, sa.DateTime(timezone=True), server_default=sa.text("now()"))
        op.add_column("served_bytes", moment)
        op.alter_column("served_bytes", column, server_default=None, nullable=column == "seen_at")
    op.create_index("ix_served_bytes_seen_at", "served_bytes", ["seen_at"])
    op.create_index("served_bytes_unseen", "served_bytes", ["last_at"], postgresql_where=sa.text("seen_at IS NULL"))
    for table in ("click", "sent_facts"):
        op.create_index(f"{table}_at", table, ["at"], postgresql_using="brin")
    op.create_index("ix_sent_facts_shared_hash", "sent_facts", ["shared_hash"])


def downgrade() -> None:
    op.drop_index("ix_sent_facts_shared_hash")
    for table in ("click", "sent_facts"):
        op.drop_index(f"{table}_at")
    op.drop_index("served_bytes_unseen")
    op.drop_index("ix_served_bytes_seen_at")
    for column in ("seen_at", "last_at"):
        op.drop_column("served_bytes", column)
    op.drop_table("expired_count")
