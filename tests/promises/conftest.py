"""One world for all suites: whoever kills a part of it starts it again, whoever moves its clock moves it on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from base.embedded import PostgresServer, ValkeyServer
from base.processes import free_port
from tests.promises.proxy import StallingProxy
from tests.promises.world import World
from tests.serving import Served
from workers.migration import migrate

MONDAY = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DEADLINE_MS = 250


@dataclass
class Ground:
    """The servers under the world, and the proxy through which render reaches Valkey."""

    postgres: PostgresServer
    valkey: ValkeyServer
    proxy: StallingProxy
    world: World


@pytest.fixture(scope="package")
def ground() -> Iterator[Ground]:
    """The world with what it stands on, to be broken and mended."""
    folder = Path(tempfile.mkdtemp(prefix="latebind-promise-"))
    # PostgreSQL's own user must be able to walk to its data.
    folder.chmod(0o755)
    postgres = PostgresServer(folder / "postgres", free_port(), folder / "postgres.log", fsync=False)
    valkey = ValkeyServer(folder / "valkey", free_port(), folder / "valkey.log")
    proxy = StallingProxy(valkey.url)
    try:
        postgres.start()
        valkey.start()
        migrate(postgres.url)
        world = World(folder, postgres.url, valkey, MONDAY, hot_url=proxy.url)
        try:
            world.start()
            yield Ground(postgres, valkey, proxy, world)
        finally:
            world.stop()
    finally:
        proxy.close()
        valkey.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def world(ground: Ground) -> World:
    """The running world. No deadline is in the way of its opens: this machine runs other things too."""
    return ground.world


@pytest.fixture(scope="package")
def prompt(ground: Ground) -> Served:
    """A render process beside the others, with the deadline of production."""
    return ground.world.serve("prompt render", deadline_ms=DEADLINE_MS, render_workers=1)
