"""Audiences that are handed to other tools, and who of them was told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "audience_export",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("segment_id", sa.Integer(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", moment, nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("synced_at", moment, nullable=True),
        sa.Column("told_at", moment, nullable=True),
        sa.Column("lease_until", moment, nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audience_export"),
        sa.UniqueConstraint("name", name="uq_audience_export_name"),
        sa.ForeignKeyConstraint(["segment_id"], ["segment.id"], name="fk_audience_export_segment_id_segment"),
    )
    op.create_table(
        "export_member",
        sa.Column("export_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("names", JSONB(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("told", sa.Text(), server_default="no", nullable=False),
        sa.PrimaryKeyConstraint("export_id", "profile_id", "digest", name="pk_export_member"),
        sa.ForeignKeyConstraint(
            ["export_id"], ["audience_export.id"], name="fk_export_member_export_id_audience_export"
        ),
    )
    op.create_index("export_member_digest", "export_member", ["export_id", "digest"])
    op.create_index(
        "export_member_open",
        "export_member",
        ["export_id", "profile_id"],
        postgresql_where=sa.text("NOT wanted OR told <> 'yes'"),
    )


def downgrade() -> None:
    op.drop_table("export_member")
    op.drop_table("audience_export")
