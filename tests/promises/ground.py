"""The servers under a world, to be broken and mended: for the suites of the promises and for faults under load."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from base.embedded import PostgresServer, ValkeyServer
from base.processes import free_port
from tests.databases import VAULT
from tests.promises.proxy import StallingProxy
from tests.promises.world import World
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


@contextmanager
def grounded(name: str, *, fsync: bool = True) -> Iterator[Ground]:
    """A whole installation in a folder of its own, render reaching Valkey through a proxy that can stall."""
    folder = Path(tempfile.mkdtemp(prefix=f"latebind-{name}-"))
    # PostgreSQL's own user must be able to walk to its data.
    folder.chmod(0o755)
    postgres = PostgresServer(folder / "postgres", free_port(), folder / "postgres.log", fsync=fsync)
    valkey = ValkeyServer(folder / "valkey", free_port(), folder / "valkey.log")
    proxy = StallingProxy(valkey.url)
    try:
        postgres.start()
        valkey.start()
        migrate(postgres.url, VAULT)
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
