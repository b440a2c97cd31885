"""The alarms an operator is given: each real fault makes the alarm of its name fire, and mending it clears it."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # of schemathesis

from base import keys
from base.blobs import FolderBlobs
from campaigns import alarms, publish
from render import record
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Web
from tests.promises.ground import Ground
from tests.promises.reader import fetch
from tests.promises.world import World, until
from tests.render.shoe_shop import model_bytes
from tests.serving import Served
from tests.streams import a_stream


@pytest.fixture
def web(world: World) -> Iterator[Web]:
    """The pages of this world."""
    made = Web(world.shop)
    yield made
    made.close()


def firing(web: Web) -> set[str]:
    """The alarms that fire, as the API tells them."""
    told = web.program("admin").told("GET", "/system/alarms")["alarms"]
    return {one["name"] for one in told if one["firing"]}


def gauge(web: Web, name: str) -> float:
    """A gauge of the pages' /metrics."""
    lines = web.stranger().get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"latebind_{name} "))


@pytest.mark.feature("OP-11")
def test_it_raises_the_alarm_of_each_fault_and_clears_it_when_mended(ground: Ground, web: Web, prompt: Served) -> None:
    world = ground.world
    story = world.story("alarms", people=6, mode="model")
    paths = [mail.pictures[0] for mail in story.mails.values()]
    world.recorded()
    # What earlier tests did to this world is older than what alarms look at.
    world.clock.advance(timedelta(minutes=6))
    world.tell({"type": "track", "userId": story.names[0], "event": "Page Viewed"})
    world.stock(story.product, 5)
    until(lambda: not firing(web), "all to be well")

    # The store does not answer. The pages do, and let people in.
    for pid in ground.store_pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert gauge(web, "store_away") == 1
        page = web.browser("admin").get("/system/").text
        assert "The hot store does not answer" in page.partition("What waits")[0].partition("fine")[0]
    finally:
        for pid in ground.store_pids:
            os.kill(pid, signal.SIGCONT)
    until(lambda: "StoreAway" not in firing(web), "the store to answer")

    # The recorder is stopped: what is fetched waits on the stream.
    world.programs["recorder"].kill()
    fetch(world.render.url, paths[0])
    until(lambda: "RecordsBehind" in firing(web), "records to wait")
    assert gauge(web, "record_lag_seconds") > 10
    world.run("recorder")
    until(lambda: "RecordsBehind" not in firing(web), "the recorder to catch up")

    # A render process seals with another key than the recorders'.
    stream = a_stream(world.store)
    world.store.xadd(stream, {record.STREAM_FIELD: b"sealed with another key"})
    until(lambda: "RecordsSetAside" in firing(web), "a record to be set aside")
    world.store.delete(keys.refused(stream))
    assert "RecordsSetAside" not in firing(web)

    # Render cannot reach the store: readers get defaults, whose records come when it is back.
    ground.proxy.stall()
    unread = world.metric("unread")
    try:
        for path in paths[1:]:
            assert fetch(prompt.url, path).status == 200
        assert world.metric("unread") > unread
    finally:
        ground.proxy.flow()
    world.recorded()
    assert "FallbackShare" in firing(web)
    assert gauge(web, "fallback_share") > 0.05
    world.clock.advance(timedelta(minutes=6))
    assert "FallbackShare" not in firing(web)

    # The model's bytes are nowhere to be had.
    with world.sessions.begin() as session:
        publish.switch(
            session, world.store, story.campaign, "set model", world.shop.now, MANAGER, {"model_hash": "e" * 64}
        )
    world.settle()
    for path in paths:
        fetch(world.render.url, path)
    world.recorded()
    assert "ModelGone" in firing(web)
    digest = FolderBlobs(Path(world.settings.blob_url)).put(model_bytes())
    with world.sessions.begin() as session:
        publish.switch(
            session, world.store, story.campaign, "set model", world.shop.now, MANAGER, {"model_hash": digest}
        )

    def model_decides() -> bool:
        world.clock.advance(timedelta(hours=2))
        fetch(world.render.url, paths[0])
        world.recorded()
        return "ModelGone" not in firing(web)

    until(model_decides, "the model to decide")

    # Nothing was told for hours by now.
    assert "SignalsQuiet" in firing(web)
    world.tell({"type": "track", "userId": story.names[0], "event": "Page Viewed"})
    assert "SignalsQuiet" not in firing(web)


def test_it_gives_prometheus_the_limits_of_the_page_on_metrics_that_there_are(web: Web, world: World) -> None:
    assert alarms.RULES.read_text() == alarms.rules(), "run python -m campaigns.alarms"
    rules = yaml.safe_load(alarms.RULES.read_text())["groups"][0]["rules"]
    assert {alarm.name for alarm in alarms.ALARMS} < {rule["alert"] for rule in rules}
    fetch(world.render.url, world.story("watched").mail().pictures[0])
    world.recorded()
    with urllib.request.urlopen(f"{world.render.url}/metrics", timeout=30) as answer:
        known = answer.read().decode() + web.stranger().get("/metrics").text
    # A share of nothing has no sample; its gauge is there as soon as something happens.
    absent = {"latebind_modelless_share", "latebind_model_drift", "latebind_model_gap"}
    for rule in rules:
        for name in re.findall(r"latebind_\w+", rule["expr"]):
            assert name in absent or f"\n{name}" in known, name
    for name in ('open_seconds{quantile="0.99"}', 'decisions{rung="rules"}'):
        assert f"\nlatebind_{name} " in known
