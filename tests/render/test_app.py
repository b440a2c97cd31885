"""Whatever is down, deleted or stalled: a valid token gets 200 and a whole picture of its size, in time."""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from flask.testing import FlaskClient

from base import keys, stores
from base.blobs import FolderBlobs
from base.clock import FixedClock, monotonic, pause
from base.embedded import ValkeyServer
from base.ids import Delivery
from base.settings import Settings
from base.tokens import TokenKeys
from render.app import build_parts, create_app
from render.cache import PictureCache
from render.creative import Background, Creative
from render.encode import CONTENT_TYPES
from render.fallback import Ladder
from render.fonts import Fonts
from render.open import open_picture
from render.parts import Parts
from render.pictures import Pictures
from tests.render.mail import Mail, browser, size_of
from tests.render.shoe_shop import DEFAULT, DISCOUNT, plan, state
from tests.serving import Serve, Served

DEADLINE_MS = 250
# On top of the deadline: the machine runs other tests, and an HTTP client beside the server.
SLACK_SECONDS = 0.25


@pytest.fixture
def frail(own_valkey: ValkeyServer, render_settings: Settings) -> Iterator[Mail]:
    """The mail, on the Valkey that will go away."""
    settings = replace(render_settings, redis_url=own_valkey.url, deadline_ms=DEADLINE_MS)
    store = stores.connect(own_valkey.url)
    made = Mail(store, settings)
    made.publish(plan(slots=3))
    made.know(state())
    yield made
    store.close()


class Load:
    """Mail clients that keep fetching, each time another person's picture; notes every answer and its time."""

    def __init__(self, mail: Mail, url: str, clients: int = 3) -> None:
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._mail = mail
        self._url = url
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._fetch, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _fetch(self, client: int) -> None:
        tokens = TokenKeys.from_settings(self._mail.settings)
        number = client * 100_000
        while not self._stopped.is_set():
            number += 1
            mail = Mail(self._mail.store, self._mail.settings, self._mail.plan, Delivery(number, 7, 1))
            mail.tokens = tokens
            started = monotonic()
            try:
                request = urllib.request.Request(self._url + mail.url(number % 3), headers=browser())
                with urllib.request.urlopen(request, timeout=10) as answer:
                    body = answer.read()
                self.seconds.append(monotonic() - started)
                if answer.status != 200 or size_of(body) != (1200, 400):
                    self.failures.append(f"{answer.status} with {len(body)} bytes")
            except Exception as error:  # noqa: BLE001 - every kind of failure is what the test looks for
                self.failures.append(repr(error))
            self._stopped.wait(0.01)


def metric(served: Served, line: str) -> float:
    """One value of /metrics."""
    with urllib.request.urlopen(served.url + "/metrics") as answer:
        text: str = answer.read().decode()
    return next(float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line + " "))


@pytest.mark.feature("EC-04")
def test_it_never_breaks_a_picture_while_store_model_blobs_and_disk_go_away_in_turn(
    frail: Mail, own_valkey: ValkeyServer, serve: Serve
) -> None:
    settings = frail.settings
    served = serve("render", settings)
    pause(1)
    with Load(frail, served.url) as load:
        pause(1)
        spool = settings.var / "spool"
        spool.write_bytes(b"the disk takes no records")
        own_valkey.kill()
        pause(1.5)
        spool.unlink()
        pause(1.5)
        own_valkey.start()
        pause(1.5)
        digest = frail.publish(plan("model", slots=3))
        frail.go_live(digest, model="f" * 64)
        pause(1.5)
        shutil.rmtree(Path(settings.blob_url), ignore_errors=True)
        pause(0.5)
    assert load.failures == []
    assert len(load.seconds) > 100
    assert metric(served, "latebind_render_unread_total") > 0
    assert metric(served, "latebind_render_spooled_total") > 0
    assert metric(served, "latebind_render_unrecorded_total") > 0


def test_it_loses_no_record_that_it_acknowledged_while_the_store_is_killed(
    frail: Mail, own_valkey: ValkeyServer, serve: Serve
) -> None:
    served = serve("render", frail.settings)
    pause(1)
    for profile in range(1, 200):
        frail.know(state(), profile=profile)
    answered: list[int] = []
    for profile in range(1, 200):
        if profile == 60:
            own_valkey.kill()
        if profile == 130:
            own_valkey.start()
        frail.delivery = Delivery(profile, 7, 1)
        with urllib.request.urlopen(urllib.request.Request(served.url + frail.url(), headers=browser())) as answer:
            assert size_of(answer.read()) == (1200, 400)
        answered.append(profile)
    served.kill()
    again = serve("render", frail.settings)
    deadline = monotonic() + 20
    while list((frail.settings.var / "spool").glob("*.spool")) and monotonic() < deadline:
        pause(0.2)
    again.stop()
    assert {made.profile for made in frail.fetches()} == set(answered)


