"""Pictures of products, to be fetched or kept, and pictures that managers uploaded."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "product_picture",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("product_id", name="pk_product_picture"),
        sa.ForeignKeyConstraint(
            ["product_id"], ["product.id"], name="fk_product_picture_product_id_product", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_product_picture_due_at", "product_picture", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.execute(
        "INSERT INTO product_picture (product_id, origin, link, due_at)"
        " SELECT id, 'feed', image_link, now() FROM product WHERE image_link IS NOT NULL"
    )
    op.create_table(
        "picture",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("focus_x", sa.Float(), server_default="0.5", nullable=False),
        sa.Column("focus_y", sa.Float(), server_default="0.5", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_picture"),
        sa.UniqueConstraint("digest", name="uq_picture_digest"),
    )


def downgrade() -> None:
    op.drop_table("picture")
    op.drop_table("product_picture")
