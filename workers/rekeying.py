"""Sealing what is stored anew under the newest key: every sealed column, a batch of rows a transaction.

It goes through each table by its key, leaves what the newest key sealed, and holds the rows of a batch from before it
reads them until they are written. So it may be killed at any point and begun again, runs beside everything else, and
waits for nobody: a row that another transaction holds is left for the next round. A value that does not open is left as
it is and named, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    LargeBinary,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.orm import Session

from base.db import Sessions, transaction
from base.errors import SettingError
from base.sealed import SealedBytes
from base.sealing import Unsealable
from base.vault import Vault, vault_of
from signals.sealingkeys import SealingKey
from workers.migration import all_tables

AT_ONCE: Final = 500
NAMED: Final = 100
"""Values that do not open and are named; of the others only the number is told."""
ROUNDS: Final = 100
"""Times that rows are looked for which others held; then whoever asked for it begins again."""


@dataclass(frozen=True)
class Place:
    """A sealed column."""

    table: Table
    column: Column[Any]
    kind: SealedBytes

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.table.name}.{self.column.name}"

    def where(self, row: Sequence[Any]) -> str:
        """The value of a row, which begins with what names it: "event.body, id 12"."""
        said = (
            f"{key.name} {one.hex() if isinstance(one, bytes) else one}"
            for key, one in zip(self.table.primary_key.columns, row, strict=False)
        )
        return f"{self.name}, {', '.join(said)}"


@dataclass(frozen=True)
class Rekeyed:
    """What was done: values sealed anew by column, and the keys, by number, that something is still sealed under.

    `damaged` counts values that no longer open, `named` says of the first of them where: "event.body, id 12".
    """

    sealed: dict[str, int]
    left: dict[int, int]
    newest: int
    damaged: int
    named: tuple[str, ...]


@dataclass
class _Damage:
    """Values of the newest walk through each column that do not open."""

    number: int = 0
    named: list[str] = field(default_factory=list)

    def note(self, place: Place, row: Sequence[Any]) -> None:
        self.number += 1
        if len(self.named) < NAMED:
            self.named.append(place.where(row))


def places() -> list[Place]:
    """Every sealed column of the models."""
    return [
        Place(table, column, column.type)
        for table in sorted(all_tables().tables.values(), key=lambda one: one.name)
        for column in table.columns
        if isinstance(column.type, SealedBytes)
    ]


def rekey(sessions: Sessions, say: Callable[[str], None]) -> Rekeyed:
    """Seal everything under the newest key, and forget keys that nothing is sealed under any more.

    A value that does not open, or is sealed under a key that is not given, stays as it is. Raises SettingError without
    keys.
    """
    sealed: dict[str, int] = {}
    damage = _Damage()
    for place in places():
        number = 0
        for _ in range(ROUNDS):
            found = _Damage(named=list(damage.named))
            done = sum(_once(sessions, place, number, say, found))
            number += done
            if not done:
                break
        sealed[place.name] = number
        damage = _Damage(damage.number + found.number, found.named)
    return _end(sessions, sealed, damage)


def under(session: Session) -> dict[int, int]:
    """How many values each key has sealed, by its number."""
    found: dict[int, int] = {}
    for place in places():
        number = func.get_byte(_raw(place.column), 0)
        for key, count in session.execute(
            select(number, func.count()).where(place.column.is_not(None)).group_by(number)
        ):
            found[key] = found.get(key, 0) + count
    return found


def _once(sessions: Sessions, place: Place, before: int, say: Callable[[str], None], found: _Damage) -> Iterator[int]:
    """One walk through a table; yields how many values each batch sealed anew, and notes those that do not open."""
    after: tuple[Any, ...] | None = None
    told = before
    while True:
        with transaction(sessions) as session:
            rows = _batch(session, place, after)
            if not rows:
                return
            vault = vault_of(session)
            made = []
            for row in rows:
                try:
                    made.append(_resealed(vault, place, row))
                except (Unsealable, SettingError):
                    found.note(place, row)
            if made:
                session.connection().execute(_writing(place), made)
        after, done = tuple(rows[-1][:-1]), len(made)
        before += done
        if before - told >= 10_000:
            told = before
            say(f"{place.name}: {before:,}")
        yield done


def _batch(session: Session, place: Place, after: tuple[Any, ...] | None) -> Sequence[Any]:
    """The next rows under another key that nobody holds, locked: what names each, and the sealed value."""
    raw, keys = _raw(place.column), list(place.table.primary_key.columns)
    query = select(*keys, raw).where(func.get_byte(raw, 0) != vault_of(session).newest)
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*(_value(key, one) for key, one in zip(keys, after, strict=True))))
    return session.execute(query.order_by(*keys).limit(AT_ONCE).with_for_update(skip_locked=True)).all()


def _writing(place: Place) -> Update:
    """The change of a row that the parameters of `_resealed` name."""
    keys = place.table.primary_key.columns
    named = and_(*(key == bindparam(f"key_{number}", type_=key.type) for number, key in enumerate(keys)))
    return place.table.update().where(named).values({place.column: bindparam("made", type_=LargeBinary)})


def _resealed(vault: Vault, place: Place, row: Sequence[Any]) -> dict[str, Any]:
    made = vault.resealed(bytes(row[-1]), place.kind.place)
    return {f"key_{number}": key for number, key in enumerate(row[:-1])} | {"made": made}


def _raw(column: Column[Any]) -> ColumnElement[bytes]:
    """The column as it is stored."""
    return type_coerce(column, LargeBinary)


def _value(key: Column[Any], value: Any) -> ColumnElement[Any]:
    return type_coerce(value, key.type)


def _end(sessions: Sessions, sealed: dict[str, int], damage: _Damage) -> Rekeyed:
    with transaction(sessions) as session:
        newest = vault_of(session).newest
        left = under(session)
        known = session.scalars(select(SealingKey.number)).all()
        gone = [number for number in known if number != newest and number not in left]
        if gone:
            session.execute(delete(SealingKey).where(SealingKey.number.in_(gone)))
    left.pop(newest, None)
    return Rekeyed(sealed, left, newest, damage.number, tuple(damage.named))
