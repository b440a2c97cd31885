"""The ladder of degradation, each rung forced at the endpoint: model, rules, last decision, default, static picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from base import stores
from base.blobs import FolderBlobs
from base.clock import FixedClock, monotonic
from base.embedded import ValkeyServer
from base.settings import Settings
from render.app import create_app
from render.parts import Parts
from render.pressure import CALM_SECONDS, Shedding, Step
from tests.render.mail import Mail, browser, size_of
from tests.render.shoe_shop import (
    ATTIRE,
    DEFAULT,
    DISCOUNT,
    NOON,
    SENT,
    SHOES,
    bought,
    model_bytes,
    plan,
    product,
    state,
)

DEADLINE = 0.25


@pytest.fixture
def frail(own_valkey: ValkeyServer, render_settings: Settings) -> Iterator[Mail]:
    """The mail of a campaign that wants a model, on a Valkey of its own."""
    store = stores.connect(own_valkey.url)
    made = Mail(store, replace(render_settings, redis_url=own_valkey.url), plan("model"))
    made.know(state())
    yield made
    store.close()


@pytest.fixture
def app(frail: Mail, noon: FixedClock) -> Iterator[Flask]:
    """The app over it."""
    made = create_app(frail.settings, noon)
    # It may be reading a campaign at the very moment a test publishes another plan of it.
    made.extensions["parts"].warmer.stop()
    frail.published = made.extensions["parts"].lookup.forget
    yield made
    made.extensions["parts"].close()


def counted(client: FlaskClient, name: str, label: str = "") -> int:
    """One counter of /metrics."""
    wanted = f"latebind_render_{name}_total{label} "
    lines = client.get("/metrics").text.splitlines()
    return round(float(next(line.rpartition(" ")[2] for line in lines if line.startswith(wanted))))


def answered(client: FlaskClient) -> dict[str, int]:
    """The rungs that pictures came from, those that gave any."""
    rungs = ("cached", "drawn", "last", "default", "static")
    return {rung: n for rung in rungs if (n := counted(client, "answers", f'{{rung="{rung}"}}'))}


def offer_shown(mail: Mail) -> int:
    """The offer of the newest recorded decision."""
    return mail.decisions()[-1].slots[0].offer


@pytest.mark.feature("OP-05")
def test_it_comes_down_the_ladder_one_rung_at_a_time_and_counts_each(
    frail: Mail, own_valkey: ValkeyServer, client: FlaskClient, parts: Parts, noon: FixedClock
) -> None:
    def fetch() -> None:
        answer = client.get(frail.url(), headers=browser())
        assert (answer.status_code, size_of(answer.data)) == (200, (1200, 400))

    # The model: it is loaded, so it decides.
    digest = FolderBlobs(Path(frail.settings.blob_url)).put(model_bytes())
    assert parts.models.load(digest)
    frail.publish(model=digest)
    fetch()
    assert (frail.decisions()[-1].rung, frail.decisions()[-1].model, offer_shown(frail)) == ("model", digest, DISCOUNT)
    assert counted(client, "decisions", '{rung="model"}') == 1

    # The rules: the model's bytes are nowhere to be had.
    frail.publish(model="f" * 64)
    frail.know(state([bought(ATTIRE, SENT - timedelta(days=9), order="o1")]))
    fetch()
    made = frail.decisions()[-1]
    assert (made.rung, made.reason, offer_shown(frail)) == ("rules", "no model", DISCOUNT)
    assert (counted(client, "decisions", '{rung="rules"}'), counted(client, "without_model")) == (1, 1)

    # The last decision: the store can be read but takes nothing, and what was shown last is still true.
    frail.store.config_set("maxmemory", 1)
    before = answered(client)
    noon.advance(timedelta(hours=2))
    fetch()
    assert answered(client) == before | {"last": 1}
    assert counted(client, "unagreed") == 1

    # The default: the shoes were bought since, so the last decision would be wrong.
    frail.store.config_set("maxmemory", 0)
    frail.know(state([bought(SHOES, NOON, order="o2")]))
    frail.store.config_set("maxmemory", 1)
    fetch()
    assert answered(client) == before | {"last": 1, "default": 1}

    # The static picture: the plan itself is lost.
    frail.store.config_set("maxmemory", 0)
    frail.go_live("0" * 64)
    fetch()
    assert answered(client) == before | {"last": 1, "default": 1, "static": 1}

    # Everything that went out has its record, those that the store refused by way of the disk.
    deadline = monotonic() + 10
    while parts.spool.waiting():  # The app's own thread may be at them.
        parts.spool.drain(parts.recorder._append)
        assert monotonic() < deadline
    fetches = frail.fetches()
    assert sorted(made.rung for made in fetches) == ["cached", "default", "drawn", "last", "static"]
    last = next(made for made in fetches if made.rung == "last")
    assert last.decision == frail.decisions()[1].id
    own_valkey.kill()
    fetch()
    assert answered(client) == before | {"last": 1, "default": 1, "static": 2}


def test_it_shows_the_last_decision_only_while_every_word_of_it_is_true(
    frail: Mail, client: FlaskClient, noon: FixedClock
) -> None:
    """A price that changed since would be a wrong offer, though the rules admit it."""
    shown = {"needs_stock": True, "shows_price": True, "product": "tights-1"}
    frail.publish(plan(discount=shown, tights={"product": None, "needs_stock": False}))
    client.get(frail.url(), headers=browser())
    assert offer_shown(frail) == DISCOUNT
    frail.store.config_set("maxmemory", 1)
    for price, rung in ((4999, "last"), (5999, "default")):
        noon.advance(timedelta(hours=2))
        frail.store.config_set("maxmemory", 0)
        frail.stock(product(price=price))
        frail.store.config_set("maxmemory", 1)
        before = answered(client).get(rung, 0)
        client.get(frail.url(), headers=browser())
        assert answered(client)[rung] == before + 1
    frail.store.config_set("maxmemory", 0)


def test_it_decides_by_the_rules_when_the_model_fails(frail: Mail, client: FlaskClient, parts: Parts) -> None:
    class Broken:
        hash = "b" * 64

        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    parts.models._held["b" * 64] = Broken()  # type: ignore[assignment]
    frail.publish(model="b" * 64)
    assert client.get(frail.url(), headers=browser()).status_code == 200
    assert (frail.decisions()[0].rung, offer_shown(frail)) == ("rules", DISCOUNT)
    assert counted(client, "errors", '{step="decide"}') == 1


def test_it_leaves_out_the_model_then_the_decision_while_the_process_is_behind(
    frail: Mail, client: FlaskClient, parts: Parts, noon: FixedClock
) -> None:
    digest = FolderBlobs(Path(frail.settings.blob_url)).put(model_bytes())
    assert parts.models.load(digest)
    frail.publish(model=digest)
    waiting = 0
    parts.pressure.watch(lambda: waiting)

    def fetch(profile: int) -> None:
        frail.delivery = msgspec.structs.replace(frail.delivery, profile=profile)
        if not frail.store.exists(f"{{{profile}}}:state"):
            frail.know(state())
        assert client.get(frail.url(), headers=browser()).status_code == 200

    fetch(1)
    # One takes a millisecond or more here; the deadline is 5 s, so 1,500 wait for 1.5 s or longer.
    waiting = 1_500
    fetch(2)
    waiting = 30_000
    noon.advance(timedelta(hours=2))
    fetch(1)
    fetch(3)
    assert [(made.rung, made.reason) for made in frail.decisions()] == [
        ("model", None),
        ("rules", "busy"),
        ("default", "busy"),
    ]
    assert [made.slots[0].offer for made in frail.decisions()] == [DISCOUNT, DISCOUNT, DEFAULT]
    assert answered(client)["last"] == 1
    assert (counted(client, "shed", '{step="model"}'), counted(client, "shed", '{step="decision"}')) == (1, 2)
    # What was shown once more was marked as seen, so a click follows it.
    frail.delivery = msgspec.structs.replace(frail.delivery, profile=1)
    assert frail.lane().shown[0][-1].offer == DISCOUNT
    waiting = 0
    until = monotonic() + 5
    while parts.pressure.step():
        assert monotonic() < until
    fetch(4)
    assert frail.decisions()[-1].rung == "model"


def test_it_steps_down_at_once_and_back_up_only_after_a_calm_while() -> None:
    shedding, now = Shedding(DEADLINE), 100.0

    def after(seconds: float, waiting: int) -> Step:
        nonlocal now
        now += seconds
        return shedding.observe(waiting, now)

    assert [after(0.001, 0), after(0.001, 60)] == [Step.FULL, Step.FULL]
    assert after(0.001, 70) == Step.NO_MODEL
    assert after(0.001, 200) == Step.NO_DECISION
    assert after(0.001, 0) == Step.NO_DECISION
    # A wait of more than half of what made it step down keeps it down.
    for _ in range(1000):
        assert after(0.001, 70) == Step.NO_DECISION
    assert after(CALM_SECONDS, 0) == Step.NO_MODEL
    assert after(CALM_SECONDS / 2, 0) == Step.NO_MODEL
    assert after(CALM_SECONDS / 2, 0) == Step.FULL
    # After a pause nothing is left of it, however far down it was; a slow process is behind with fewer.
    after(0.001, 500)
    assert after(10, 0) == Step.FULL
    for _ in range(100):
        after(0.02, 1)
    assert after(0.02, 4) == Step.NO_MODEL


def test_it_never_leaves_anything_out_when_nobody_waits_or_nobody_can_tell(parts: Parts) -> None:
    assert parts.pressure.step() == Step.FULL
    shedding = Shedding(DEADLINE)
    assert {shedding.observe(0, 1 + number / 1000) for number in range(1000)} == {Step.FULL}
