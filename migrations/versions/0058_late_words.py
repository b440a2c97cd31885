"""Let queries that ask for rates run in parallel; find who was erased lately; forget orders of the erased."""

import sqlalchemy as sa
from alembic import op

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER FUNCTION exchange_rate_at(text, timestamptz) PARALLEL SAFE")
    op.create_index("ix_profile_erased_at", "profile", ["erased_at"], postgresql_where=sa.text("erased_at IS NOT NULL"))
    op.execute("UPDATE outcome SET order_id = NULL WHERE profile_id IS NULL AND order_id IS NOT NULL")


def downgrade() -> None:
    op.drop_index("ix_profile_erased_at", "profile")
    op.execute("ALTER FUNCTION exchange_rate_at(text, timestamptz) PARALLEL UNSAFE")
