"""Decisions and fetches by their moment: what operators watch looks at minutes of months."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("decision", "fetch")


def upgrade() -> None:
    for table in TABLES:
        op.create_index(f"{table}_at", table, ["at"], postgresql_using="brin")


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"{table}_at", table_name=table)
