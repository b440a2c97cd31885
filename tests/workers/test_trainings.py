"""Trainings by the schedule: when they are due, never two at once, and where the model goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from base import db
from base.blobs import blobs_from
from base.clock import SteppedClock
from base.errors import Conflict, InvalidInput
from base.queues import QueueName, queue
from campaigns import registry, rollout
from campaigns.models.campaign import Campaign
from campaigns.models.learning import TrainingRun
from tests.campaigns.enlisting import enlisted
from tests.campaigns.shop import MANAGER, Shop
from tests.conftest import NOON
from tests.databases import PII_KEYS
from workers import trainings
from workers.commands.train import command
from workers.jobs import TRAIN_MODEL
from workers.schedule import Scheduler

WEEK = timedelta(days=7)


def began(shop: Shop) -> int:
    with shop.sessions.begin() as session:
        return trainings.begin(session, shop.now)


def is_due(shop: Shop) -> bool:
    with shop.sessions.begin() as session:
        return trainings.is_due(session, shop.now, WEEK)


def test_it_lets_one_training_run_at_a_time(shop: Shop) -> None:
    def attempt(_number: int) -> bool:
        try:
            began(shop)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 1
    shop.clock.advance(trainings.LOST_AFTER - timedelta(seconds=1))
    assert not is_due(shop)
    with pytest.raises(Conflict, match="another training is running"):
        began(shop)

    # Its process died: it makes room, and the page says so.
    shop.clock.advance(timedelta(seconds=1))
    assert is_due(shop)
    number = began(shop)
    with shop.sessions.begin() as session:
        trainings.end(session, number, shop.now, "Too few orders.")
        told = [(run.state, run.message) for run in registry.runs(session)]
    assert told == [("failed", "Too few orders."), ("failed", "It was not heard of again.")]
    assert not is_due(shop), "a failure is not tried again before its time"
    shop.clock.advance(WEEK)
    assert is_due(shop)


def test_it_is_put_on_the_queue_once_where_it_is_wanted_and_due(shop: Shop) -> None:
    def jobs_of(days: int) -> list[str]:
        settings = replace(shop.settings, retrain_days=days)
        loop = Scheduler(settings, shop.sessions, shop.store, shop.queues, blobs_from(settings), shop.clock)
        loop.tick()
        return [str(job.func_name) for job in queue(QueueName.WORK, shop.queues).get_jobs()]

    assert jobs_of(0) == []
    for _ in range(2):
        assert jobs_of(7) == [TRAIN_MODEL], "one waits already"
    shop.queues.delete(queue(QueueName.WORK, shop.queues).key)
    number = began(shop)
    assert jobs_of(7) == []
    with shop.sessions.begin() as session:
        trainings.end(session, number, shop.now, "Trained.", "a" * 64)
    assert jobs_of(7) == []
    shop.clock.advance(WEEK)
    assert jobs_of(7) == [TRAIN_MODEL]


def test_it_goes_into_the_shadow_where_a_model_decides_and_none_is_tried(shop: Shop) -> None:
    old, tried, new = (enlisted(shop, {number: 0.9}) for number in (1, 2, 3))
    by_rules, by_model, trying = (shop.campaign() for _ in range(3))
    with shop.sessions.begin() as session:
        for campaign in (by_model, trying):
            rollout.to_live(session, shop.store, shop.blobs, campaign, old, shop.now, MANAGER, "first")
        rollout.to_shadow(session, shop.store, shop.blobs, trying, tried, shop.now, MANAGER)
    for _ in range(2):
        with shop.sessions.begin() as session:
            trainings.into_the_shadow(session, shop.store, shop.blobs, new, shop.now)
    with shop.sessions.begin() as session:
        rows = session.scalars(select(Campaign).order_by(Campaign.id)).all()
        assert {row.id: row.shadow_hash for row in rows} == {by_rules: None, by_model: new, trying: tried}
        assert {row.model_hash for row in rows} == {None, old}
        assert rollout.moves(session, digest=new)[0].reason == "It was trained by the schedule."


def test_it_says_why_a_training_failed(shop: Shop, tmp_path: Path) -> None:
    environ = {
        "LATEBIND_VAR": str(tmp_path),
        "LATEBIND_CLOCK_FILE": str(tmp_path / "clock"),
        "LATEBIND_DATABASE_URL": shop.settings.database_url,
        "LATEBIND_REDIS_URL": shop.settings.redis_url,
        "LATEBIND_PII_KEYS": f"1:{PII_KEYS[1].hex()}",
    }
    SteppedClock(tmp_path / "clock", NOON).close()
    done = CliRunner().invoke(command, ["--scheduled"], env=environ)
    assert isinstance(done.exception, InvalidInput)
    with db.transaction(shop.sessions) as session:
        (run,) = session.scalars(select(TrainingRun)).all()
        assert (run.state, run.model_hash) == ("failed", None)
        assert "no order yet" in run.message
