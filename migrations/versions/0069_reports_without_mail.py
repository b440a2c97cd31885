"""Take the other servers' words and the Message-IDs off reports that found no mail: whose they are, nobody can tell."""

from alembic import op

revision = "0069"
down_revision = "0068"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        UPDATE mail_report SET words = NULL, message_id = NULL
        WHERE profile_id IS NULL AND campaign_id IS NULL AND num_nonnulls(words, message_id) > 0
    """)


def downgrade() -> None:
    """Nothing to take back: it was nobody's any more."""
