"""Kept counts of what happened at opens, so that results cost the same however many opens there were."""

# ruff: noqa: S608 - every piece of the SQL is written in this file

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

COUNTED_TABLES = ("fetch", "click", "decision", "anonymous_fetch", "outcome")


def upgrade() -> None:
    # In the order in which a recorder that still runs takes them: each waits for the other otherwise.
    op.execute('LOCK TABLE decision, "fetch", click, anonymous_fetch, outcome IN SHARE ROW EXCLUSIVE MODE')
    op.create_table(
        "open_count",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("folded", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_open_count"),
    )
    op.create_index("open_count_campaign", "open_count", ["campaign_id"])
    op.create_index("open_count_new", "open_count", ["campaign_id"], postgresql_where=sa.text("NOT folded"))
    op.create_table(
        "sight_count",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("occurrence", sa.BigInteger(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("offer_id", sa.Integer(), nullable=False),
        sa.Column("surely", sa.Integer(), nullable=False),
        sa.Column("possibly", sa.Integer(), nullable=False),
        sa.Column("machine", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "occurrence", "subject_id", "offer_id", name="pk_sight_count"),
    )
    op.create_table(
        "reckoning",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "what", name="pk_reckoning"),
    )
    op.create_table(
        "live_segment",
        sa.Column("segment_id", sa.Integer(), nullable=False),
        sa.Column("rule", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("segment_id", name="pk_live_segment"),
    )
    for table in COUNTED_TABLES:
        op.execute(_counting(table))
        for name, when, rows in MOVES:
            op.execute(
                f'CREATE TRIGGER {table}_{name} AFTER {when} ON "{table}" REFERENCING {rows}'
                f" FOR EACH STATEMENT EXECUTE FUNCTION count_{table}()"
            )
    op.execute(_recounting())
    op.execute("SELECT recount_opens(id) FROM campaign")


def downgrade() -> None:
    op.execute("DROP FUNCTION recount_opens(int)")
    for table in COUNTED_TABLES:
        for name, _, _ in MOVES:
            op.execute(f'DROP TRIGGER {table}_{name} ON "{table}"')
        op.execute(f"DROP FUNCTION count_{table}()")
    op.drop_table("live_segment")
    op.drop_table("reckoning")
    op.drop_table("sight_count")
    op.drop_table("open_count")


MOVES = (
    ("came", "INSERT", "NEW TABLE AS come"),
    ("moved", "UPDATE", "OLD TABLE AS gone NEW TABLE AS come"),
    ("went", "DELETE", "OLD TABLE AS gone"),
)
NOBODY = "'00000000-0000-0000-0000-000000000000'::uuid"
REAL = "occurrence < 2147483648"  # Test sends have occurrence numbers from there on.
SEEN = "fetch_class IN ('person', 'proxy', 'undecided')"
MACHINE = "fetch_class IN ('prefetch', 'scanner')"
SEEN_IN = "f.slot < 255 AND f.rung <> 'static' AND (f.rung <> 'default' OR d.rung = 'default')"


def _counting(table: str) -> str:
    """The trigger's function: rows that come count one, rows that go count one less, both in the same transaction."""
    came, went = f"{_rows(table, 'come', 1)} WHERE {REAL}", f"{_rows(table, 'gone', -1)} WHERE {REAL}"
    branches = {"INSERT": came, "DELETE": went, "UPDATE": f"{came} UNION ALL {went}"}
    # What only moved within a row it does not count adds up to nothing.
    summed = f"SELECT {COLUMNS[table]}, sum(n) AS n FROM ({{rows}}) r GROUP BY {COLUMNS[table]} HAVING sum(n) <> 0"
    chosen = " ELSIF ".join(
        f"TG_OP = '{when}' THEN {_change(table, summed.format(rows=rows))}" for when, rows in branches.items()
    )
    tidied = f"IF TG_OP = 'DELETE' THEN {EMPTIED} END IF;" if table == "fetch" else ""
    return f"""
        CREATE FUNCTION count_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF {chosen} END IF; {tidied} RETURN NULL; END $$
    """


def _recounting() -> str:
    """All rows of a campaign as if they came now; what was counted of it before must be gone."""
    whole = {table: f"{_rows(table, table, 1)} WHERE campaign_id = wanted AND {REAL}" for table in COUNTED_TABLES}
    statements = "".join(_change(table, rows) for table, rows in whole.items())
    return f"""
        CREATE FUNCTION recount_opens(wanted int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN {statements} END $$
    """


def _rows(table: str, source: str, n: int) -> str:
    return f'SELECT {COLUMNS[table]}, {n} AS n FROM "{source}"'


def _change(table: str, moves: str) -> str:
    before, counted = CHANGES[table]
    return f"""
        WITH moves AS MATERIALIZED ({moves}){before}
        INSERT INTO open_count (campaign_id, what, name, number)
        SELECT campaign_id, what, name, sum(n) FROM ({counted}) counted GROUP BY 1, 2, 3 HAVING sum(n) <> 0;
    """


COLUMNS = {
    "fetch": "campaign_id, occurrence, subject_id, fetch_class, slot, rung, ms, decision_id, decision_at",
    "click": "campaign_id, fetch_class, offer_id, ambiguous, unseen, unresolved, outcome",
    "decision": "campaign_id, lane, slots, shadow",
    "anonymous_fetch": "campaign_id, fetch_class, kind, offer_id",
    "outcome": "campaign_id, offer_id, currency, cents",
}
# People are told by rows of their own, a person, run and offer each (offer 0: the mail as a whole): who comes to be
# seen there for the first time, or ceases to be, is one more or one less. Sorted, so that two writers do not wait for
# each other crosswise.
FETCH_BEFORE = f""", changes AS MATERIALIZED (
    SELECT campaign_id, occurrence, coalesce(subject_id, {NOBODY}) AS subject_id, 0 AS offer_id,
           coalesce(sum(n) FILTER (WHERE fetch_class IN ('person', 'proxy')), 0)::int AS surely,
           coalesce(sum(n) FILTER (WHERE {SEEN}), 0)::int AS possibly,
           coalesce(sum(n) FILTER (WHERE {MACHINE}), 0)::int AS machine
    FROM moves WHERE {SEEN} OR {MACHINE} GROUP BY 1, 2, 3
    UNION ALL
    SELECT f.campaign_id, f.occurrence, coalesce(f.subject_id, {NOBODY}), o.offer_id, 0, sum(f.n)::int, 0
    FROM moves f CROSS JOIN LATERAL (
        -- One look-up each: the limit keeps the planner from reading all decisions instead.
        SELECT (d.slots ->> f.slot::text)::int AS offer_id FROM decision d
        WHERE d.id = f.decision_id AND d.at = f.decision_at AND {SEEN_IN} LIMIT 1
    ) o
    WHERE {SEEN} AND o.offer_id IS NOT NULL GROUP BY 1, 2, 3, 4
), kept AS (
    INSERT INTO sight_count AS s (campaign_id, occurrence, subject_id, offer_id, surely, possibly, machine)
    SELECT * FROM changes WHERE (surely, possibly, machine) <> (0, 0, 0) ORDER BY 1, 2, 3, 4
    ON CONFLICT (campaign_id, occurrence, subject_id, offer_id) DO UPDATE SET
        surely = s.surely + excluded.surely, possibly = s.possibly + excluded.possibly,
        machine = s.machine + excluded.machine
    RETURNING s.*
)"""
CHANGES = {
    "fetch": (
        FETCH_BEFORE,
        """
        SELECT k.campaign_id, t.what, t.name, t.n
        FROM kept k JOIN changes c USING (campaign_id, occurrence, subject_id, offer_id)
        CROSS JOIN LATERAL (VALUES
            (k.offer_id = 0, 'people', 'surely', (k.surely > 0)::int - (k.surely > c.surely)::int),
            (k.offer_id = 0, 'people', 'possibly', (k.possibly > 0)::int - (k.possibly > c.possibly)::int),
            (k.offer_id = 0, 'people', 'machine', (k.machine > 0)::int - (k.machine > c.machine)::int),
            (k.offer_id <> 0, 'seen', k.offer_id::text, (k.possibly > 0)::int - (k.possibly > c.possibly)::int)
        ) AS t (counts, what, name, n) WHERE t.counts
        UNION ALL SELECT campaign_id, 'fetch', fetch_class, n FROM moves
        UNION ALL SELECT campaign_id, 'fallback', '', n FROM moves WHERE rung IN ('default', 'static')
        UNION ALL SELECT campaign_id, 'ms', round(ms::numeric, 1)::text, n FROM moves WHERE ms IS NOT NULL
        """,
    ),
    "click": (
        "",
        f"""
        SELECT m.campaign_id, t.what, t.name, m.n FROM moves m CROSS JOIN LATERAL (VALUES
            (fetch_class = 'person', 'click', 'people'), ({MACHINE}, 'click', 'machine'),
            (fetch_class = 'person' AND ambiguous, 'click', 'ambiguous'),
            (fetch_class = 'person' AND unseen, 'click', 'unseen'),
            (fetch_class = 'person' AND unresolved, 'click', 'unresolved'),
            (fetch_class = 'person' AND offer_id IS NOT NULL, 'clicked', offer_id::text)
        ) AS t (counts, what, name) WHERE t.counts AND m.outcome NOT IN ('taken', 'refused')
        """,
    ),
    "decision": (
        "",
        """
        SELECT m.campaign_id, 'swap' AS what, t.name, m.n
        FROM moves m CROSS JOIN LATERAL (VALUES (true, 'compared'), (slots <> shadow, 'differing')) AS t (counts, name)
        WHERE m.lane = 'live' AND m.shadow IS NOT NULL AND t.counts
        """,
    ),
    "anonymous_fetch": (
        "",
        f"""
        SELECT m.campaign_id, t.what, t.name, m.n FROM moves m CROSS JOIN LATERAL (VALUES
            (kind <> 'click', 'anonymous_fetch', fetch_class), (kind = 'click', 'anonymous_click', fetch_class),
            (kind <> 'click' AND {SEEN} AND offer_id IS NOT NULL, 'anonymous_seen', offer_id::text),
            (kind = 'click' AND fetch_class = 'person' AND offer_id IS NOT NULL, 'anonymous_clicked', offer_id::text)
        ) AS t (counts, what, name) WHERE t.counts
        """,
    ),
    "outcome": (
        "",
        """
        SELECT m.campaign_id, t.what, coalesce(offer_id::text, '') || coalesce('/' || upper(currency), '') AS name, t.n
        FROM moves m CROSS JOIN LATERAL (VALUES ('orders', m.n), ('cents', m.n * m.cents)) AS t (what, n)
        """,
    ),
}
EMPTIED = f"""
    DELETE FROM sight_count s USING (
        SELECT DISTINCT campaign_id, occurrence, coalesce(subject_id, {NOBODY}) AS subject_id FROM gone
    ) g
    WHERE s.campaign_id = g.campaign_id AND s.occurrence = g.occurrence AND s.subject_id = g.subject_id
      AND (s.surely, s.possibly, s.machine) = (0, 0, 0);
"""
