"""Categories: the words of shops (slugs) and the small numbers we keep in states, rules and plans."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from threading import Lock
from typing import Final, Protocol

from sqlalchemy import select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model, Sessions, transaction

MOST: Final = 10_000
"""Categories that are ever made; a sender that invents more has mistaken something else for a category."""

_SPELLINGS: Final = 50_000
_NAME_LENGTH: Final = 200
_SENSITIVE: Final = frozenset({
    "health", "healthcare", "medical", "medicine", "medicines", "medication", "pharmacy", "drug", "drugs",
    "prescription", "otc", "diagnostic", "diabetes", "incontinence", "pregnancy", "fertility", "contraceptive",
    "contraceptives", "condom", "condoms", "intimate", "intimates", "intimacy", "sexual", "lingerie", "erotic",
    "adult", "feminine", "gift", "gifts",
})  # fmt: skip
"""Words that mark a new category as sensitive: health, intimate, gifts. A person may change the mark."""


class Category(Model):
    """A product category. `sensitive`: its signals may suppress an offer but never choose or name visible content."""

    __tablename__ = "category"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    department: Mapped[str | None]
    sensitive: Mapped[bool] = mapped_column(server_default=text("false"))


def parts(spelling: str) -> tuple[str, str | None]:
    """The category's own name and its department, of "Shoes" or of a path such as "Apparel > Shoes"."""
    names = [name.strip() for name in spelling.split(">") if name.strip()]
    if not names:
        return "", None
    return names[-1][:_NAME_LENGTH], names[0][:_NAME_LENGTH] if len(names) > 1 else None


def slug(spelling: str) -> str:
    """The one spelling of a category: its own name in lower case, words joined by hyphens; "" when none is left."""
    name = unicodedata.normalize("NFKC", parts(spelling)[0]).lower()
    return re.sub(r"[^\w]+", "-", name).strip("-_")


def is_sensitive(spelling: str) -> bool:
    """Whether a category of this name starts out as sensitive."""
    return not _SENSITIVE.isdisjoint(re.split(r"[^\w]+|-", spelling.lower()))


def slugs(session: Session) -> dict[str, int]:
    """Every category's number by its slug."""
    return {row.slug: row.id for row in session.execute(select(Category.slug, Category.id))}


def sensitive(session: Session) -> frozenset[int]:
    """The numbers of the sensitive categories."""
    return frozenset(session.scalars(select(Category.id).where(Category.sensitive)))


class Naming(Protocol):
    """Who knows the numbers of categories: all that a process has learnt, or those that are there now."""

    def lookup(self, spelling: str) -> int | None:
        """The number of a category in any spelling; None when it is not known here."""

    def know(self, numbers: Iterable[int]) -> None:
        """See to it that these are known here."""


class Listed:
    """The categories that there are now, for who reads once and gives none."""

    def __init__(self, session: Session) -> None:
        self._numbers = slugs(session)

    def lookup(self, spelling: str) -> int | None:
        """The number of a category in any spelling; None when there is none."""
        return self._numbers.get(slug(spelling))

    def know(self, numbers: Iterable[int]) -> None:
        """They are: numbers are never taken back."""


class Categories:
    """The categories as one process knows them: look-ups without a database, new ones learnt when they come up.

    Numbers never change once given, so what is held stays right.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._numbers: dict[str, int] = {}
        self._given: frozenset[int] = frozenset()
        self._spelt: dict[str, int] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        """How many are known here; it only grows."""
        return len(self._numbers)

    def lookup(self, spelling: str) -> int | None:
        """The number of a category in any spelling; None when it is not known here (yet)."""
        number = self._spelt.get(spelling)
        if number is None:
            number = self._numbers.get(slug(spelling))
            if number is not None:
                with self._lock:
                    if len(self._spelt) >= _SPELLINGS:
                        self._spelt.clear()
                    self._spelt[spelling] = number
        return number

    def know(self, numbers: Iterable[int]) -> None:
        """Read anew what the database knows if one of these is not known here: another process has given it.

        Whoever folds stored events asks first: a category that is not known would read as none. Raises Unavailable.
        """
        if not self._given.issuperset(numbers):
            self.learn((), create=False)

    def learn(self, spellings: Iterable[str], *, create: bool) -> None:
        """Read what the database knows of these categories and, with `create`, add the rest up to the bound.

        In a transaction of its own, so that a number once seen stays. Raises Unavailable.
        """
        wanted = {slug(spelling): spelling for spelling in spellings}
        wanted.pop("", None)
        with transaction(self._sessions) as session:
            self._hold(slugs(session))
            missing = [name for name in sorted(wanted) if name not in self._numbers]
            room = MOST - len(self._numbers)
            if not create or not missing or room <= 0:
                return
            for name in missing[:room]:
                own, department = parts(wanted[name])
                session.execute(
                    text(
                        "INSERT INTO category (slug, name, department, sensitive)"
                        " VALUES (:slug, :name, :department, :sensitive) ON CONFLICT (slug) DO NOTHING"
                    ),
                    {"slug": name, "name": own, "department": department, "sensitive": is_sensitive(wanted[name])},
                )
            found = slugs(session)
        self._hold(found)

    def _hold(self, found: dict[str, int]) -> None:
        self._numbers |= found
        self._given = frozenset(self._numbers.values())
