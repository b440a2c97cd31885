"""Updates of orders that begin no order of their own are marked as such, as new ones are.

All that are there are taken for it, which is what history windows took them for; `latebind rebuild` finds the others.
"""

from alembic import op

from migrations import traffic

revision = "0060"
down_revision = "0058"
branch_labels = None
depends_on = None

UPDATES = """
    UPDATE event SET void = true WHERE id > :after AND id <= :upto
        AND type = 'track' AND lower(name) = 'order updated' AND NOT void
"""


def upgrade() -> None:
    traffic.fill("event", UPDATES)


def downgrade() -> None:
    op.execute("UPDATE event SET void = false WHERE type = 'track' AND lower(name) = 'order updated' AND void")
