"""Getting in for the first time: on a machine of one's own, demo logins, an API key and a write key, made once.

They are kept under `var/secrets` (mode 0600), because the database holds only their hashes.
"""

from __future__ import annotations

import os
import secrets
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy.orm import Session

from base import db
from base.clock import clock_from
from base.settings import Settings
from base.vault import Vault
from campaigns import people, starting
from campaigns.admin_log import SYSTEM
from signals.sources import create_source, sender_by_key, sender_by_name

LOGINS = {"manager": "Mara Manager", "support": "Sam Support", "admin": "Ada Admin"}
"""Role → the name that pages show."""
KEY_NAME = "this machine"
SOURCE_NAME = "this machine"


class Access(msgspec.Struct):
    """What a script needs to use the system: each user has role, email and password."""

    api_key: str = ""
    write_key: str = ""
    users: list[dict[str, str]] = []


def prepare(settings: Settings) -> Access:
    """The logins and keys of this folder, made in the database where they are missing."""
    path = settings.var / "secrets" / "access.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = msgspec.json.decode(path.read_bytes(), type=Access) if path.exists() else Access()
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind up")
    try:
        with db.transaction(db.sessions(engine)) as session:
            now = clock_from(settings).now()
            starting.seed(session, now)
            access = _complete(session, kept, now)
            # Before the commit: a key that is in the database and not in the file could never be told to anybody.
            _write(path, access)
    finally:
        engine.dispose()
    return access


def _complete(session: Session, kept: Access, now: datetime) -> Access:
    known = {user.email for user in people.users(session)}
    users = []
    for role, name in LOGINS.items():
        address = f"{role}@example.com"
        login = next((user for user in kept.users if user["email"] == address), None)
        if login is None or address not in known:
            login = {"role": role, "email": address, "password": secrets.token_urlsafe(12)}
            _set_login(session, login, name, now)
        users.append(login)
    api_key, write_key = kept.api_key, kept.write_key
    if not api_key or people.read_key(session, api_key) is None:
        _, api_key = people.issue_key(session, KEY_NAME, "server", ["manager", "support", "admin"], now, SYSTEM)
    if not write_key or sender_by_key(session, write_key) is None:
        taken = sender_by_name(session, SOURCE_NAME) is not None
        _, write_key = create_source(
            session, f"{SOURCE_NAME} {secrets.token_hex(3)}" if taken else SOURCE_NAME, "server", now
        )
    return Access(api_key, write_key, users)


def _set_login(session: Session, login: dict[str, str], name: str, now: datetime) -> None:
    """Add the person, or give them the new password when they are there and their password is lost."""
    for user in people.users(session):
        if user.email == login["email"]:
            people.change_user(session, user.id, now, SYSTEM, password=login["password"])
            return
    people.create_user(session, login["email"], name, login["password"], [login["role"]], now, SYSTEM)


def _write(path: Path, access: Access) -> None:
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(access))
    draft.replace(path)
