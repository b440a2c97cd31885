"""How large each segment was, a count a day."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "segment_size",
        sa.Column("segment_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"], ["segment.id"], name="fk_segment_size_segment_id_segment", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("segment_id", "day", name="pk_segment_size"),
    )


def downgrade() -> None:
    op.drop_table("segment_size")
