"""The chain: hashes of records and of log entries in the order in which they were kept, each tied to the one before."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

RECORDS = ("decision", "fetch", "click")
# As campaigns/chain.py has it: a log's entry is written by the product, by its programs and by hand alike.
LOGS = {
    "admin_log": "id, extract(epoch FROM at), user_id, actor, action, object_type, object_id, before, after, remote",
    "access_log": "id, extract(epoch FROM at), user_id, actor, action, profile_id, detail, remote",
}


def upgrade() -> None:
    op.create_table(
        "unchained",
        sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Text(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_unchained"),
    )
    op.create_table(
        "chain_entry",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_chain_entry"),
    )
    op.create_index("ix_chain_entry_at", "chain_entry", ["at"])
    for table in RECORDS:
        personal = "sha256(coalesce(personal, ''))" if table == "decision" else "sha256('')"
        op.execute(
            f"INSERT INTO unchained (kind, row_id, leaf) SELECT '{table}', id, sha256(public || {personal})"  # noqa: S608
            f' FROM "{table}" ORDER BY at, id'
        )
    for table, columns in LOGS.items():
        leaf = f"sha256(convert_to(jsonb_build_array({columns})::text, 'UTF8'))"
        told = f"INSERT INTO unchained (kind, row_id, leaf) SELECT '{table}', id::text, {leaf}"
        op.execute(f"{told} FROM {table} ORDER BY id")
        op.execute(
            f"CREATE FUNCTION chain_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" {told} FROM added ORDER BY id; RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_chained AFTER INSERT ON {table} REFERENCING NEW TABLE AS added"
            f" FOR EACH STATEMENT EXECUTE FUNCTION chain_{table}()"
        )


def downgrade() -> None:
    for table in LOGS:
        op.execute(f"DROP TRIGGER {table}_chained ON {table}")
        op.execute(f"DROP FUNCTION chain_{table}()")
    op.drop_table("chain_entry")
    op.drop_table("unchained")