@pytest.mark.feature("EC-05")
def test_it_answers_by_the_deadline_while_the_store_stalls(frail: Mail, own_valkey: ValkeyServer, serve: Serve) -> None:
    served = serve("render", frail.settings)
    pause(1)
    with Load(frail, served.url) as load:
        pause(1)
        stalled_from = len(load.seconds)
        os.kill(own_valkey.pid, signal.SIGSTOP)
        pause(5)
        os.kill(own_valkey.pid, signal.SIGCONT)
        stalled = load.seconds[stalled_from:]
        pause(0.5)
    assert load.failures == []
    assert statistics.quantiles(stalled, n=100)[98] <= DEADLINE_MS / 1000 + SLACK_SECONDS
    # After the first that met the stall nobody waits for the store: most answers take less than its third of the time.
    assert statistics.median(stalled) < DEADLINE_MS / 1000 / 3


class StallingBlobs:
    """A blob store that answers after five seconds."""

    def get(self, digest: str) -> bytes:
        """Too late."""
        pause(5)
        return b""


@pytest.fixture
def slow(mail: Mail, noon: FixedClock) -> Iterator[Parts]:
    """A process whose blob store stalls, with a deadline that leaves a busy machine time for its store."""
    parts = build_parts(replace(mail.settings, deadline_ms=2 * DEADLINE_MS), noon)
    parts.pictures.close()
    pictures = Pictures(Fonts.load(), StallingBlobs(), PictureCache())
    stalled = replace(parts, pictures=pictures, ladder=Ladder(pictures, parts.metrics))
    yield stalled
    stalled.close()


@pytest.mark.feature("EC-05")
def test_it_answers_by_the_deadline_while_a_drawing_stalls(slow: Parts, mail: Mail) -> None:
    pinned = Creative(5, "With a photograph", 600, 200, (Background(picture="a" * 64),))
    made = plan()
    shown = tuple(msgspec.structs.replace(one, creative=5) if one.id == DISCOUNT else one for one in made.offers)
    mail.publish(msgspec.structs.replace(made, offers=shown, creatives=(*made.creatives, pinned)))
    environ = {"HTTP_USER_AGENT": browser()["User-Agent"]}
    for _ in range(3):
        started = monotonic()
        answer = open_picture(slow, mail.token(), environ)
        assert monotonic() - started < 2 * DEADLINE_MS / 1000 + SLACK_SECONDS
        assert (answer.status, size_of(answer.body)) == ("200 OK", (1200, 400))
    assert {made.rung for made in mail.fetches()} <= {"default", "static"}
    assert mail.lane().shown.get(0, ()) == () or mail.lane().shown[0][-1].offer == DEFAULT
    assert slow.metrics.total("late_drawings") >= 3


@pytest.mark.feature("EC-01")
def test_it_answers_every_address_ever_mailed_after_everything_was_deleted(
    frail: Mail, own_valkey: ValkeyServer, render_settings: Settings, noon: FixedClock
) -> None:
    made = plan(slots=3)
    sizes = ((600, 200), (280, 200), (1200, 400))
    slots = tuple(
        msgspec.structs.replace(slot, width=w, height=h, fmt=fmt)
        for slot, (w, h), fmt in zip(made.slots, sizes, ("jpg", "png", "gif"), strict=True)
    )
    frail.publish(msgspec.structs.replace(made, slots=slots))
    ledger = []
    for profile in range(1, 6):
        frail.delivery = Delivery(profile, 7, 1)
        frail.know(state())
        ledger += [(frail.url(slot.index, dark=dark), slot) for slot in slots for dark in (False, True)]
    steps = {
        "offers": lambda: frail.go_live(None),
        "campaign": lambda: frail.store.delete(keys.live(7)),
        "everything": frail.store.flushall,
        "the store": own_valkey.kill,
    }
    for take_away in (lambda: None, *steps.values()):
        take_away()
        app = create_app(frail.settings, noon)
        client = app.test_client()
        for path, slot in ledger:
            answer = client.get(path, headers=browser())
            assert (answer.status_code, answer.content_type) == (200, CONTENT_TYPES[slot.fmt])
            assert size_of(answer.data) == (2 * slot.width, 2 * slot.height)
        app.extensions["parts"].close()


def test_it_falls_back_to_the_static_picture_when_anything_unforeseen_happens(
    client: FlaskClient, mail: Mail, parts: Parts
) -> None:
    mail.store.set(keys.plan("0" * 64), b"not a plan")
    mail.go_live("0" * 64)
    assert size_of(client.get(mail.url(), headers=browser()).data) == (1200, 400)
    mail.store.set(keys.live(7), b"\xc1")
    mail.published()
    assert size_of(client.get(mail.url(), headers=browser()).data) == (1200, 400)
    assert parts.metrics.total("answers", "static") == 2


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x90", b"x" * 5000])
def test_it_survives_keys_that_hold_no_sense(client: FlaskClient, mail: Mail, junk: bytes) -> None:
    for name in (keys.state(4711), keys.shown(4711, "7.1"), keys.used(4711), keys.product("tights-1")):
        mail.store.set(name, junk)
    mail.published()
    assert size_of(client.get(mail.url(), headers=browser()).data) == (1200, 400)
    assert size_of(client.get(mail.url(), headers=browser()).data) == (1200, 400)


