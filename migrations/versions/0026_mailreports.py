"""Reports of bounces and complaints, and the history of the list of addresses that get no mail."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "suppression_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_suppression_change"),
    )
    op.create_index("ix_suppression_change_address_hash_id", "suppression_change", ["address_hash", "id"])
    op.execute(
        "INSERT INTO suppression_change (address_hash, at, listed, reason, via)"
        " SELECT address_hash, at, true, reason, 'before this history' FROM suppression"
    )
    op.create_table(
        "mail_report",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("proof", sa.LargeBinary(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=True),
        sa.Column("profile_id", sa.BigInteger(), nullable=True),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("occurrence", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("words", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_mail_report"),
        sa.UniqueConstraint("key", name="uq_mail_report_key"),
        sa.UniqueConstraint("proof", name="uq_mail_report_proof"),
    )
    op.create_index("ix_mail_report_address_hash_at", "mail_report", ["address_hash", "at"])
    op.create_index("ix_mail_report_profile_id_at", "mail_report", ["profile_id", "at"])
    op.create_index("ix_mail_report_campaign_id_occurrence", "mail_report", ["campaign_id", "occurrence"])
    op.create_index(
        "ix_mail_report_unlinked",
        "mail_report",
        ["id"],
        postgresql_where=sa.text("profile_id IS NULL AND campaign_id IS NOT NULL"),
    )
    op.create_table(
        "mail_report_tally",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "via", "outcome", name="pk_mail_report_tally"),
    )


def downgrade() -> None:
    for table in ("mail_report_tally", "mail_report", "suppression_change"):
        op.drop_table(table)
