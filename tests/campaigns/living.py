"""A running installation for tests that need one: its programs, and the pages on the same clock and stores."""

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
from tests.campaigns.web import Web
from tests.databases import HASH_KEY, VAULT
from tests.promises.world import World
from workers.migration import migrate

MONDAY = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Living:
    """The world and its pages."""

    world: World
    web: Web


@contextmanager
def living(name: str, start_at: datetime = MONDAY) -> Iterator[Living]:
    """Start everything in a folder of its own; stop it and remove the folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"latebind-{name}-"))
    # PostgreSQL's own user must be able to walk to its data.
    folder.chmod(0o755)
    postgres = PostgresServer(folder / "postgres", free_port(), folder / "postgres.log", fsync=False)
    valkey = ValkeyServer(folder / "valkey", free_port(), folder / "valkey.log")
    try:
        postgres.start()
        valkey.start()
        migrate(postgres.url, VAULT, HASH_KEY)
        world = World(folder, postgres.url, valkey.url, start_at)
        try:
            world.start()
            web = Web(world.shop)
            yield Living(world, web)
            web.close()
        finally:
            world.stop()
    finally:
        valkey.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
