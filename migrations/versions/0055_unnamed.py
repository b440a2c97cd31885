"""Take the numbers of erased people off what a recorder kept of them while they were being erased."""

from alembic import op

revision = "0055"
down_revision = "0053"
branch_labels = None
depends_on = None

_KEPT = ("decision", "fetch", "click", "outcome", "mail_consent")


def upgrade() -> None:
    for table in _KEPT:
        op.execute(f"""
            UPDATE "{table}" SET profile_id = NULL
            FROM profile WHERE profile.id = "{table}".profile_id AND profile.erased_at IS NOT NULL
        """)  # noqa: S608 - the names are those above


def downgrade() -> None:
    """Nothing to take back: who was erased stays so."""
