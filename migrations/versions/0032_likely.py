"""Customers who are probably one: runs that look for them, offers to a person, evidence of merges by likeness."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

COUNTS = ("people", "pairs", "merged", "offered")


def upgrade() -> None:
    op.add_column("profile_link", sa.Column("evidence", postgresql.JSONB(), nullable=True))
    op.create_table(
        "match_run",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        *(sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in COUNTS),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_match_run"),
    )
    op.create_index("ix_match_run_ended_at", "match_run", ["ended_at"])
    op.create_table(
        "likely_match",
        sa.Column("one_id", sa.BigInteger(), nullable=False),
        sa.Column("other_id", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("facts", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("one_id", "other_id", name="pk_likely_match"),
    )
    op.create_index("ix_likely_match_other_id", "likely_match", ["other_id"])
    op.create_index("ix_likely_match_weight", "likely_match", ["weight"])


def downgrade() -> None:
    op.drop_table("likely_match")
    op.drop_table("match_run")
    op.execute("DELETE FROM profile_link WHERE reason = 'kept apart'")
    op.drop_column("profile_link", "evidence")
