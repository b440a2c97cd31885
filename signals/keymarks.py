"""Marks of the keys of which an installation has one: a process that is given another is told before it begins.

With another `LATEBIND_HASH_KEY` nobody would be found, and everybody would be made anew; with another
`LATEBIND_RECORD_KEY` or `LATEBIND_SUBJECT_KEY` records of opens would be set aside. The first process that begins with
a key leaves its mark. It is held against what is stored before, where that can be: the hashes of identifiers tell the
key that made them, and the keys of people the one that wraps them.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, cast

from sqlalchemy import LargeBinary, select, text, type_coerce
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.clock import monotonic
from base.db import Model, Sessions, transaction
from base.errors import LatebindError, SettingError, Unavailable
from base.logs import logger
from base.sealing import Unsealable, unwrap_key
from base.settings import PREFIX, Settings
from base.vault import Vault, vault_of, watch
from signals import sealingkeys
from signals.identity import ClaimType, value_hash
from signals.profiles import IDENTIFIER_VALUE, Identifier
from signals.sealingkeys import Retired

MARKED: Final = ("hash_key", "record_key", "subject_key")
"""The settings whose keys leave a mark."""
PROVEN_BY: Final = 10
"""Stored identifiers, or keys of people, that a key without a mark is held against."""
ASKED_SECONDS: Final = 2.0
"""How long a process may go on under a key that was retired."""
TOLD_AGAIN: Final = 60.0
_ADVICE: Final = {
    "hash_key": "nobody would be found by it. Give this process the key of the others; it cannot be changed",
    "subject_key": (
        "nothing that is kept of opens would be read. Give this process the key of the others; it cannot be changed"
    ),
    "record_key": (
        "records of opens would not be read. Give this process the key of the others; docs/deploy.md says how to "
        "change it (`latebind records accept-key`)"
    ),
}
_log = logger("keys")


class KeyMark(Model):
    """The mark of the key that a setting had when the installation began, by the setting's name; tells no key."""

    __tablename__ = "key_mark"

    name: Mapped[str] = mapped_column(primary_key=True)
    mark: Mapped[bytes]
    since: Mapped[datetime]


def check(session: Session, settings: Settings, name: str) -> bool:
    """Whether a setting's key has its mark here; False also where there is no mark, or the setting is not set.

    Raises SettingError where another key has, or where what is stored was hashed or wrapped with another.
    """
    key: bytes = getattr(settings, name)
    if not key:
        return False
    mark = session.scalar(select(KeyMark.mark).where(KeyMark.name == name))
    if mark is None:
        if name in _PROOFS and not _PROOFS[name](session, key):
            raise _other(name)
        return False
    if not hmac.compare_digest(mark, mark_of(name, key)):
        raise _other(name)
    return True


def settle(sessions: Sessions, settings: Settings, now: datetime) -> None:
    """Look whether the keys given are those of the installation, note those that are new, and watch over them from now
    on (`Watch`). Raises SettingError.

    While the database is away, or has no such table yet, nothing can be told: the watch looks when it can be.
    """
    engine = sessions.kw["bind"]
    keys = Watch(sessions, settings, now)
    watch(engine, keys.ask)
    try:
        keys.settle()
    except SettingError:
        # Whoever asked does not begin.
        engine.dispose()
        raise
    except Unavailable:
        _log.warning("keys not checked", reason="the database is away")
    except ProgrammingError:
        _log.warning("keys not checked", reason="the schema is older: run latebind migrate")


