"""People who sign in, keys for programs, and sources of signals. For admins."""

from __future__ import annotations

from typing import Literal

import msgspec

from campaigns import keyring, people
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.models.accounts import ApiKey
from campaigns.models.accounts import User as UserRow
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.sources import Source, sources

Role = Literal["manager", "approver", "support", "admin"]


class UserIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who may sign in."""

    email: str
    name: str
    password: str
    roles: list[Role]


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of somebody is to change; what is null or absent stays."""

    name: str | None = None
    roles: list[Role] | None = None
    active: bool | None = None
    timezone: str | None = None
    password: str | None = None


class UserOut(msgspec.Struct, frozen=True):
    """Somebody who may sign in, without the password."""

    id: int
    email: str
    name: str
    roles: list[str]
    active: bool
    timezone: str


class Users(msgspec.Struct, frozen=True):
    """Everybody who may or might sign in."""

    users: list[UserOut]


class KeyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key for a program (server), or for a web page (site, with the origins it may be used from)."""

    name: str
    kind: Literal["server", "site"] = "server"
    roles: list[Role] = []
    origins: list[str] = []


class NewKey(msgspec.Struct, frozen=True):
    """A new key; `key` is told this once."""

    id: str
    key: str


class KeyOut(msgspec.Struct, frozen=True):
    """A key without its secret."""

    id: str
    name: str
    kind: str
    roles: list[str]
    origins: list[str]
    created_at: str
    revoked_at: str | None


class Keys(msgspec.Struct, frozen=True):
    """All keys, the newest first, the revoked ones too."""

    keys: list[KeyOut]


class SourceIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sender of signals: a server's word counts in full, a browser's only for what browsers see."""

    name: str
    kind: Literal["server", "browser"]
    origins: list[str] = []


class NewSource(msgspec.Struct, frozen=True):
    """A new source; `write_key` is told this once."""

    id: int
    write_key: str


class SourceOut(msgspec.Struct, frozen=True):
    """A source without its write key."""

    id: int
    name: str
    kind: str
    origins: list[str]
    created_at: str
    disabled_at: str | None


class Sources(msgspec.Struct, frozen=True):
    """All sources with a write key, by name, the disabled ones too."""

    sources: list[SourceOut]


def _user_out(row: UserRow) -> UserOut:
    return UserOut(row.id, row.email, row.name, list(row.roles), row.active, row.timezone)


def _key_out(row: ApiKey) -> KeyOut:
    revoked = row.revoked_at.isoformat() if row.revoked_at else None
    return KeyOut(row.id, row.name, row.kind, row.roles, row.origins, row.created_at.isoformat(), revoked)


def _source_out(row: Source) -> SourceOut:
    disabled = row.disabled_at.isoformat() if row.disabled_at else None
    return SourceOut(row.id, row.name, row.kind, row.origins, row.created_at.isoformat(), disabled)


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


@api.patch("/users/<int:user_id>")
@allow("admin")
@served(200, UserOut, "people", 404, 409)
def change_user(user_id: int, json: UserChange) -> UserOut:
    """Change somebody's name, roles, time zone or password, or let them in no more."""
    changes = {name: getattr(json, name) for name in UserChange.__struct_fields__}
    with parts().transaction() as session:
        return _user_out(people.change_user(session, user_id, parts().now(), actor(), **changes))


@api.get("/keys")
@allow("admin")
@served(200, Keys, "people")
def list_keys() -> Keys:
    """All keys, without their secrets."""
    with parts().transaction() as session:
        return Keys([_key_out(row) for row in people.keys(session)])


@api.post("/keys")
@allow("admin")
@served(201, NewKey, "people")
def create_key(json: KeyIn) -> tuple[NewKey, int]:
    """Make a key; its text is told this once and kept nowhere."""
    with parts().transaction() as session:
        row, text = people.issue_key(
            session, json.name, json.kind, json.roles, parts().now(), actor(), origins=json.origins
        )
        keyring.announce(session, parts().store, row)
        return NewKey(row.id, text), 201


@api.delete("/keys/<key_id>")
@allow("admin")
@served(200, Done, "people", 404)
def revoke_key(key_id: str) -> Done:
    """End a key: here at once, at opens within a second."""
    with parts().transaction() as session:
        keyring.announce(session, parts().store, people.revoke_key(session, key_id, parts().now(), actor()))
    return Done()


@api.get("/sources")
@allow("admin")
@served(200, Sources, "people")
def list_sources() -> Sources:
    """All sources of signals, without their write keys."""
    with parts().transaction() as session:
        return Sources([_source_out(row) for row in sources(session)])


@api.post("/sources")
@allow("admin")
@served(201, NewSource, "people")
def add_source(json: SourceIn) -> tuple[NewSource, int]:
    """Add a source of signals; its write key is told this once."""
    with parts().transaction() as session:
        row, key = people.add_source(session, json.name, json.kind, json.origins, parts().now(), actor())
        return NewSource(row.id, key), 201


@api.delete("/sources/<int:source_id>")
@allow("admin")
@served(200, Done, "people", 404)
def end_source(source_id: int) -> Done:
    """Take no more signals by a source's write key, within a second; what it told stays."""
    with parts().transaction() as session:
        people.end_source(session, source_id, parts().now(), actor())
    return Done()
