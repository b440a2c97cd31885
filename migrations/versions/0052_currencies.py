"""The installation's own currency, and what others were worth in it by day."""

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0050"
branch_labels = None
depends_on = None

WORTH = """
    CREATE FUNCTION exchange_rate_at(told text, moment timestamptz) RETURNS numeric LANGUAGE plpgsql STABLE AS $$
    DECLARE own_one text; found numeric;
    BEGIN
        IF told IS NULL THEN RETURN 1; END IF;
        SELECT currency INTO own_one FROM own_currency;
        IF own_one IS NULL OR own_one = upper(told) THEN RETURN 1; END IF;
        SELECT rate INTO found FROM exchange_rate
        WHERE own = own_one AND currency = upper(told) AND day <= (moment AT TIME ZONE 'UTC')::date
        ORDER BY day DESC LIMIT 1;
        RETURN coalesce(found, 0);
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "own_currency",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_own_currency"),
    )
    op.create_table(
        "exchange_rate",
        sa.Column("own", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("rate", sa.Numeric(16, 10), nullable=False),
        sa.PrimaryKeyConstraint("own", "currency", "day", name="pk_exchange_rate"),
    )
    op.execute(WORTH)


def downgrade() -> None:
    op.execute("DROP FUNCTION exchange_rate_at(text, timestamptz)")
    op.drop_table("exchange_rate")
    op.drop_table("own_currency")
