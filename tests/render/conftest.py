"""A render app over a real Valkey, without PostgreSQL: the open must not need one."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from base.clock import FixedClock
from base.embedded import ValkeyServer
from base.processes import free_port
from base.settings import Settings
from base.stores import Store
from base.values import KEY_BYTES, TOKEN_KEY_BYTES
from render.app import create_app
from render.parts import Parts
from tests.render.mail import Mail
from tests.render.shoe_shop import NOON, state


@pytest.fixture
def render_settings(valkey_url: str, tmp_path: Path) -> Settings:
    """What a render process is given: no database address."""
    read = Settings.from_environment({"LATEBIND_VAR": str(tmp_path / "var")})
    return replace(
        read,
        redis_url=valkey_url,
        token_keys={1: secrets.token_bytes(TOKEN_KEY_BYTES)},
        record_key=secrets.token_bytes(KEY_BYTES),
        render_workers=1,
        # A loaded test machine is no reason for a default: what deadlines do has tests of its own.
        deadline_ms=5000,
    )


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey that the test may kill or stall."""
    server = ValkeyServer(tmp_path / "valkey", free_port(), tmp_path / "valkey.log")
    server.start()
    yield server
    if server.running:
        os.kill(server.pid, signal.SIGCONT)
    server.stop()


@pytest.fixture
def mail(valkey: Store, render_settings: Settings) -> Mail:
    """A published campaign and a person who is known and has bought nothing."""
    made = Mail(valkey, render_settings)
    made.publish()
    made.know(state())
    return made


@pytest.fixture
def noon() -> FixedClock:
    """The opens' clock, at noon of the day after the send."""
    return FixedClock(NOON)


@pytest.fixture
def app(mail: Mail, render_settings: Settings, noon: FixedClock) -> Iterator[Flask]:
    """The app in this process."""
    made = create_app(render_settings, noon)
    # It may be reading a campaign at the very moment a test publishes another plan of it.
    made.extensions["parts"].warmer.stop()
    mail.published = made.extensions["parts"].lookup.forget
    yield made
    made.extensions["parts"].close()


@pytest.fixture
def parts(app: Flask) -> Parts:
    """The app's parts."""
    made = app.extensions["parts"]
    assert isinstance(made, Parts)
    return made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A mail client of the app."""
    return app.test_client()
