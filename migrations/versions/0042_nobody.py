"""Profiles that are nobody of their own any more: merged into others, or erased. Few, and asked for with every rule."""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_profile_nobody", "profile", ["id"], postgresql_where="root_id <> id OR erased_at IS NOT NULL")


def downgrade() -> None:
    op.drop_index("ix_profile_nobody", "profile")
