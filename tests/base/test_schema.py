"""The newest revision that the code knows is the one that a migrated database is at."""

from __future__ import annotations

from alembic.script import ScriptDirectory

from base import db
from base.schema import revisions, stored_revision
from workers.migration import _config


def test_it_finds_the_revision_that_a_migrated_database_is_at(sessions: db.Sessions) -> None:
    known, newest = revisions()
    script = ScriptDirectory.from_config(_config(""))
    assert newest == script.get_current_head()
    assert known == {revision.revision for revision in script.walk_revisions()}
    with db.transaction(sessions) as session:
        assert stored_revision(session) == newest
