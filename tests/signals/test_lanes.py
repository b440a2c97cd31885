"""Lanes at the intake: small requests pass large ones, large ones wait, and who finds no room is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

import pytest
from flask.testing import FlaskClient

from base.errors import Unavailable
from base.settings import Settings
from signals.app import create_app
from signals.lanes import LARGE_AT_ONCE, SMALL, Lanes
from tests.signals.sending import Desk, clocked, order
from tests.signals.test_app import post


@pytest.fixture
def http(desk: Desk, settings: Settings, tmp_path: Path) -> Iterator[FlaskClient]:
    """The app on the desk's database, its clock standing at NOW."""
    app = create_app(clocked(settings, desk, tmp_path))
    yield app.test_client()
    app.extensions["signals"].close()


def test_it_takes_a_small_request_while_large_ones_fill_their_lane(http: FlaskClient, desk: Desk) -> None:
    lanes: Lanes = http.application.extensions["signals"].lanes
    batch = [order(f"u{number}", f"o{number}", ("p1", "Shoes", 10.0)) for number in range(SMALL + 1)]
    answered = Event()

    def send() -> None:
        assert post(http.application.test_client(), "/v1/batch", {"batch": batch}).status_code == 200
        answered.set()

    with ExitStack() as large:
        for _ in range(LARGE_AT_ONCE):
            large.enter_context(lanes.large())
        sending = Thread(target=send)
        sending.start()
        assert post(http, "/v1/track", order("v", "o", ("p1", "Shoes", 10.0))).status_code == 200
        assert post(http, "/v1/batch", {"batch": batch[:SMALL]}).status_code == 200
        assert not answered.is_set()
    sending.join(30)

    assert answered.is_set()
    assert desk.state(desk.root("user_id", f"u{SMALL}")).orders == 1


def test_it_tells_a_large_request_that_finds_no_room_to_come_again() -> None:
    lanes = Lanes(2 * LARGE_AT_ONCE)

    with ExitStack() as large:
        for _ in range(LARGE_AT_ONCE):
            large.enter_context(lanes.large())
        with pytest.raises(Unavailable) as refused, lanes.large():
            pass
        with lanes.small():
            pass

    assert refused.value.retry_after == 1
    with lanes.large():
        pass
