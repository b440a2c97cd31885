"""Training the next-best-offer model on stored signals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from base import db
from base.blobs import FolderBlobs
from base.clock import SteppedClock
from base.embedded import PostgresServer, ValkeyServer
from base.errors import InvalidInput
from campaigns.models.learning import TrainedModel, TrainingRun
from render.model import Model
from signals.candidates import MODEL_FEATURES, CandidateContext, candidate_matrix
from signals.fold import fold_all
from signals.foldevent import fold_event
from signals.histories import Told
from signals.moments import unix_ms
from tests.conftest import NOON
from tests.damage import damaged_signal
from tests.databases import PII_KEYS
from tests.workers.buyers import RHYTHMS, WEEKS, World, buyers, order, shopping
from tests.workers.test_withheld import by_lot
from workers import fitting, training
from workers.commands.train import command
from workers.examples import Examples, replay
from workers.judgement import table
from workers.showings import Archive
from workers.timetable import OUTCOME, PARTS, Timetable
from workers.training import document, register, train

PEOPLE = 90
CATEGORIES = {name: number for number, name in enumerate(RHYTHMS, 1)}


def told_of(events: Sequence[dict[str, object]]) -> list[Told]:
    """The events as folding sees stored ones, in canonical order."""
    told = []
    for number, raw in enumerate(events, 1):
        at = datetime.fromisoformat(str(raw["timestamp"]))
        event = fold_event(raw, CATEGORIES.get, time_ms=unix_ms(at), source=1, arrival=number)
        told.append(Told(event, True, True, None))
    return sorted(told, key=lambda entry: entry.key)


def contexts() -> list[CandidateContext]:
    return [CandidateContext(number, popularity=0.1, after={1: 0.2}) for number in CATEGORIES.values()]


def lots(events: Sequence[dict[str, object]], timetable: Timetable) -> list[tuple[str, Examples]]:
    return list(replay(7, told_of(events), timetable, [contexts()] * 40, frozenset()))


@pytest.fixture(scope="module")
def world(postgres: PostgresServer, valkey_server: ValkeyServer) -> Iterator[World]:
    """One for all tests of this file: they only read it, but for the list of models."""
    with buyers(postgres, valkey_server, "training", PEOPLE) as made:
        yield made


def test_it_parts_the_weeks_so_that_no_part_sees_the_outcomes_of_another() -> None:
    timetable = Timetable.before(NOON, NOON - timedelta(weeks=40))
    for profile in range(50):
        snapshots = timetable.snapshots(profile)
        assert [one.at for one in snapshots] == sorted(one.at for one in snapshots)
        for earlier, later in pairwise(PARTS):
            last = max(one.closes for one in snapshots if one.part == earlier)
            assert last <= min(one.at for one in snapshots if one.part == later)
        assert max(one.closes for one in snapshots) <= timetable.end <= NOON
    hours = {(one.at.weekday(), one.at.hour) for profile in range(500) for one in timetable.snapshots(profile)}
    assert len(hours) > 100


def test_it_asks_for_a_longer_history_instead_of_training_on_none() -> None:
    with pytest.raises(InvalidInput, match="at least 17 weeks"):
        Timetable.before(NOON, NOON - timedelta(weeks=16))


def test_it_uses_nothing_after_a_snapshot_but_the_outcome() -> None:
    events = shopping(7, NOON)
    timetable = Timetable.before(NOON, NOON - timedelta(weeks=WEEKS))
    whole = lots(events, timetable)
    assert len(whole) >= 10
    for _, lot in whole:
        at = datetime.fromtimestamp(int(lot.at_ms[0]) / 1000, UTC)
        before = [event for event in events if datetime.fromisoformat(str(event["timestamp"])) < at]
        elsewise = [order(7, at + timedelta(hours=hours), "Rice", "Tea", "Soap") for hours in (1, 30, 200, 2000)]
        for future in ([], elsewise):
            again = next(one for _, one in lots(before + future, timetable) if one.at_ms[0] == lot.at_ms[0])
            assert again.features.tobytes() == lot.features.tobytes()
            assert again.favourite.tobytes() == lot.favourite.tobytes()


def test_it_takes_features_and_outcomes_as_the_signals_have_them() -> None:
    events = shopping(7, NOON)
    timetable = Timetable.before(NOON, NOON - timedelta(weeks=WEEKS))
    for _, lot in lots(events, timetable):
        at = datetime.fromtimestamp(int(lot.at_ms[0]) / 1000, UTC)
        times = [(datetime.fromisoformat(str(event["timestamp"])), event) for event in events]
        state = fold_all(entry.event for entry in told_of([event for when, event in times if when < at]))
        assert lot.features.tobytes() == candidate_matrix(state, contexts(), at).tobytes()
        bought = {
            CATEGORIES[line["category"]]
            for when, event in times
            if at <= when < at + OUTCOME
            for line in event["properties"]["products"]  # type: ignore[index]
        }
        assert [number in bought for number in lot.categories.tolist()] == lot.outcomes.astype(bool).tolist()


def test_it_learns_rhythms_and_beats_popularity_on_the_weeks_held_out(world: World, tmp_path: Path) -> None:
    said: list[str] = []
    trained = train(world.sessions, world.url, NOON, said.append, processes=1)
    model, favourite, popularity = trained.rivals
    assert (model.name, popularity.name) == ("model", "popularity")
    assert model.auc > max(popularity.auc, favourite.auc)
    assert model.log_loss < popularity.log_loss
    assert trained.measures["ece"] < 0.1
    assert document(trained)["calibrated_on"] == training.HELD_OUT
    assert abs(trained.measures["mean_predicted"] - trained.measures["mean_observed"]) < 0.06
    assert sum(row.count for row in trained.reliability) == trained.measures["test_snapshots"] * len(RHYTHMS)
    assert any("candidates a snapshot" in line for line in said), "the rule of sampling is told"
    for one in trained.candidates:
        assert sum(row.count for row in one.reliability) == trained.measures["test_snapshots"]
        assert one.ece < 0.2
    better = sum(one.brier < one.plain_brier for one in trained.candidates)
    assert better >= len(RHYTHMS) - 1, [(one.slug, one.brier, one.plain_brier) for one in trained.candidates]
    lines = table(document(trained))
    assert lines[1].startswith("model ")
    assert any(line.startswith("own favourite") for line in lines)

    # The same signals give the same bytes, however many processes replay them.
    again = train(world.sessions, world.url, NOON, lambda line: None, processes=2)
    assert again.hash == trained.hash
    loaded = Model.load(again.artefact)
    assert loaded.artefact.features == MODEL_FEATURES
    probabilities = loaded.predict(candidate_matrix(fold_all([]), contexts(), NOON))
    assert np.all((probabilities >= 0) & (probabilities <= 1))

    # Who has a damaged signal is learnt nothing from, and everybody else as before.
    with damaged_signal(world.sessions, 1):
        fewer = train(world.sessions, world.url, NOON, lambda line: None, processes=2)
    assert 0 < trained.measures["test_snapshots"] - fewer.measures["test_snapshots"] < 20

    # Listed once, and its bytes are kept by its hash.
    blobs = FolderBlobs(tmp_path)
    for _ in range(2):
        with db.transaction(world.sessions) as session:
            digest = register(session, blobs, trained, NOON)
    with db.transaction(world.sessions) as session:
        [row] = session.scalars(select(TrainedModel)).all()
        assert (row.hash, row.state, row.features) == (digest, "trained", list(MODEL_FEATURES))
        assert row.metrics["measures"]["auc"] == trained.measures["auc"]
    assert Model.load(blobs.get(digest)).hash == digest


def test_it_calibrates_by_crossing_where_the_weeks_for_that_hold_too_few_purchases(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(training, "LEAST_CALIBRATING", 10**6)
    monkeypatch.setattr(training, "withheld", lambda *known: by_lot(2_400, moved=0.4, share=0.48))
    archive = Archive(FolderBlobs(tmp_path), bytes(32))
    trained = train(world.sessions, world.url, NOON, said.append, processes=1, archive=archive)
    assert document(trained)["calibrated_on"] == training.CROSSED
    assert f"calibrated on {training.CROSSED}" in said
    # What was not seen by trees nor table comes true as often as is said, and every stretch was scored by others.
    assert trained.measures["ece"] < 0.06
    assert 0.9 < trained.measures["mean_predicted"] / trained.measures["mean_observed"] < 1.1
    # What was learnt of showing goes into the same artefact, and onto the model's page.
    effects = document(trained)["effects"]
    assert (effects["used"], len(effects["parts"])) == (True, 3), effects
    told = by_lot(100, moved=0.4, seed=3).features
    found = Model.load(trained.artefact).predict_effects(told)
    assert found is not None
    assert found[told[:, 0] > 0.5].mean() > found[told[:, 0] < 0.5].mean() + 0.2


def test_it_scores_a_stretch_by_trees_that_did_not_see_it() -> None:
    chance = np.random.default_rng(4)
    features = chance.random((4000, len(MODEL_FEATURES)), dtype=np.float32)
    outcomes = (chance.random(4000) < 0.3).astype(np.float32)
    days = np.repeat(np.arange(40), 100)
    blocks = fitting.stretches(days, outcomes, 4)
    assert all(len(set(blocks[days == day])) == 1 for day in range(40))
    assert np.bincount(blocks, weights=outcomes).min() > 0.2 * outcomes.sum()
    before = fitting.crossed(features, outcomes, blocks)
    changed = np.where(blocks == 2, 1 - outcomes, outcomes)
    after = fitting.crossed(features, changed, blocks)
    np.testing.assert_array_equal(after[blocks == 2], before[blocks == 2])
    assert np.abs(after[blocks != 2] - before[blocks != 2]).max() > 0.05


def test_it_says_when_there_is_nothing_to_learn_from(sessions: db.Sessions, database_url: str) -> None:
    with pytest.raises(InvalidInput, match="no order yet"):
        train(sessions, database_url, NOON, lambda line: None)


def test_it_trains_from_the_command_line(world: World, valkey_url: str, tmp_path: Path) -> None:
    environ = {
        "LATEBIND_VAR": str(tmp_path),
        "LATEBIND_CLOCK_FILE": str(tmp_path / "clock"),
        "LATEBIND_DATABASE_URL": world.url,
        "LATEBIND_REDIS_URL": valkey_url,
        "LATEBIND_SUBJECT_KEY": "7" * 64,
        "LATEBIND_PII_KEYS": f"1:{PII_KEYS[1].hex()}",
    }
    SteppedClock(tmp_path / "clock", NOON).close()
    done = CliRunner().invoke(
        command, ["--processes", "1", "--bags", "2", "--scheduled"], env=environ, catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "own favourite, 84 days" in done.output
    [digest] = re.findall(r"^model ([0-9a-f]{64}), \d+ bytes", done.output, re.MULTILINE)
    model = Model.load(FolderBlobs(tmp_path / "blobs").get(digest))
    assert model.hash == digest
    matrix = candidate_matrix(fold_all([]), contexts(), NOON)
    with db.transaction(world.sessions) as session:
        (run,) = session.scalars(select(TrainingRun)).all()
        assert (run.state, run.model_hash, run.message) == ("done", digest, "Trained; in no campaign yet.")
        effects = session.get_one(TrainedModel, digest).metrics["effects"]
    assert not effects["used"]
    assert effects["why"].startswith("not enough data: no campaign keeps people on neutral content")
    assert model.predict_effects(matrix) is None
    bags = model.predict_bags(matrix)
    assert len(bags) == 2
    assert len({tuple(said) for said in (model.predict(matrix), *bags)}) == 3, "each drew other people"
