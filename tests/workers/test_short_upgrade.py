"""The upgrade that shortens what SQL reads of states, and the version before it meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import psycopg
from alembic import command
from psycopg.types.json import Jsonb

from base.embedded import PostgresServer
from signals.fold import fold_all
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.state import ProfileState, document, queried
from tests.databases import VAULT
from tests.workers.test_sealing_upgrade import upgraded
from workers import migration
from workers.migration import migrate

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW = """
    INSERT INTO profile_state (profile_id, version, edition, document, encoded, updated_at)
    VALUES (%s, 1, 1, %s, '', now()) ON CONFLICT (profile_id) DO UPDATE SET document = excluded.document
"""
LONG = {
    "segments": [1], "traits": {"city": "Ulm"}, "consent": {},
    "categories": {
        "5": {"n": 1, "days": [2400], "cents": 350},
        "12": {"n": 3, "days": [2400, 2390, -7], "cents": 900, "interval_days": 13.5},
    },
    "views": {"7": {"n": 2, "last_day": 2401}},
}  # fmt: skip
SHORT = {
    "segments": [1], "traits": {"city": "Ulm"}, "consent": {},
    "bought": {"5": "1 350 - 2400", "12": "3 900 13.5 -7 2390 2400"}, "seen": {"7": "2 2401"},
}  # fmt: skip
NEW: dict[str, Any] = {"segments": [], "traits": {}, "consent": {}}


def bought() -> ProfileState:
    """Somebody who bought and looked, as the fold has it."""
    days: dict[int, Literal["order", "view"]] = {400: "order", 60: "order", 30: "order", 3: "order", 2: "view"}
    events = [
        FoldEvent(
            time_ms=unix_ms(NOON - timedelta(days=back)),
            message_id=f"m{back}",
            kind=kind,
            lines=(Line("p", 5, 2, 99),),
            category=5,
        )
        for back, kind in days.items()
    ]
    return fold_all(events)


def test_it_shortens_the_states_that_are_there_and_those_that_the_version_before_still_writes(
    postgres: PostgresServer,
) -> None:
    state = bought()
    whole: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document(state)))
    with (
        upgraded(postgres, "0071", ()) as url,
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as there,
    ):

        def stored() -> dict[int, Any]:
            return dict(there.execute("SELECT profile_id, document FROM profile_state").fetchall())

        for number, told in ((1, LONG), (2, NEW), (3, {**NEW, "categories": {}, "views": {}}), (40_000, whole)):
            there.execute(ROW, (number, Jsonb(told)))
        migrate(url, VAULT, b"", "0072")
        found = stored()
        assert found[1] == SHORT
        assert found[2] == found[3] == NEW
        asked = msgspec.json.decode(msgspec.json.encode(queried(state)))
        assert {name: found[40_000][name] for name in ("bought", "seen")} == {
            name: asked[name] for name in ("bought", "seen")
        }
        for number in (1, 4):  # The one anew, over what is there.
            there.execute(ROW, (number, Jsonb(LONG)))
        there.execute(ROW, (5, Jsonb(SHORT)))
        assert [stored()[number] for number in (1, 4, 5)] == [SHORT] * 3
        command.downgrade(migration._config(url), "0071")
        assert [stored()[number] for number in (1, 2, 5)] == [LONG, NEW, LONG]
