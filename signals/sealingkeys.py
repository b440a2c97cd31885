"""Which keys the database is sealed under: each puts its mark there, so that a missing or wrong key is found at once.

A process that writes looks before it begins (`keymarks.settle`), and notes a newest key that is new. A key's mark goes
when nothing is sealed under it any more (`workers/rekeying.py`), and then the key may be dropped: a process that would
still seal with it finds the mark gone, and does no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar, cast, overload

from sqlalchemy import LargeBinary, Select, SmallInteger, select, type_coerce
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, defer, mapped_column
from sqlalchemy.orm.attributes import set_committed_value

from base.db import Model
from base.errors import SettingError, Unavailable
from base.logs import logger
from base.sealed import SealedBytes, SealedText
from base.sealing import Unsealable
from base.vault import VARIABLE, Vault, vault_of

MARK: Final = "sealing_key.mark"
RETRY_SECONDS: Final = 30
_CONTENT: Final = b"latebind"
Row = TypeVar("Row", bound=Model)
_log = logger(__name__)


class Retired(Unavailable):
    """The key that this process seals under is one that the database is to hold nothing under any more."""

    def __init__(self, number: int) -> None:
        super().__init__("The vault", RETRY_SECONDS)
        self.number = number

    def __str__(self) -> str:
        return (
            f"What is kept of people cannot be sealed here: key {self.number} of {VARIABLE} was retired. "
            "Restart this process with the keys that the others have."
        )


class SealingKey(Model):
    """A key that something may be sealed under; `mark` is known content that it sealed."""

    __tablename__ = "sealing_key"

    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    mark: Mapped[bytes]
    since: Mapped[datetime]


def check(session: Session) -> list[int]:
    """The numbers of the keys the database is sealed under, once all of them are found among those given.

    Raises SettingError naming the setting: without keys, without one of them, with another key under its number.
    """
    vault = vault_of(session)
    known = list(session.scalars(select(SealingKey).order_by(SealingKey.number)))
    for key in known:
        _prove(vault, key)
    return [key.number for key in known]


def note(session: Session, now: datetime) -> None:
    """Look whether the keys given are those of the database, and note the newest one. Raises SettingError."""
    known, newest = check(session), vault_of(session).newest
    if newest not in known:
        mark = vault_of(session).seal(_CONTENT, MARK)
        made = insert(SealingKey).values(number=newest, mark=mark, since=now)
        session.execute(made.on_conflict_do_nothing())
        # Whoever was first may have another key under this number.
        session.expire_all()
        check(session)


def content(session: Session, sealed: bytes, place: str) -> bytes:
    """What was sealed for a place, such as "identifier.value". Raises SettingError where the key that sealed it is not
    given, Unsealable where it is damaged, as it is too where the number that it names is no key's."""
    try:
        return vault_of(session).open(sealed, place)
    except SettingError:
        known = session.scalars(select(SealingKey.number)).all()
        if sealed[0] in known or not known:
            raise
        raise Unsealable(place) from None


@overload
def legible(session: Session, sealed: bytes | None, kind: SealedText, **named: Any) -> str | None: ...
@overload
def legible(session: Session, sealed: bytes | None, kind: SealedBytes, **named: Any) -> Any: ...
def legible(session: Session, sealed: bytes | None, kind: SealedBytes, **named: Any) -> Any:
    """The content of a column as it is stored, where several are read and one must not keep the others waiting.

    None without one, and where it is damaged; then the log has the column and whose it is, as `named`. Raises
    SettingError as `content` does.
    """
    if sealed is None:
        return None
    try:
        return kind.read(content(session, sealed, kind.place))
    except (Unsealable, UnicodeDecodeError):
        _log.warning("a stored value is damaged and left out", column=kind.place, **named)
        return None


def rows(session: Session, query: Select[Row], *sealed: InstrumentedAttribute[Any]) -> list[Row]:
    """The rows of a model that has an `id`, where one that is damaged must not hide the others: what is damaged of
    these columns is None in its row. Raises SettingError as `content` does."""
    stored = [type_coerce(column, LargeBinary) for column in sealed]
    found = []
    for row, *contents in session.execute(query.options(*map(defer, sealed)).add_columns(*stored)):
        for column, value in zip(sealed, contents, strict=True):
            read = legible(session, value, cast("SealedBytes", column.type), id=row.id)
            set_committed_value(row, column.key, read)
        found.append(row)
    return found


@contextmanager
def leaving_out(**named: Any) -> Iterator[None]:
    """End what is done here where a stored value that it needs is damaged: one must not keep the others waiting.

    The log says which column, and whose it is, as `named`.
    """
    try:
        yield
    except Unsealable as error:
        _log.warning("what a damaged value is needed for is left out", reason=str(error), **named)


def check_current(session: Session) -> None:
    """Raises Retired where the key that this process seals under was taken off, as `latebind rekey` does in the end."""
    newest = vault_of(session).newest
    if session.get(SealingKey, newest) is None:
        raise Retired(newest)


def _prove(vault: Vault, key: SealingKey) -> None:
    if key.number not in vault.numbers:
        raise SettingError(VARIABLE, f"must hold key {key.number}: the database keeps what it keeps of people under it")
    try:
        vault.open(key.mark, MARK)
    except Unsealable:
        raise SettingError(
            VARIABLE, f"has another key {key.number} than the one that the database was sealed with"
        ) from None
