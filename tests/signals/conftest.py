"""The intake desk every test of signals works at, and the shops that post to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from base.clock import SteppedClock
from base.db import Sessions
from base.settings import Settings
from base.stores import Store
from signals.app import create_app
from signals.shops import create_shop
from tests.signals.sending import NOW, Desk, clocked
from tests.signals.shopcalls import KEY, SECRET, Shops


@pytest.fixture
def desk(sessions: Sessions, valkey: Store) -> Desk:
    """An intake on the test's own database and key space."""
    return Desk(sessions, valkey)


@pytest.fixture
def shops(desk: Desk, settings: Settings, tmp_path: Path) -> Iterator[Shops]:
    """The app with one shop of each platform."""
    app = create_app(replace(clocked(settings, desk, tmp_path), subject_key=KEY))
    hooks, sources = {}, {}
    with desk.sessions.begin() as session:
        for platform in ("shopify", "woocommerce"):
            source, row, _ = create_shop(session, platform, platform, KEY, NOW, secret=SECRET)
            hooks[platform], sources[platform] = f"/v1/webhooks/{platform}/{row.hook}", source.id
    yield Shops(app.test_client(), desk, SteppedClock(tmp_path / "clock", NOW), hooks, sources)
    app.extensions["signals"].close()
