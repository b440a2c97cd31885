"""What holds a campaign back until it is right: scenarios, approval, locks, and changes that count from a moment.

With it come the raw events of consent by mail, and people who are made up for tests.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scenario",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("told", JSONB(), server_default="[]", nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scenario"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_scenario_campaign_id_campaign"),
    )
    op.create_index("scenario_name", "scenario", ["campaign_id", "name"], unique=True)
    op.create_table(
        "approval",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_id", sa.Integer(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("settled_id", sa.Integer(), nullable=True),
        sa.Column("settled_note", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approval"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_approval_campaign_id_campaign"),
        sa.ForeignKeyConstraint(["asked_id"], ["user_account.id"], name="fk_approval_asked_id_user_account"),
        sa.ForeignKeyConstraint(["settled_id"], ["user_account.id"], name="fk_approval_settled_id_user_account"),
    )
    op.create_index("approval_campaign", "approval", ["campaign_id", "id"])
    op.create_index(
        "approval_asked", "approval", ["campaign_id"], unique=True, postgresql_where=sa.text("state = 'asked'")
    )
    op.create_index(
        "approval_standing", "approval", ["campaign_id"], unique=True, postgresql_where=sa.text("state = 'approved'")
    )
    op.create_table(
        "approval_rule",
        sa.Column("brand", sa.Text(), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("brand", name="pk_approval_rule"),
    )
    op.create_table(
        "mail_consent",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("occurrence", sa.BigInteger(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mail_consent"),
    )
    op.create_index("mail_consent_campaign", "mail_consent", ["campaign_id", "occurrence", "at"])
    op.create_index("mail_consent_profile", "mail_consent", ["profile_id"])
    op.add_column("campaign", sa.Column("ends_on_purchase", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("profile", sa.Column("made_up", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("campaign", sa.Column("locked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("campaign", sa.Column("locked_by", sa.Text(), nullable=True))
    op.add_column("campaign", sa.Column("next_plan_hash", sa.Text(), nullable=True))
    op.add_column("campaign", sa.Column("next_plan_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("plan", sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("plan", "starts_at")
    for column in ("ends_on_purchase", "next_plan_at", "next_plan_hash", "locked_by", "locked_at"):
        op.drop_column("campaign", column)
    op.drop_column("profile", "made_up")
    op.drop_table("mail_consent")
    op.drop_table("approval_rule")
    op.drop_table("approval")
    op.drop_table("scenario")
