"""Models of people's future, the runs that computed scores with them, and what the profit guard assumes of costs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "score_model",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("measures", JSONB(), nullable=False),
        sa.Column("features", ARRAY(sa.Text()), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_score_model"),
    )
    op.create_index("ix_score_model_created_at", "score_model", ["created_at"])
    op.create_table(
        "score_run",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("model_hash", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("people", sa.Integer(), server_default="0", nullable=False),
        sa.Column("why_no_model", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_score_run"),
        sa.ForeignKeyConstraint(["model_hash"], ["score_model.hash"], name="fk_score_run_model_hash_score_model"),
    )
    op.create_index("ix_score_run_ended_at", "score_run", ["ended_at"])
    op.create_table(
        "guard_terms",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("margin", sa.Float(), nullable=False),
        sa.Column("contact_cents", sa.Integer(), nullable=False),
        sa.Column("return_cents", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_guard_terms"),
    )


def downgrade() -> None:
    for table in ("guard_terms", "score_run", "score_model"):
        op.drop_table(table)
