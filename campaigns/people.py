"""Who may sign in, as what, the keys programs use, and the sources of signals.

Passwords are kept as argon2id hashes, keys as SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, NotFound
from campaigns import admin_log, wallclock
from campaigns.admin_log import KEY, Actor
from campaigns.models.accounts import ROLES, ApiKey, SignIn, User
from signals import trackingplan
from signals.sources import KINDS as SOURCE_KINDS
from signals.sources import Source, create_source, disable_source
from signals.trackingplan import Definition, PlannedEvent

PASSWORD_LENGTH = 10
MAX_PASSWORD = 200
KEY_KINDS = ("server", "site")
MAX_ORIGINS = 20
TOKEN_BYTES = 18
MAX_BROWSERS = 50
LASTING = timedelta(days=90)
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
_HASHER = PasswordHasher()
# Verified against when nobody has the address, so that a guess at an address takes as long as one at a password. It is
# the hash of a word that was thrown away: as a constant, no start of a process pays for it.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$lq36lvAoLBj8Y/b8TYDynA$H0ZaFEiQ89zqpZU768Z8DZMEOrwvO+JpQG8+G6cv/WI"


def create_user(
    session: Session, email: str, name: str, password: str, roles: Sequence[str], now: datetime, by: Actor
) -> User:
    """Add somebody who may sign in. Raises InvalidInput for a field, Conflict when the address is taken."""
    address = _address(email)
    if not name.strip():
        raise InvalidInput("name", "must not be empty")
    if session.scalar(select(User.id).where(User.email == address)) is not None:
        raise Conflict("Somebody with this address is there already.")
    user = User(
        email=address, name=name.strip(), password=_hashed(password), roles=_roles(roles), created_at=now, active=True
    )
    session.add(user)
    session.flush()
    admin_log.record(session, by, "create", "user", user.id, now, after=admin_log.snapshot(user))
    return user


def authenticate(session: Session, email: str, password: str, now: datetime) -> User | None:
    """Who signs in with this, or None. Takes as long for an unknown address as for a wrong password."""
    user = session.scalar(select(User).where(User.email == email.strip().lower(), User.active))
    try:
        _HASHER.verify(user.password if user else _NOBODY, password[:MAX_PASSWORD])
    except (VerificationError, InvalidHashError):
        return None
    if user is not None:
        if _HASHER.check_needs_rehash(user.password):
            user.password = _HASHER.hash(password)
        user.signed_in_at = now
    return user


def sign_in(session: Session, user: User, now: datetime) -> str:
    """Keep that somebody signed in; the word by which their browser goes until they sign out, at most LASTING.

    Of more than MAX_BROWSERS the oldest ends.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.execute(delete(SignIn).where(SignIn.at < now - LASTING))
    kept = select(SignIn.token_hash).where(SignIn.user_id == user.id).order_by(SignIn.at.desc()).limit(MAX_BROWSERS - 1)
    session.execute(delete(SignIn).where(SignIn.user_id == user.id, SignIn.token_hash.not_in(kept)))
    session.add(SignIn(token_hash=_hash(token), user_id=user.id, at=now))
    return token


def signed_in(session: Session, user_id: int, token: str, now: datetime) -> User | None:
    """Who goes by this word, if they are still signed in with it."""
    found = select(User).join(SignIn, SignIn.user_id == User.id)
    return session.scalar(
        found.where(SignIn.token_hash == _hash(token), SignIn.at >= now - LASTING, User.id == user_id, User.active)
    )


def sign_out(session: Session, token: str) -> None:
    """End what a browser was signed in with, wherever else its cookie was taken."""
    session.execute(delete(SignIn).where(SignIn.token_hash == _hash(token)))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def user(session: Session, user_id: int) -> User:
    """One person. Raises NotFound."""
    found = session.get(User, user_id)
    if found is None:
        raise NotFound("user", user_id)
    return found


def users(session: Session) -> list[User]:
    """Everybody who may or might sign in, by name."""
    return list(session.scalars(select(User).order_by(User.name, User.id)))