class Watch:
    """Asks now and then whether the keys of this process are still the installation's. For many threads."""

    def __init__(self, sessions: Sessions, settings: Settings, now: datetime) -> None:
        self._sessions = sessions
        self._settings = settings
        self._began = now
        self._is_settled = False
        self._due = math.inf
        self._told_at = -TOLD_AGAIN
        self._found: LatebindError | None = None

    def settle(self) -> None:
        """Look whether the keys are the installation's, and note those that are new. Raises SettingError, Unavailable,
        ProgrammingError."""
        try:
            with transaction(self._sessions) as session:
                sealingkeys.note(session, self._began)
                for name in MARKED:
                    if not check(session, self._settings, name) and getattr(self._settings, name):
                        self._note(session, name)
            self._is_settled = True
        finally:
            self._due = monotonic() + ASKED_SECONDS

    def _note(self, session: Session, name: str) -> None:
        mark = mark_of(name, getattr(self._settings, name))
        made = insert(KeyMark).values(name=name, mark=mark, since=self._began)
        session.execute(made.on_conflict_do_nothing())
        # Whoever was first may have another key.
        check(session, self._settings, name)

    def ask(self) -> None:
        """Look again, every few seconds; between them the answer before holds. Raises Retired, SettingError, and what
        the database raises."""
        now = monotonic()
        if now >= self._due:
            self._due = math.inf  # Others go by the answer before, and so does what is asked with.
            try:
                self._found = self._looked()
            finally:
                self._due = now + ASKED_SECONDS
            if self._found is not None and now - self._told_at >= TOLD_AGAIN:
                self._told_at = now
                _log.error("nothing is done with these keys", why=str(self._found))
        if self._found is not None:
            raise self._found.with_traceback(None)

    def _looked(self) -> LatebindError | None:
        try:
            if self._is_settled:
                with self._sessions.begin() as session:
                    sealingkeys.check_current(session)
            else:
                self._found = None  # What `settle` does goes through here.
                self.settle()
        except (Retired, SettingError) as error:
            return error
        except ProgrammingError:
            # The schema is older, and was told to be.
            return None
        return None


def accept(session: Session, settings: Settings, name: str, now: datetime) -> None:
    """Make the key that a setting has now the installation's."""
    mark = mark_of(name, getattr(settings, name))
    made = insert(KeyMark).values(name=name, mark=mark, since=now)
    session.execute(made.on_conflict_do_update(index_elements=["name"], set_={"mark": mark, "since": now}))


def mark_of(name: str, key: bytes) -> bytes:
    """The mark of a key: known content, keyed with it."""
    return hmac.digest(key, f"mark of the {name}".encode(), "sha256")


def _finds(session: Session, hash_key: bytes) -> bool:
    """Whether the key made hashes that are stored; also where there are none, or none that could be compared."""
    stored = type_coerce(Identifier.value, LargeBinary)
    rows = session.execute(select(Identifier.type, stored, Identifier.value_hash).limit(PROVEN_BY))
    compared = [
        value_hash(hash_key, cast("ClaimType", kind), value) == hashed
        for kind, sealed, hashed in rows
        if (value := _opened(vault_of(session), sealed)) is not None
    ]
    return any(compared) or not compared


_WRAPPED: Final = text("SELECT subject_id, wrapped_key FROM subject LIMIT :most")


def _unwraps(session: Session, subject_key: bytes) -> bool:
    """Whether stored keys of people were wrapped by the key; also where there are none."""
    rows = session.execute(_WRAPPED, {"most": PROVEN_BY}).all()
    return not rows or any(_is_wrapped(bytes(row.wrapped_key), subject_key, row.subject_id.hex) for row in rows)


def _is_wrapped(wrapped: bytes, by: bytes, owner: str) -> bool:
    try:
        unwrap_key(wrapped, by, owner)
    except Unsealable:
        return False
    return True


_PROOFS: Final[Mapping[str, Callable[[Session, bytes], bool]]] = {"hash_key": _finds, "subject_key": _unwraps}


def _opened(vault: Vault, sealed: bytes) -> str | None:
    """A stored identifier; None where it is damaged."""
    try:
        return vault.open(sealed, IDENTIFIER_VALUE.place).decode()
    except Unsealable:
        return None


def _other(name: str) -> SettingError:
    return SettingError(f"{PREFIX}{name.upper()}", f"is another key than this installation's: {_ADVICE[name]}")
