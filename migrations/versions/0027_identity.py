"""Merges that can be undone: which profiles they tie and on what evidence, ties that were refused, ties counted."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

COLUMNS = (
    ("child_end", sa.BigInteger()),
    ("parent_end", sa.BigInteger()),
    ("claim_type", sa.Text()),
    ("claim_hash", sa.LargeBinary()),
    ("message_id", sa.Text()),
    ("by", sa.Text()),
    ("kept", postgresql.JSONB()),
    ("undone_by", sa.Text()),
)
INDEXES = ("child_end", "parent_end", "claim_hash")


KINDS = "'user_id', 'email', 'anonymous_id', 'phone', 'loyalty_id'"
MATCHES = "'name', 'name_address', 'name_email', 'name_phone'"


def upgrade() -> None:
    op.drop_constraint("ck_identifier_type", "identifier")
    op.execute(f"ALTER TABLE identifier ADD CONSTRAINT ck_identifier_type CHECK (type IN ({KINDS}, {MATCHES}))")
    op.add_column("identifier", sa.Column("ties", sa.Integer(), server_default="0", nullable=False))
    for name, kind in COLUMNS:
        op.add_column("profile_link", sa.Column(name, kind, nullable=True))
    op.add_column("profile_link", sa.Column("apart", sa.Boolean(), server_default="false", nullable=False))
    # Signals used to belong to the root as it was at their arrival: so that is what an earlier merge ties.
    op.execute("UPDATE profile_link SET child_end = child_id, parent_end = parent_id")
    for name in ("child_end", "parent_end"):
        op.alter_column("profile_link", name, nullable=False)
    for name in INDEXES:
        op.create_index(f"ix_profile_link_{name}", "profile_link", [name])
    op.execute("CREATE INDEX ix_profile_link_apart ON profile_link (child_end, parent_end) WHERE apart")
    op.create_table(
        "refused_tie",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("value_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("type", "value_hash", "reason", name="pk_refused_tie"),
    )
    op.create_index("ix_refused_tie_last_at", "refused_tie", ["last_at"])
    op.create_table(
        "trait_policy",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_trait_policy"),
    )


def downgrade() -> None:
    op.drop_table("trait_policy")
    op.execute("DELETE FROM identifier WHERE type LIKE 'name%'")
    op.drop_constraint("ck_identifier_type", "identifier")
    op.execute(f"ALTER TABLE identifier ADD CONSTRAINT ck_identifier_type CHECK (type IN ({KINDS}))")
    op.drop_table("refused_tie")
    op.execute("DROP INDEX ix_profile_link_apart")
    for name in INDEXES:
        op.drop_index(f"ix_profile_link_{name}", "profile_link")
    for name in ("apart", *(name for name, _ in COLUMNS)):
        op.drop_column("profile_link", name)
    op.drop_column("identifier", "ties")
