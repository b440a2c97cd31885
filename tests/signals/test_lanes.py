"""Lanes at the intake: small requests pass large ones, large ones wait, and who finds no room is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from socket import create_connection, socket
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from base.errors import Busy
from base.settings import Settings
from signals.app import create_app
from signals.lanes import LARGE_AT_ONCE, SMALL, Lanes
from tests.serving import Serve
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
        with pytest.raises(Busy) as refused, lanes.large():
            pass
        with lanes.small():
            pass

    assert refused.value.retry_after == 1
    with lanes.large():
        pass


def test_it_answers_429_and_when_to_come_again_where_it_has_no_room(http: FlaskClient) -> None:
    lanes = http.application.extensions["signals"].lanes = Lanes(2 * LARGE_AT_ONCE)
    batch = [order(f"u{number}", f"o{number}", ("p1", "Shoes", 10.0)) for number in range(SMALL + 1)]
    with ExitStack() as large:
        for _ in range(LARGE_AT_ONCE):
            large.enter_context(lanes.large())
        refused = post(http, "/v1/batch", {"batch": batch})
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.get_json()["error"] == {"field": "", "message": "The intake is busy; try again in 1 s."}

    assert post(http, "/v1/batch", {"batch": batch}).get_json()["accepted"] == SMALL + 1


def test_it_gives_up_bodies_that_stall_and_takes_whole_ones_beside_and_after_them(
    desk: Desk, settings: Settings, serve: Serve
) -> None:
    own = replace(settings, hash_key=desk.intake.hash_key, signals_threads=4)
    parts = urlsplit(serve("signals", own).url)
    where = (parts.hostname or "", parts.port or 0)
    head = f"POST /v1/batch HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 500000\r\n\r\n".encode()
    with ExitStack() as opened:
        stalled = [opened.enter_context(create_connection(where, timeout=30)) for _ in range(4)]
        for line in stalled:
            line.sendall(head + b"x" * 70_000)
        # Nobody knows them, and they hold every thread; whoever comes next waits for seconds, not for ever.
        ready = opened.enter_context(create_connection(where, timeout=30))
        ready.sendall(f"GET /healthz HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        assert status(ready) == 200
        assert {status(line) for line in stalled} == {408}


def status(line: socket) -> int:
    """The status of the answer on a connection."""
    answer = HTTPResponse(line)
    answer.begin()
    return answer.status
