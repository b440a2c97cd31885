"""Households: who was said to live where, where each person lives by that, whose home is to be found anew."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "household_claim",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("gone", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("size", sa.SmallInteger(), nullable=True),
        sa.Column("others", JSONB(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_household_claim"),
        sa.UniqueConstraint("profile_id", "kind", "key", name="uq_household_claim_profile_id_kind_key"),
        sa.CheckConstraint("kind IN ('hand', 'group', 'home', 'order')", name="ck_household_claim_kind"),
    )
    op.create_index("ix_household_claim_key", "household_claim", ["key"])
    op.create_table(
        "dwelling",
        sa.Column("profile_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stated", sa.LargeBinary(), nullable=True),
        sa.Column("address", sa.LargeBinary(), nullable=True),
        sa.Column("household", sa.LargeBinary(), nullable=True),
        sa.Column("elsewhere", ARRAY(BYTEA()), server_default="{}", nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("facts", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("profile_id", name="pk_dwelling"),
    )
    op.create_index("ix_dwelling_address", "dwelling", ["address"])
    op.create_index("ix_dwelling_household", "dwelling", ["household", sa.text("(facts IS NULL)"), "profile_id"])
    op.create_index("ix_dwelling_elsewhere", "dwelling", ["elsewhere"], postgresql_using="gin")
    op.create_table(
        "household_due",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_household_due"),
    )
    op.create_index("ix_household_due_profile_id", "household_due", ["profile_id"])


def downgrade() -> None:
    for table in ("household_due", "dwelling", "household_claim"):
        op.drop_table(table)
