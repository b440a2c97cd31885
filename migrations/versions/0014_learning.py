"""Models on trial: their moves, what they would have shown, what the gate said, drift, and trainings by schedule."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("canary_hash", sa.Text(), nullable=True))
    op.add_column("campaign", sa.Column("canary_share", sa.Float(), nullable=True))
    op.add_column("campaign", sa.Column("shadow_hash", sa.Text(), nullable=True))
    op.add_column("model", sa.Column("definitions", JSONB(), server_default="{}", nullable=False))
    op.add_column("model", sa.Column("reference", JSONB(), server_default="{}", nullable=False))
    op.create_table(
        "model_move",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("model_hash", sa.Text(), nullable=True),
        sa.Column("before_hash", sa.Text(), nullable=True),
        sa.Column("share", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("overridden", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("verdict", JSONB(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_model_move_campaign_id_campaign"),
        sa.PrimaryKeyConstraint("id", name="pk_model_move"),
    )
    op.create_index("model_move_campaign", "model_move", ["campaign_id", "id"])
    op.create_index("model_move_model", "model_move", ["model_hash", "id"])
    op.create_table(
        "model_shadow",
        sa.Column("model_hash", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("slots", JSONB(), nullable=False),
        sa.Column("differs", sa.Boolean(), nullable=False),
        sa.Column("logged", sa.Float(), nullable=False),
        sa.Column("chance", sa.Float(), nullable=False),
        sa.Column("unsupported", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("model_hash", "decision_id", name="pk_model_shadow"),
    )
    op.create_index("model_shadow_campaign", "model_shadow", ["campaign_id", "model_hash", "at"])
    op.create_index("model_shadow_at", "model_shadow", ["at"], postgresql_using="brin")
    op.create_table(
        "model_verdict",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("model_hash", sa.Text(), nullable=False),
        sa.Column("against", sa.Text(), nullable=True),
        sa.Column("passes", sa.Boolean(), nullable=False),
        sa.Column("document", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_verdict"),
    )
    op.create_index("model_verdict_newest", "model_verdict", ["campaign_id", "model_hash", "id"])
    op.create_table(
        "model_drift",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_hash", sa.Text(), nullable=False),
        sa.Column("document", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_drift"),
    )
    op.create_index("model_drift_newest", "model_drift", ["model_hash", "id"])
    op.create_table(
        "training_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("model_hash", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_training_run"),
    )
    op.create_index(
        "training_run_alone", "training_run", ["state"], unique=True, postgresql_where=sa.text("state = 'running'")
    )


def downgrade() -> None:
    for table in ("training_run", "model_drift", "model_verdict", "model_shadow", "model_move"):
        op.drop_table(table)
    for column in ("definitions", "reference"):
        op.drop_column("model", column)
    for column in ("shadow_hash", "canary_share", "canary_hash"):
        op.drop_column("campaign", column)
