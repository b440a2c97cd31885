"""The number of the newest batch in the row of the installation, where it is set back with all else that is."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance", sa.Column("mark", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("instance", sa.Column("set_back", sa.Boolean(), server_default="false", nullable=False))
    op.execute("UPDATE instance SET mark = (SELECT last_value FROM instance_mark)")
    op.execute("DROP SEQUENCE instance_mark")


def downgrade() -> None:
    op.execute("CREATE SEQUENCE instance_mark")
    op.execute("SELECT setval('instance_mark', greatest(mark, 1)) FROM instance")
    op.drop_column("instance", "set_back")
    op.drop_column("instance", "mark")