def test_it_decides_without_a_product_whose_text_is_damaged(client: FlaskClient, mail: Mail) -> None:
    name = keys.product("tights-1")
    data = mail.store.get(name)
    assert isinstance(data, bytes)
    *_, text = re.finditer(rb"[A-Za-z]{3}", data)
    mail.store.set(name, data[: text.start()] + b"\xff" + data[text.start() + 1 :])
    mail.published()
    client.get(mail.url(), headers=browser())
    assert [(made.what, made.name) for made in mail.repairs()] == [("product", "tights-1")]
    (decision,) = mail.decisions()
    assert decision.lost


@pytest.mark.parametrize("is_hash", [True, False])
def test_it_leaves_out_an_offer_whose_cap_is_none(client: FlaskClient, mail: Mail, is_hash: bool) -> None:
    mail.publish(plan(discount={"cap_total": 5}))
    if is_hash:
        mail.store.hset(keys.cap(1), "left", "abc")
    else:
        mail.store.delete(keys.cap(1))
        mail.store.rpush(keys.cap(1), "x")
    mail.published()
    assert client.get(mail.url(), headers=browser()).status_code == 200
    assert [(made.what, made.name) for made in mail.repairs()] == [("cap", "1")]
    (decision,) = mail.decisions()
    assert decision.lost
    assert 1 not in [slot.offer for slot in decision.slots]
    assert client.get(mail.click(), headers=browser()).status_code == 302


def test_it_asks_for_a_live_key_and_a_plan_of_another_kind(client: FlaskClient, mail: Mail) -> None:
    digest = mail.publish(plan(discount={"cap_total": 6}))
    for name, wanted in ((keys.plan(digest), ("plan", digest)), (keys.live(7), ("live", ""))):
        mail.store.delete(name)
        mail.store.rpush(name, "x")
        mail.published()
        assert size_of(client.get(mail.url(), headers=browser()).data) == (1200, 400)
        assert wanted in {(made.what, made.name) for made in mail.repairs()}


def test_it_asks_for_lost_plans_products_and_caps_to_be_repaired(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(discount={"cap_total": 5}))
    mail.store.delete(keys.product("tights-1"), keys.cap(1))
    mail.published()
    client.get(mail.url(), headers=browser())
    assert {(made.what, made.name) for made in mail.repairs()} == {("product", "tights-1"), ("cap", "1")}
    (decision,) = mail.decisions()
    assert decision.lost
    mail.store.delete(keys.live(7))
    mail.published()
    client.get(mail.url(), headers=browser())
    assert ("live", "") in {(made.what, made.name) for made in mail.repairs()}


def test_it_pins_the_managers_picture_of_a_killed_campaign(client: FlaskClient, mail: Mail) -> None:
    before = client.get(mail.url(), headers=browser()).data
    digest = mail.publish()
    blob = FolderBlobs(Path(mail.settings.blob_url)).put(before)
    mail.go_live(digest, state="killed", picture=blob)
    pinned = client.get(mail.url(), headers=browser()).data
    mail.go_live(digest, state="killed")
    default = client.get(mail.url(), headers=browser()).data
    assert size_of(pinned) == size_of(default) == (1200, 400)
    assert len({before, pinned, default}) == 3


def test_it_says_what_operators_ask(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser())
    assert client.get("/healthz").get_json() == {"status": "ok"}
    assert client.get("/readyz").get_json() == {"status": "ready", "store": "there"}
    text = client.get("/metrics").text
    assert 'latebind_render_answers_total{rung="drawn"} 1.0' in text
    assert 'latebind_render_open_seconds_bucket{le="+Inf"} 1.0' in text
    assert client.get("/nothing").status_code == 404
    assert client.get("/").status_code == 404


def test_it_starts_without_a_database_address_and_loads_no_sql(
    serve: Serve, mail: Mail, render_settings: Settings
) -> None:
    served = serve("render", render_settings)
    maps = {pid: Path(f"/proc/{pid}/maps").read_text() for pid in _children(served.process.pid)}
    assert maps
    for text in maps.values():
        assert "psycopg" not in text
    environ = Path(f"/proc/{next(iter(maps))}/environ").read_bytes()
    assert b"LATEBIND_DATABASE_URL" not in environ


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.feature("EC-04")
def test_it_draws_without_any_font_file(parts: Parts, mail: Mail) -> None:
    pictures = Pictures(Fonts.load(()), FolderBlobs(Path(mail.settings.blob_url)), PictureCache())
    bare = replace(parts, pictures=pictures, ladder=Ladder(pictures, parts.metrics))
    answer = open_picture(bare, mail.token(), {"HTTP_USER_AGENT": browser()["User-Agent"]})
    assert (answer.status, size_of(answer.body)) == ("200 OK", (1200, 400))
    assert [made.rung for made in mail.fetches()] == ["drawn"]
    pictures.close()
