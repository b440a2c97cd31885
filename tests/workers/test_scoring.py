"""Scores of people: what is learnt of their future, as of when, how good it is, and who looks like the best."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from base import db, stores
from base.blobs import FolderBlobs
from base.clock import FixedClock, SteppedClock
from base.embedded import PostgresServer, ValkeyServer
from base.errors import Conflict, InvalidInput
from campaigns import scores
from campaigns.models.scores import ScoreModel
from signals.importing import import_events
from signals.intake import Intake
from signals.sources import Sender, keyless_sender
from tests.campaigns.shop import MANAGER
from tests.conftest import NOON
from tests.damage import damaged_signal
from tests.databases import PII_KEYS, VAULT
from tests.opening import opened
from tests.workers.customers import histories, order
from workers.commands.score import command
from workers.futures import TASKS, Futures
from workers.lives import HORIZON, Calendar
from workers.scoring import ALONE, Done, Scorer

DAY = timedelta(days=1)


@dataclass
class World:
    """A shop with sixty weeks of orders."""

    intake: Intake
    blobs: FolderBlobs
    sender: Sender
    database_url: str
    redis_url: str

    def tell(self, *calls: dict[str, Any]) -> None:
        lines = [json.dumps(call).encode() for call in calls]
        assert import_events(self.intake, self.sender, lines, NOON).accepted == len(lines)

    def run(self, as_of: Any = NOON, **how: Any) -> Done:
        return Scorer(self.intake, self.blobs, FixedClock(NOON)).run(as_of, "test", **how)

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.intake.sessions.begin() as session:
            return opened(session.execute(text(query), values))

    def scores(self, name: str) -> dict[str, float]:
        """One score of everybody who has it, by user id."""
        query = (
            "SELECT i.value, s.value AS score FROM profile_score s JOIN profile p ON p.root_id = s.profile_id"
            " JOIN identifier i ON i.profile_id = p.id AND i.type = 'user_id' WHERE s.name = :name"
        )
        return {row.value: row.score for row in self.rows(query, name=name)}


@pytest.fixture(scope="module")
def world(
    postgres: PostgresServer, valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    admin = postgres.url.replace("postgresql+psycopg", "postgresql").rsplit("/", 1)[0] + "/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE scoring TEMPLATE latebind")
    url, redis_url = postgres.url.rsplit("/", 1)[0] + "/scoring", valkey_server.url.rsplit("/", 1)[0] + "/62"
    engine, store = db.connect(url, vault=VAULT), stores.connect(redis_url)
    intake = Intake(db.sessions(engine), store, b"k" * 32)
    with db.transaction(intake.sessions) as session:
        sender = keyless_sender(session, "file", NOON)
    made = World(intake, FolderBlobs(tmp_path_factory.mktemp("blobs")), sender, url, redis_url)
    made.tell(*histories(NOON))
    yield made
    store.close()
    engine.dispose()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DROP DATABASE scoring WITH (FORCE)")


def test_it_learns_from_windows_that_closed_before_the_snapshot_it_is_tested_on() -> None:
    dates = Calendar.before(NOON, NOON - timedelta(days=400))
    assert max(dates.train) + HORIZON <= dates.test
    assert dates.test + HORIZON == dates.as_of == NOON
    assert len(dates.train) == 6
    assert len(Calendar.before(NOON, NOON - timedelta(days=240)).train) == 1
    with pytest.raises(InvalidInput, match="at least 236 days"):
        Calendar.before(NOON, NOON - timedelta(days=235))
    with pytest.raises(InvalidInput):
        Calendar.before(NOON, None)


@pytest.mark.feature("DE-12")
def test_it_computes_scores_as_of_a_moment_and_uses_nothing_after_it(world: World) -> None:
    then = NOON - timedelta(days=21)
    first = world.run(then, retrain=True)
    assert (first.why_no_model, first.people) == (None, 100)
    before = {name: world.scores(name) for name in TASKS}
    assert {row.as_of for row in world.rows("SELECT DISTINCT as_of FROM profile_score")} == {then}
    # What comes later says the opposite of what was: the leavers are back and spend, the runners send all back.
    later = [order(f"leaver-{number}", then + DAY, 500, "Watches") for number in range(28)]
    world.tell(*later, order("runner-0", then + timedelta(seconds=1), 900, "Bikes"))
    again = world.run(then, retrain=True)
    assert again.model == first.model, "the same models, to the byte"
    assert {name: world.scores(name) for name in TASKS} == before
    now = world.run(NOON, retrain=False)
    assert now.model == first.model
    assert world.scores("churn")["leaver-0"] < before["churn"]["leaver-0"]


@pytest.mark.feature("DE-12")
def test_it_is_measured_on_a_later_snapshot_beside_one_line_of_code(world: World) -> None:
    trained = Scorer(world.intake, world.blobs, FixedClock(NOON)).train(NOON)
    churn, ltv, interval = (trained.measures[name] for name in ("churn", "ltv", "interval"))
    assert churn["auc"] > 0.85
    assert churn["brier"] < churn["plain_brier"]
    assert ltv["error"] < ltv["rival_error"]
    assert interval["error"] < interval["rival_error"]
    with world.intake.sessions.begin() as session:
        row = session.get_one(ScoreModel, trained.hash)
        assert (row.measures["churn"]["auc"], row.as_of) == (churn["auc"], NOON)
    assert Futures.load(world.blobs.get(trained.hash)).hash == trained.hash


@pytest.mark.feature("CM-72")
def test_it_ranks_planted_look_alikes_of_the_best_above_decoys(world: World) -> None:
    world.run(NOON, retrain=True)
    best = world.scores("best")
    alike = [best[f"alike-{number}"] for number in range(6)]
    other = [best[f"other-{number}"] for number in range(6)]
    assert min(alike) > max(other), (alike, other)


def test_it_scores_nobody_who_refuses_profiling(world: World) -> None:
    world.run(NOON, retrain=False)
    assert "other-0" in world.scores("churn")
    no = {"type": "track", "event": "Consent Changed", "userId": "other-0", "messageId": "no-other-0"}
    world.tell(no | {"timestamp": NOON.isoformat(), "properties": {"purpose": "profiling", "granted": False}})
    world.run(NOON, retrain=False)
    assert "other-0" not in world.scores("churn")
    assert "other-1" in world.scores("churn")


def test_a_damaged_signal_costs_nobody_else_their_scores_and_its_own_person_none(world: World) -> None:
    first = world.run(NOON, retrain=False)
    known, then = world.scores("churn"), NOON - timedelta(days=21)
    [row] = world.rows("SELECT profile_id, value FROM identifier WHERE type = 'user_id' AND profile_id = 1")
    assert row.value in known
    with damaged_signal(world.intake.sessions, row.profile_id):
        run = world.run(then, retrain=True)
    assert (run.why_no_model, run.people) == (None, first.people - 1)
    as_of = {one.profile_id: one.as_of for one in world.rows("SELECT profile_id, as_of FROM profile_score")}
    assert as_of.pop(row.profile_id) == NOON
    assert set(as_of.values()) == {then}
    assert world.scores("churn")[row.value] == known[row.value]


def test_it_lets_one_run_go_on_at_a_time_and_ends_what_was_broken_off(world: World) -> None:
    with db.alone(world.intake.sessions, ALONE, "another runs"), pytest.raises(Conflict, match="already"):
        world.run()
    broken = "INSERT INTO score_run (asked_at, asked_by, began_at) VALUES (now(), 'test', now()) RETURNING id"
    [row] = world.rows(broken)
    world.run(NOON, retrain=False)
    [ended] = world.rows("SELECT people, why_no_model FROM score_run WHERE id = :id", id=row.id)
    assert (ended.people, ended.why_no_model) == (0, "it was broken off")


def test_it_computes_from_the_command_line(world: World, tmp_path: Path) -> None:
    SteppedClock(tmp_path / "clock", NOON).close()
    environ = {
        "LATEBIND_VAR": str(tmp_path), "LATEBIND_CLOCK_FILE": str(tmp_path / "clock"),
        "LATEBIND_DATABASE_URL": world.database_url, "LATEBIND_REDIS_URL": world.redis_url,
        "LATEBIND_HASH_KEY": world.intake.hash_key.hex(), "LATEBIND_PII_KEYS": f"1:{PII_KEYS[1].hex()}",
    }  # fmt: skip
    done = CliRunner().invoke(command, ["--at", "2026-02-20T00:00:00Z", "--train"], env=environ)
    assert done.exit_code == 0, done.output
    assert "churn      auc" in done.output
    assert "people as of 2026-02-20T00:00:00+00:00; flagged: service 0" in done.output
    # However often the schedule puts a job: one press is one run.
    with world.intake.sessions.begin() as session:
        asked = scores.ask(session, NOON, MANAGER).id
    for said in (f"run {asked}: ", "no scores are due\n"):
        done = CliRunner().invoke(command, ["--scheduled", "--no-train"], env=environ)
        assert (done.exit_code, said in done.output) == (0, True), done.output
    wrong = CliRunner().invoke(command, ["--at", "yesterday"], env=environ)
    assert isinstance(wrong.exception, InvalidInput)
