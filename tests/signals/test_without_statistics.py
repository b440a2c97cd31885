"""What each signal looks up, in tables that have just grown and of which the database has no statistics yet."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import TextClause, text

from base.db import Numbers
from signals import belonging, claiming, folding
from tests.signals.sending import NOW, Desk
from tests.signals.test_households_meanwhile import nodes


@pytest.fixture
def grown(desk: Desk) -> Desk:
    """Thousands of people with identifiers, states and homes."""
    people = "generate_series(100001, 110000) AS n"
    desk.run(f"INSERT INTO profile (id, root_id, created_at) SELECT n, n, '{NOW}' FROM {people}")
    desk.run(f"""
        INSERT INTO identifier (type, value, value_hash, profile_id, owns, presumed, source_id, trust, first_seen,
                                last_seen)
        SELECT 'email', 'sealed', CAST('h' || n || owned AS bytea), n, owned, false, {desk.server.id}, 3, '{NOW}',
               '{NOW}'
        FROM {people}, (VALUES (true), (false)) AS o (owned)
    """)
    desk.run(f"""
        INSERT INTO profile_state (profile_id, version, edition, document, encoded, updated_at)
        SELECT n, 1, 1, '{{}}', '', '{NOW}' FROM {people}
    """)
    desk.run(f"INSERT INTO dwelling (profile_id, elsewhere) SELECT n, ARRAY[]::bytea[] FROM {people}")
    desk.run(f"""
        INSERT INTO household_claim (profile_id, kind, key, gone, since, said_at, message_id, source_id)
        SELECT n, 'home', CAST('h' || n AS bytea), false, '{NOW}', '{NOW}', 'm', {desk.server.id} FROM {people}
    """)
    # What other tests left behind tells of other people.
    desk.run("""
        DELETE FROM pg_statistic s USING pg_class c
        WHERE c.oid = s.starelid AND c.relnamespace = CAST('public' AS regnamespace)
    """)
    return desk


@pytest.mark.parametrize("statement", [belonging._DETAILS, folding._ROOTS, claiming._QUEUE])
def test_it_reads_no_whole_table_for_a_few_people(grown: Desk, statement: TextClause) -> None:
    with grown.sessions.begin() as session:
        once: Any = session.scalar(text(f"EXPLAIN (FORMAT JSON) {statement.text}"), {"roots": Numbers([100_007])})
        # As for a statement that is prepared for whatever is given.
        any_ = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement.text.replace(':roots', '$1')}"
        prepared: Any = session.connection().exec_driver_sql(any_).scalar()
    for (plan,) in (once, prepared):
        read = [(node["Relation Name"], node["Node Type"]) for node in nodes(plan["Plan"]) if "Relation Name" in node]
        assert "profile" in {table for table, _ in read}, "it reads tables"
        assert not [table for table, how in read if how == "Seq Scan"], read
