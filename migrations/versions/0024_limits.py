"""Limits of sending: kept counts of the ledger, permits of the rate limits, retries, and whose database this is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("waits_for", sa.Text(), nullable=True))
    for name in ("judged_tries", "judged_failures"):
        op.add_column("campaign", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    _tables()
    op.execute("DROP INDEX delivery_state")
    for statement in (*INDEXES, COUNTING, *TRIGGERS, COUNTED):
        op.execute(statement)
    op.execute("CREATE SEQUENCE instance_mark")


def downgrade() -> None:
    op.execute("DROP SEQUENCE instance_mark")
    for name in ("added", "moved", "removed"):
        op.execute(f"DROP TRIGGER delivery_{name} ON delivery")
    op.execute("DROP FUNCTION count_deliveries()")
    for name in ("listing", "waiting", "waits_for"):
        op.execute(f"DROP INDEX delivery_{name}")
    op.execute("CREATE INDEX delivery_state ON delivery (campaign_id, occurrence, state)")
    for table in ("instance", "permit_use", "permit", "send_terms", "delivery_retry", "delivery_count"):
        op.drop_table(table)
    for name in ("judged_tries", "judged_failures"):
        op.drop_column("campaign", name)
    op.drop_column("delivery", "waits_for")


def _tables() -> None:
    op.create_table(
        "delivery_count",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("occurrence", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("folded", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_delivery_count"),
    )
    op.create_table(
        "delivery_retry",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_delivery_retry"),
    )
    op.create_table(
        "send_terms",
        sa.Column("id", sa.SmallInteger(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_send_terms"),
    )
    op.create_table(
        "permit",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("claimer", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("uses", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_permit"),
    )
    op.create_table(
        "permit_use",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("window_s", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", "window_s", "bucket", name="pk_permit_use"),
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.SmallInteger(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("database_mark", sa.Text(), nullable=False),
        sa.Column("host_mark", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_instance"),
    )


INDEXES = (
    "CREATE INDEX delivery_listing ON delivery (campaign_id, state, coalesce(reason, ''), id)",
    "CREATE INDEX delivery_waiting ON delivery (campaign_id, not_before)"
    " WHERE state IN ('queued', 'deferred') AND not_before IS NOT NULL",
    "CREATE INDEX delivery_waits_for ON delivery (waits_for, id) WHERE waits_for IS NOT NULL AND state = 'queued'",
    "CREATE INDEX delivery_count_run ON delivery_count (campaign_id, occurrence)",
    "CREATE INDEX delivery_count_new ON delivery_count (campaign_id, occurrence) WHERE NOT folded",
    "CREATE INDEX delivery_retry_delivery ON delivery_retry (delivery_id)",
)

# Adding rows locks nothing: senders that settle mails of one run at once do not wait for each other.
COUNTING = """
CREATE FUNCTION count_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO delivery_count (campaign_id, occurrence, state, reason, number)
        SELECT campaign_id, occurrence, state, coalesce(reason, ''), count(*) FROM come GROUP BY 1, 2, 3, 4;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO delivery_count (campaign_id, occurrence, state, reason, number)
        SELECT campaign_id, occurrence, state, coalesce(reason, ''), -count(*) FROM gone GROUP BY 1, 2, 3, 4;
    ELSE
        INSERT INTO delivery_count (campaign_id, occurrence, state, reason, number)
        SELECT campaign_id, occurrence, state, reason, sum(n) FROM (
            SELECT campaign_id, occurrence, state, coalesce(reason, '') AS reason, 1 AS n FROM come
            UNION ALL SELECT campaign_id, occurrence, state, coalesce(reason, ''), -1 FROM gone
        ) AS moves GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END $$
"""

TRIGGERS = (
    "CREATE TRIGGER delivery_added AFTER INSERT ON delivery REFERENCING NEW TABLE AS come"
    " FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries()",
    "CREATE TRIGGER delivery_moved AFTER UPDATE ON delivery REFERENCING OLD TABLE AS gone NEW TABLE AS come"
    " FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries()",
    "CREATE TRIGGER delivery_removed AFTER DELETE ON delivery REFERENCING OLD TABLE AS gone"
    " FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries()",
)

COUNTED = """
INSERT INTO delivery_count (campaign_id, occurrence, state, reason, number, folded)
SELECT campaign_id, occurrence, state, coalesce(reason, ''), count(*), true FROM delivery GROUP BY 1, 2, 3, 4
"""
