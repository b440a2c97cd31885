"""Take off what mails brought back of erased people: keyed hashes of their addresses, Message-IDs, servers' words."""

from alembic import op

revision = "0066"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        UPDATE delivery d SET reply = NULL, test_address = NULL, address_hash = NULL, message_id = NULL
        FROM profile p WHERE p.id = d.profile_id AND p.erased_at IS NOT NULL AND NOT p.erasing
          AND num_nonnulls(d.reply, d.test_address, d.address_hash, d.message_id) > 0
    """)
    op.execute("""
        UPDATE delivery_retry r SET reply = NULL FROM delivery d JOIN profile p ON p.id = d.profile_id
        WHERE r.delivery_id = d.id AND r.reply IS NOT NULL AND p.erased_at IS NOT NULL AND NOT p.erasing
    """)
    op.execute("""
        UPDATE mail_report r SET words = NULL, address_hash = NULL, message_id = NULL
        FROM profile p WHERE p.id = r.profile_id AND p.erased_at IS NOT NULL
          AND num_nonnulls(r.words, r.address_hash, r.message_id) > 0
    """)
    op.execute("""
        UPDATE suppression_change c SET evidence = NULL
        WHERE evidence IS NOT NULL AND NOT EXISTS (
            SELECT FROM identifier n WHERE n.type IN ('email', 'phone') AND n.value_hash = c.address_hash
        )
    """)


def downgrade() -> None:
    """Nothing to take back: who was erased stays so."""
