"""States are of persons alone, so that rules need not ask who was merged or erased; others, if any, go."""

from alembic import op

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("ix_profile_nobody", "profile", if_exists=True, postgresql_concurrently=True)
    op.execute(
        "DELETE FROM profile_state s USING profile p"
        " WHERE p.id = s.profile_id AND (p.root_id <> p.id OR p.erased_at IS NOT NULL)"
    )


def downgrade() -> None:
    op.create_index("ix_profile_nobody", "profile", ["id"], postgresql_where="root_id <> id OR erased_at IS NOT NULL")
