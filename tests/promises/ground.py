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
from tests.clusters import IS_WANTED, ValkeyCluster
from tests.databases import HASH_KEY, VAULT
from tests.promises.proxy import StallingProxy
from tests.promises.world import World
from workers.migration import migrate

MONDAY = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DEADLINE_MS = 250


@dataclass
class Ground:
    """The servers under the world, and the proxy through which render reaches Valkey; a cluster has none before it."""

    postgres: PostgresServer
    valkey: ValkeyServer | ValkeyCluster
    proxy: StallingProxy | ValkeyCluster
    world: World

    @property
    def store_pids(self) -> list[int]:
        """The processes of the hot store."""
        return self.valkey.pids if isinstance(self.valkey, ValkeyCluster) else [self.valkey.pid]


@contextmanager
def grounded(name: str, *, fsync: bool = True) -> Iterator[Ground]:
    """A whole installation in a folder of its own, render reaching Valkey through a proxy that can stall."""
    with _servers(name, fsync) as (folder, postgres, queues):
        if IS_WANTED:
            with _clustered(folder, postgres, queues) as ground:
                yield ground
            return
        proxy = StallingProxy(queues.url)
        try:
            world = World(folder, postgres.url, queues.url, MONDAY, hot_url=proxy.url)
            with _running(world):
                yield Ground(postgres, queues, proxy, world)
        finally:
            proxy.close()


@contextmanager
def clustered(name: str, *, replicated: bool = False) -> Iterator[Ground]:
    """A whole installation whose hot store is a cluster of three nodes; its queues are on a server of their own.

    Where wanted each node has a replica, and one process renders: who opens twice meets one view of the nodes.
    """
    with (
        _servers(name, fsync=False) as (folder, postgres, queues),
        _clustered(folder, postgres, queues, replicated) as ground,
    ):
        yield ground


@contextmanager
def _servers(name: str, fsync: bool) -> Iterator[tuple[Path, PostgresServer, ValkeyServer]]:
    folder = Path(tempfile.mkdtemp(prefix=f"latebind-{name}-"))
    # PostgreSQL's own user must be able to walk to its data.
    folder.chmod(0o755)
    postgres = PostgresServer(folder / "postgres", free_port(), folder / "postgres.log", fsync=fsync)
    valkey = ValkeyServer(folder / "valkey", free_port(), folder / "valkey.log")
    try:
        postgres.start()
        valkey.start()
        migrate(postgres.url, VAULT, HASH_KEY)
        yield folder, postgres, valkey
    finally:
        valkey.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _clustered(
    folder: Path, postgres: PostgresServer, queues: ValkeyServer, replicated: bool = False
) -> Iterator[Ground]:
    cluster = ValkeyCluster(folder / "cluster", replicated=replicated)
    try:
        cluster.start()
        processes = 1 if replicated else 2
        world = World(folder, postgres.url, cluster.url, MONDAY, queue_url=queues.url, render_workers=processes)
        with _running(world):
            yield Ground(postgres, cluster, cluster, world)
    finally:
        cluster.stop()


@contextmanager
def _running(world: World) -> Iterator[None]:
    try:
        world.start()
        yield
    finally:
        world.stop()
