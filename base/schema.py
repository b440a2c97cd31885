"""The schema that this code was written for, and the one that a database has."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

import migrations
from base.errors import Unavailable

_NAMED: Final = re.compile(r'^(revision|down_revision)\b.*?= "([^"]+)"', re.MULTILINE)


class OldSchema(Unavailable):
    """The database's tables are older than this code."""

    def __init__(self, revision: str | None) -> None:
        super().__init__("The database")
        self.revision = revision

    def __str__(self) -> str:
        has = "has no tables yet" if self.revision is None else f"has the schema {self.revision}, which is older"
        return f"The database {has}: run `latebind migrate`."


@cache
def revisions() -> tuple[frozenset[str], str]:
    """All revisions that this code knows of, and the newest of them, which a migrated database is at."""
    pairs = [
        dict(_NAMED.findall(path.read_text(encoding="utf-8")))
        for path in sorted((Path(migrations.__path__[0]) / "versions").glob("*.py"))
    ]
    known = {pair["revision"] for pair in pairs}
    (newest,) = known - {pair["down_revision"] for pair in pairs if "down_revision" in pair}
    return frozenset(known), newest


def stored_revision(session: Session) -> str | None:
    """The revision that the database is at; None for one without tables of ours."""
    if session.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return session.execute(text("SELECT version_num FROM alembic_version")).scalar()


class SchemaCheck:
    """Whether a database has the schema of this code. Once it has, it is not asked again: no schema grows older."""

    def __init__(self) -> None:
        self._is_current = False

    def ask(self, session: Session) -> None:
        """Ask the database for its schema, or only whether it answers. Raises OldSchema.

        One that is newer was migrated for the next version, beside which this one goes on.
        """
        if self._is_current:
            session.execute(text("SELECT 1"))
            return
        stored = stored_revision(session)
        known, newest = revisions()
        if stored is None or (stored in known and stored != newest):
            raise OldSchema(stored)
        self._is_current = True