def change_user(
    session: Session,
    user_id: int,
    now: datetime,
    by: Actor,
    *,
    name: str | None = None,
    roles: Sequence[str] | None = None,
    active: bool | None = None,
    timezone: str | None = None,
    password: str | None = None,
) -> User:
    """Change what is given. Raises Conflict if no active admin would be left."""
    found = user(session, user_id)
    before = admin_log.snapshot(found)
    if name is not None:
        if not name.strip():
            raise InvalidInput("name", "must not be empty")
        found.name = name.strip()
    if roles is not None:
        found.roles = _roles(roles)
    if active is not None:
        found.active = active
        if not active:  # Letting them in again is to bring no browser back.
            session.execute(delete(SignIn).where(SignIn.user_id == user_id))
    if timezone is not None:
        found.timezone = wallclock.zone(timezone, "timezone")
    if password is not None:
        found.password = _hashed(password)
    session.flush()
    admins = select(func.count()).select_from(User).where(User.active, User.roles.contains(["admin"]))
    if "admin" in before["roles"] and before["active"] and not session.scalar(admins):
        raise Conflict("This is the last active admin.")
    after = admin_log.snapshot(found)
    if password is not None:
        after["password"] = "changed"  # noqa: S105 - the word, not the thing
    admin_log.record(session, by, "change", "user", user_id, now, before=before, after=after)
    return found


def may(user: User, *roles: str) -> bool:
    """Whether somebody has one of these roles; admins have all."""
    return user.active and ("admin" in user.roles or any(role in user.roles for role in roles))


def issue_key(
    session: Session,
    name: str,
    kind: str,
    roles: Sequence[str],
    now: datetime,
    by: Actor,
    origins: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """A new key and its text, which is shown once and kept nowhere. A site key is public and names its origins."""
    if kind not in KEY_KINDS:
        raise InvalidInput("kind", f"must be one of {', '.join(KEY_KINDS)}")
    if not name.strip():
        raise InvalidInput("name", "must not be empty")
    if kind == "site":
        origins = [_origin(text) for text in origins]
        if not 0 < len(origins) <= MAX_ORIGINS:
            raise InvalidInput("origins", f"a site key needs the origins it may be used from, 1 to {MAX_ORIGINS}")
    key_id, secret = f"lb{secrets.token_hex(6)}", secrets.token_urlsafe(32)
    key = ApiKey(
        id=key_id,
        name=name.strip(),
        kind=kind,
        secret_hash=_secret_hash(secret),
        roles=_roles(roles) if roles else [],
        origins=list(origins),
        created_by=by.user_id,
        created_at=now,
    )
    session.add(key)
    session.flush()
    admin_log.record(session, by, "issue", "api key", key_id, now, after=admin_log.snapshot(key))
    return key, f"{key_id}.{secret}"


def read_key(session: Session, text: str) -> ApiKey | None:
    """The key that this text is, if it is one of ours and not revoked."""
    key_id, _, secret = text.partition(".")
    key = session.get(ApiKey, key_id) if len(text) <= 200 else None
    if key is None or key.revoked_at is not None:
        return None
    return key if hmac.compare_digest(key.secret_hash, _secret_hash(secret)) else None


def revoke_key(session: Session, key_id: str, now: datetime, by: Actor) -> ApiKey:
    """End a key and return its row. Raises NotFound."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound("API key", key_id)
    key.revoked_at = key.revoked_at or now
    admin_log.record(session, by, "revoke", "api key", key_id, now)
    return key


def keys(session: Session) -> list[ApiKey]:
    """All keys, the newest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)))


def key_names(session: Session) -> dict[str, str]:
    """What each key is called, by what logs and rows keep of who acted; the keys that were revoked too."""
    return {f"{KEY}{row.id}": f"key “{row.name}”" for row in session.execute(select(ApiKey.id, ApiKey.name))}


