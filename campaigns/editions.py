"""Two people on one form: it says what it was made from, so that nobody undoes unseen what somebody saved meanwhile.

A program may do as forms do: it is told the edition as ETag, and names it in If-Match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from flask import request
from flask_login import current_user
from sqlalchemy.orm import Session

from base.db import Model
from base.errors import LatebindError
from campaigns import admin_log, people

FIELD = "edition"
"""The hidden field that tells it."""


class Stale(LatebindError):
    """The form was made from something else than is kept now, which is of `edition`; `who` saved it `at` some time."""

    def __init__(self, edition: str, who: str, at: datetime | None) -> None:
        super().__init__(f"{who} saved this after the form was loaded.")
        self.edition = edition
        self.who = who
        self.at = at


class Outdated(LatebindError):
    """A program's change was made from another edition than is kept now."""

    def __init__(self) -> None:
        super().__init__("This was changed since: read it again, and make the change anew of what it is now.")


def of(*shown: Any) -> str:
    """The mark of what a form shows: the same for the same contents, of whatever JSON can tell."""
    plain = _utc(msgspec.to_builtins(shown, enc_hook=str, builtin_types=(datetime,), order="sorted"))
    return hashlib.sha256(msgspec.json.encode(plain)).hexdigest()[:16]


def _utc(value: Any) -> Any:
    """Moments as the database tells them, however they were given."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo is not None else value
    if isinstance(value, dict):
        return {name: _utc(one) for name, one in value.items()}
    return [_utc(one) for one in value] if isinstance(value, list | tuple) else value


def check(session: Session, row: Model, kind: str, mark: Callable[[], str]) -> None:
    """Hold the row to the end of the transaction; raises Stale where the form was made from something else.

    `mark` tells what is kept now, `kind` and the row's id whose log says who saved it.
    """
    given = request.form.get(FIELD)
    if not given:
        return
    session.refresh(row, with_for_update=True)
    kept = mark()
    if given == kept:
        return
    newest = next(iter(admin_log.entries(session, object_type=kind, object_id=row.id, limit=1)), None)  # type: ignore[attr-defined]
    who, at = "Somebody", None
    if newest is not None:
        own = newest.user_id is not None and newest.user_id == current_user.id
        who, at = "You" if own else people.name_of(session, newest.user_id, newest.actor), newest.at
    raise Stale(kept, who, at)


def require(session: Session, row: Model, mark: Callable[[], str]) -> None:
    """Hold the row as `check` does; raises Outdated where the request's If-Match does not name what is kept now."""
    if "If-Match" not in request.headers:
        return
    session.refresh(row, with_for_update=True)
    # Weak ones too: a proxy that compresses answers weakens their tags.
    if not request.if_match.star_tag and not request.if_match.contains_weak(mark()):
        raise Outdated
