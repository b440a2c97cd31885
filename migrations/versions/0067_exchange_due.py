"""Which orders are to be folded again after rates changed, noted until that is done."""

import sqlalchemy as sa
from alembic import op

revision = "0067"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SEQUENCE exchange_due_number")
    op.create_table(
        "exchange_due",
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default=sa.text("nextval('exchange_due_number')"), nullable=False),
        sa.PrimaryKeyConstraint("currency", name="pk_exchange_due"),
    )


def downgrade() -> None:
    op.drop_table("exchange_due")
    op.execute("DROP SEQUENCE exchange_due_number")
