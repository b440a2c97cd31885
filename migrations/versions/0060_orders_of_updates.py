"""Updates of orders that begin no order of their own are marked as such, as new ones are.

All that are there are taken for it, which is what history windows took them for; `latebind rebuild` finds the others.
"""

from alembic import op

revision = "0060"
down_revision = "0058"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE event SET void = true WHERE type = 'track' AND lower(name) = 'order updated' AND NOT void")


def downgrade() -> None:
    op.execute("UPDATE event SET void = false WHERE type = 'track' AND lower(name) = 'order updated' AND void")
