"""The admin log: who changed what, when and from where. Every function that changes something writes its own entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from base.db import Model
from campaigns.models.accounts import AdminEntry

KEY = "api key "
"""What goes before the number of a key in the name of who acts."""
MAX_ENTRIES = 500
_HIDDEN = {"password", "secret_hash", "test_address", "arms_key", "sealed"}
_TEXT = 2_000


@dataclass(frozen=True)
class Actor:
    """Who acts: `name` is "user" with a `user_id`, "api key <id>", or "system"; `remote` is the network address."""

    name: str
    user_id: int | None = None
    remote: str | None = None


SYSTEM = Actor("system")


def snapshot(row: Model) -> dict[str, Any]:
    """A row's columns as plain JSON values, without secrets; long texts are cut."""
    mapper = inspect(type(row))
    names = [attribute.key for attribute in mapper.column_attrs if attribute.key not in _HIDDEN]
    return {name: _plain(getattr(row, name)) for name in names}


def record(
    session: Session,
    by: Actor,
    action: str,
    object_type: str,
    object_id: object,
    now: datetime,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one entry. Of two snapshots only what differs is kept."""
    if before is not None and after is not None:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)} - {"updated_at"}
        before = {name: before.get(name) for name in sorted(changed)}
        after = {name: after.get(name) for name in sorted(changed)}
    session.add(
        AdminEntry(
            at=now,
            user_id=by.user_id,
            actor=by.name,
            action=action,
            object_type=object_type,
            object_id=str(object_id),
            before=None if before is None else dict(before),
            after=None if after is None else dict(after),
            remote=by.remote,
        )
    )


def entries(
    session: Session,
    *,
    object_type: str | None = None,
    object_id: object | None = None,
    before_id: int | None = None,
    limit: int = 100,
) -> list[AdminEntry]:
    """The newest entries first, at most 500; `before_id` pages on."""
    query = select(AdminEntry).order_by(AdminEntry.id.desc()).limit(min(limit, MAX_ENTRIES))
    if object_type is not None:
        query = query.where(AdminEntry.object_type == object_type)
    if object_id is not None:
        query = query.where(AdminEntry.object_id == str(object_id))
    if before_id is not None:
        query = query.where(AdminEntry.id < before_id)
    return list(session.scalars(query))


def _plain(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case str():
            return value if len(value) <= _TEXT else value[:_TEXT] + "…"
        case _:
            return value
