"""The access log: who looked at whose data. The one thing that looking writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.admin_log import Actor
from campaigns.models.accounts import AccessEntry

MAX_ENTRIES = 500


def record(
    session: Session,
    by: Actor,
    action: str,
    now: datetime,
    *,
    profile_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write that `by` looked: `action` is what at ("search", "timeline", "picture"), `detail` holds no address."""
    session.add(
        AccessEntry(
            at=now,
            user_id=by.user_id,
            actor=by.name,
            action=action,
            profile_id=profile_id,
            detail=dict(detail or {}),
            remote=by.remote,
        )
    )


def record_all(
    session: Session,
    by: Actor,
    action: str,
    now: datetime,
    profiles: Iterable[int],
    *,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write that `by` looked at each of these people, in one statement; that they looked, where nobody was shown."""
    for profile in dict.fromkeys(profiles) or [None]:
        record(session, by, action, now, profile_id=profile, detail=detail)
    session.flush()


def entries(session: Session, *, profile_id: int | None = None, limit: int = 100) -> list[AccessEntry]:
    """The newest entries first, at most 500; of one profile, or of all."""
    query = select(AccessEntry).order_by(AccessEntry.id.desc()).limit(min(limit, MAX_ENTRIES))
    if profile_id is not None:
        query = query.where(AccessEntry.profile_id == profile_id)
    return list(session.scalars(query))
