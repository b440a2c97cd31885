"""The demo's catalogue once the story is told: the shop tells all of it as of now, and no feed is stale."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from base import db
from base.clock import SteppedClock
from campaigns.products import hot
from signals import feedhealth
from signals.products import Product
from signals.sources import create_source
from tests.campaigns.shop import Shop
from workers.demo.calendar import Calendar
from workers.demo.journey import package_folder
from workers.demo.loading import load, tell_catalogue_again
from workers.demo.reset import SOURCE_PREFIX, take_back
from workers.demo.stage import Api, Stage, Voice


@pytest.fixture
def stage(shop: Shop, tmp_path: Path) -> Iterator[Stage]:
    """The stage of a demo with one household's year."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("transactions", "demographics", "products"):
        table = pq.read_table(str(package_folder() / f"{name}.parquet"))
        if "household_id" in table.column_names:
            table = table.filter(pc.equal(table["household_id"], 1))
        pq.write_table(table, str(data / f"{name}.parquet"))
    calendar = Calendar.ending_before(shop.now)
    clock = SteppedClock(tmp_path / "clock", calendar.story)
    made = Stage(
        settings=shop.settings, clock=clock, calendar=calendar, folder=tmp_path, api=Api("http://127.0.0.1:1", ""),
        say=Voice(print), engine=db.connect(shop.settings.database_url), sessions=shop.sessions, store=shop.store,
        blobs=shop.blobs, data=data,
    )  # fmt: skip
    yield made
    made.engine.dispose()
    clock.close()


def told_at(stage: Stage) -> set[tuple[datetime, datetime]]:
    """When products were last told: by the database and, as opens read it, by the store."""
    with db.transaction(stage.sessions) as session:
        rows = {row.id: row.feed_at for row in session.scalars(select(Product))}
    assert len(rows) > 100
    stored = [(at, hot(stage.store, name)) for name, at in rows.items()]
    assert all(read is not None for _, read in stored)
    return {(at, datetime.fromtimestamp(read.feed_ms / 1000, UTC)) for at, read in stored if read is not None}


def quiet(stage: Stage) -> int:
    """How many feeds are stale to who needs all products of the last two days."""
    with db.transaction(stage.sessions) as session:
        needed = {timedelta(days=2): session.scalars(select(Product.id)).all()}
        return feedhealth.quiet(session, needed, stage.now)


def test_it_ends_with_its_whole_catalogue_told_and_goes_back_with_the_story(stage: Stage) -> None:
    digest = load(stage)
    story, after = stage.calendar.story, stage.calendar.closed + timedelta(days=3)
    assert told_at(stage) == {(story, story)}
    stage.clock.set(after)
    assert quiet(stage) == 1
    tell_catalogue_again(stage)
    assert quiet(stage) == 0
    assert told_at(stage) == {(after, after)}
    # The next run takes it back to the story's now, and opens read that at once.
    with db.transaction(stage.sessions) as session:
        create_source(session, f"{SOURCE_PREFIX} 1", "server", story)
    stage.clock.set(story)
    assert load(stage) == digest
    take_back(stage)
    assert told_at(stage) == {(story, story)}