def names(session: Session) -> dict[int | str, str]:
    """What everybody is called who ever acted: people by their number, keys as `key_names` has them."""
    return {user.id: user.name for user in users(session)} | key_names(session)


def name_of(session: Session, user_id: int | None, name: str | None) -> str:
    """Who acted, as pages call them: a person or a key by its name."""
    user = session.get(User, user_id) if user_id is not None else None
    return user.name if user is not None else key_names(session).get(name or "", name or "")


def add_source(
    session: Session, name: str, kind: str, origins: Sequence[str], now: datetime, by: Actor
) -> tuple[Source, str]:
    """A new source of signals and its write key, which is shown once. Raises InvalidInput naming the field.

    `origins` are the pages that a browser's key is good from; none means any.
    """
    if kind not in SOURCE_KINDS:
        raise InvalidInput("kind", f"must be one of {', '.join(SOURCE_KINDS)}")
    if len(origins) > MAX_ORIGINS:
        raise InvalidInput("origins", f"must be at most {MAX_ORIGINS}")
    allowed = [_origin(text) for text in origins]
    row, key = create_source(session, name.strip(), "server" if kind == "server" else "browser", now, origins=allowed)
    told = {"name": row.name, "kind": row.kind, "origins": row.origins}
    admin_log.record(session, by, "create", "source", row.id, now, after=told)
    return row, key


def close_source(session: Session, source_id: int, now: datetime, by: Actor, *, closed: bool) -> None:
    """Take only planned events of a source, or any again. Raises NotFound."""
    row, before = trackingplan.close_source(session, source_id, closed=closed)
    said = {"before": {"planned_only": before}, "after": {"planned_only": closed}}
    admin_log.record(session, by, "change", "source", row.id, now, **said)


def plan_event(session: Session, name: str, wanted: Definition, now: datetime, by: Actor) -> PlannedEvent:
    """Say what an event must be by the tracking plan. Raises InvalidInput naming the field."""
    row, before = trackingplan.plan_event(session, name, wanted, now)
    admin_log.record(session, by, "change", "planned event", row.name, now, before=before, after=row.definition)
    return row


def unplan_event(session: Session, number: int, now: datetime, by: Actor) -> None:
    """Take an event out of the tracking plan. Raises NotFound."""
    row = trackingplan.unplan_event(session, number)
    admin_log.record(session, by, "remove", "planned event", row.name, now, before=row.definition)


def end_source(session: Session, source_id: int, now: datetime, by: Actor) -> None:
    """Take no more signals by a source's write key. Raises NotFound."""
    row = disable_source(session, source_id, now)
    admin_log.record(session, by, "end", "source", row.id, now)


def _origin(text: str) -> str:
    """A page's origin as browsers spell it: scheme, host, and a port that is not the usual one."""
    try:
        parts = urlsplit(text.strip().rstrip("/").lower())
        port = f":{parts.port}" if parts.port and parts.port != {"https": 443, "http": 80}.get(parts.scheme) else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    local = parts.hostname in ("localhost", "127.0.0.1")
    if not parts.hostname or parts.path or parts.query or parts.username or parts.scheme not in ("https", "http"):
        raise InvalidInput("origins", f"{text[:80]!r} is not an origin such as https://www.example.com")
    if parts.scheme == "http" and not local:
        raise InvalidInput("origins", f"{text[:80]!r} is not encrypted: only https pages may use a key")
    return f"{parts.scheme}://{parts.hostname}{port}"


def _address(email: str) -> str:
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address):
        raise InvalidInput("email", "must be an e-mail address")
    return address


def _hashed(password: str) -> str:
    if not PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD:
        raise InvalidInput("password", f"must have {PASSWORD_LENGTH} to {MAX_PASSWORD} characters")
    return _HASHER.hash(password)


def _roles(roles: Sequence[str]) -> list[str]:
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise InvalidInput("roles", f"must be one or more of {', '.join(ROLES)}")
    return sorted(set(roles))


def _secret_hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
