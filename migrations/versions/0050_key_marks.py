"""Marks of the keys of which an installation has one, the hash key and the record key: the next start leaves them."""

from alembic import op

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE key_mark (name TEXT NOT NULL, mark BYTEA NOT NULL, since timestamptz NOT NULL,"
        " CONSTRAINT pk_key_mark PRIMARY KEY (name))"
    )


def downgrade() -> None:
    op.execute("DROP TABLE key_mark")
