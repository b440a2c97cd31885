"""Shops that tell of orders by webhook: their secrets, what came of their topics, and what waits for its order."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0037"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "shop_source",
        sa.Column("source_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source_id", name="pk_shop_source"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_shop_source_source_id_source"),
        sa.UniqueConstraint("hook", name="uq_shop_source_hook"),
    )
    op.create_table(
        "shop_topic",
        sa.Column("source_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("last_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "topic", "outcome", name="pk_shop_topic"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_shop_topic_source_id_source"),
    )
    op.create_table(
        "shop_waiting",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("properties", JSONB(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shop_waiting"),
        sa.UniqueConstraint("source_id", "message_id", name="uq_shop_waiting_source_id_message_id"),
    )
    op.create_index("ix_shop_waiting_source_id_order_id", "shop_waiting", ["source_id", "order_id"])


def downgrade() -> None:
    op.drop_table("shop_waiting")
    op.drop_table("shop_topic")
    op.drop_table("shop_source")
