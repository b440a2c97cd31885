"""People who sign in, keys for programs, and sources of signals. For admins."""

from __future__ import annotations

from typing import Literal

import msgspec

from campaigns import people
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.models.accounts import User as UserRow
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.sources import create_source

Role = Literal["manager", "support", "admin"]


class UserIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who may sign in."""

    email: str
    name: str
    password: str
    roles: list[Role]


class UserOut(msgspec.Struct, frozen=True):
    """Somebody who may sign in, without the password."""

    id: int
    email: str
    name: str
    roles: list[str]
    active: bool


class Users(msgspec.Struct, frozen=True):
    """Everybody who may or might sign in."""

    users: list[UserOut]


class KeyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key for a program (server), or for a web page (site, with the origins it may be used from)."""

    name: str
    kind: Literal["server", "site"] = "server"
    roles: list[Role] = []
    origins: list[str] = []


class KeyOut(msgspec.Struct, frozen=True):
    """A new key; `key` is told this once."""

    id: str
    key: str


class SourceIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sender of signals: a server's word counts in full, a browser's only for what browsers see."""

    name: str
    kind: Literal["server", "browser"]
    origins: list[str] = []


class SourceOut(msgspec.Struct, frozen=True):
    """A new source; `write_key` is told this once."""

    id: int
    write_key: str


def _user_out(row: UserRow) -> UserOut:
    return UserOut(row.id, row.email, row.name, list(row.roles), row.active)


@api.get("/users")
@allow("admin")
@served(200, Users, "people")
def list_users() -> Users:
    """Everybody."""
    with parts().transaction() as session:
        return Users([_user_out(row) for row in people.users(session)])


@api.post("/users")
@allow("admin")
@served(201, UserOut, "people", 409)
def create_user(json: UserIn) -> tuple[UserOut, int]:
    """Add somebody."""
    with parts().transaction() as session:
        row = people.create_user(session, json.email, json.name, json.password, json.roles, parts().now(), actor())
        return _user_out(row), 201


@api.post("/keys")
@allow("admin")
@served(201, KeyOut, "people")
def create_key(json: KeyIn) -> tuple[KeyOut, int]:
    """Make a key; its text is told this once and kept nowhere."""
    with parts().transaction() as session:
        row, text = people.issue_key(
            session, json.name, json.kind, json.roles, parts().now(), actor(), origins=json.origins
        )
        return KeyOut(row.id, text), 201


@api.delete("/keys/<key_id>")
@allow("admin")
@served(200, Done, "people", 404)
def revoke_key(key_id: str) -> Done:
    """End a key at once."""
    with parts().transaction() as session:
        people.revoke_key(session, key_id, parts().now(), actor())
    return Done()


@api.post("/sources")
@allow("admin")
@served(201, SourceOut, "people")
def add_source(json: SourceIn) -> tuple[SourceOut, int]:
    """Add a source of signals; its write key is told this once."""
    with parts().transaction() as session:
        row, key = create_source(session, json.name, json.kind, parts().now(), origins=json.origins)
        return SourceOut(row.id, key), 201
