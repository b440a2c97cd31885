"""Hashes of contents are keyed, and with them the names of calls that came without one: a dump without the key tells
nobody whether a call said this or that. Tables are written anew, so that no old hash stays in their files.
"""

from alembic import context, op
from sqlalchemy import text

from base.errors import SettingError
from signals.signal import content_key

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

BLOCK = 64
"""Bytes of a block of SHA-256, to which HMAC fills up its key (RFC 2104)."""
PADS = {"latebind.inner": 0x36, "latebind.outer": 0x5C}

KEYED = """
    CREATE FUNCTION pg_temp.keyed(content bytea) RETURNS bytea LANGUAGE sql STABLE AS $do$
        SELECT sha256(decode(current_setting('latebind.outer'), 'hex')
                      || sha256(decode(current_setting('latebind.inner'), 'hex') || content))
    $do$
"""
NAMED = """
    CREATE FUNCTION pg_temp.named(message_id text, content_hash bytea) RETURNS text LANGUAGE sql STABLE AS $do$
        SELECT CASE
            WHEN message_id = 'content-' || left(encode(content_hash, 'hex'), 32)
                THEN 'content-' || left(encode(pg_temp.keyed(content_hash), 'hex'), 32)
            -- What a shop said of a buyer ends in eight letters of a hash of it.
            WHEN message_id ~ '^(shopify|woocommerce)-(order-.*-buyer|customer)-.*-[0-9a-f]{8}$'
                THEN left(message_id, -8) || left(encode(pg_temp.keyed(convert_to(message_id, 'UTF8')), 'hex'), 8)
            ELSE message_id
        END
    $do$
"""
FOLLOW = """
    UPDATE {table} t SET message_id = pg_temp.named(e.message_id, e.content_hash) FROM event e
    WHERE e.message_id = t.message_id AND pg_temp.named(e.message_id, e.content_hash) <> e.message_id
"""
ANEW = """
    ALTER TABLE {table} ALTER message_id TYPE text USING pg_temp.named(message_id, content_hash),
        ALTER content_hash TYPE bytea USING pg_temp.keyed(content_hash)
"""


def upgrade() -> None:
    if op.get_bind().scalar(text("SELECT NOT EXISTS (SELECT FROM event) AND NOT EXISTS (SELECT FROM event_conflict)")):
        return
    hash_key: bytes = context.config.attributes["hash_key"]
    if not hash_key:
        raise SettingError("LATEBIND_HASH_KEY", "must be set")
    key = content_key(hash_key).ljust(BLOCK, b"\0")
    for name, pad in PADS.items():
        padded = bytes(byte ^ pad for byte in key).hex()
        op.get_bind().execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": padded})
    op.execute(KEYED)
    op.execute(NAMED)
    for table in ("household_claim", "profile_link"):
        op.execute(FOLLOW.format(table=table))
    for table in ("event", "event_conflict"):
        op.execute(ANEW.format(table=table))
        op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    raise NotImplementedError("what a hash was made of is not known from it")
