"""API keys where an open looks for them: `key:<id>` in the hot store, written after the commit that issued the key.

The database is the truth. Should the store be away at that moment, `refresh` writes or removes the key a little later.
"""

from __future__ import annotations

from typing import Final

from redis import RedisError
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from base import keys
from base.logs import logger
from base.stores import Store, ask_each
from campaigns.models.accounts import ApiKey
from render.access import KeyFacts, encode_key

MAX_KEYS: Final = 10_000
"""Keys that are looked after, the newest first."""


def announce(session: Session, store: Store, key: ApiKey) -> None:
    """Once this session's transaction is committed, let opens know the key, or that it is revoked."""

    def committed(_session: Session) -> None:
        try:
            _write(store, key)
        except RedisError as error:
            logger(__name__).warning("key not written, the schedule loop will", error=type(error).__name__)

    event.listen(session, "after_commit", committed, once=True)


def refresh(session: Session, store: Store) -> int:
    """Write every key that differs from the database and remove the revoked ones; how many. Raises RedisError."""
    rows = list(session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id).limit(MAX_KEYS)))
    if not rows:
        return 0
    held = ask_each(store, [keys.api_key(row.id) for row in rows], lambda pipe, name: pipe.get(name))
    stale = [row for row in rows if held.get(keys.api_key(row.id), _wanted(row)) != _wanted(row)]
    for row in stale:
        _write(store, row)
    return len(stale)


def _wanted(key: ApiKey) -> bytes | None:
    if key.revoked_at is not None:
        return None
    origins = tuple(key.origins)
    return encode_key(KeyFacts("server" if key.kind == "server" else "site", key.secret_hash, origins))


def _write(store: Store, key: ApiKey) -> None:
    data = _wanted(key)
    if data is None:
        store.delete(keys.api_key(key.id))
    else:
        store.set(keys.api_key(key.id), data)
