"""A Valkey Cluster of a few nodes on loopback, for tests and benchmarks: every node a process that can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisError

from base.clock import monotonic, pause
from base.embedded import ValkeyServer
from base.processes import free_port
from base.slots import SLOTS, slot_of

IS_WANTED = os.environ.get("LATEBIND_TEST_CLUSTER") == "1"
"""Whether every test's hot store is a cluster; its queues are on one server nevertheless."""
NODES = 3
NODE_TIMEOUT_MS = 2_000
JOIN_SECONDS = 20.0

Front = Callable[[int], int]
"""Takes the port of a node, gives that of who passes on to it."""


class ValkeyCluster:
    """Masters, each with an equal part of the slots and, where wanted, with a replica that takes over for it.

    As `ValkeyServer`, of all nodes at once.
    """

    def __init__(
        self, folder: Path, *, replicated: bool = False, password: str = "", user: str = "", front: Front | None = None
    ) -> None:
        """`user` is who may sign in beside the password's, as an ACL line says it; `front` stands before each node, as
        whose place the node announces what it gives, by name."""
        self._password, self._user, self._front = password, user, front
        self._buses: dict[int, int] = {}
        """By the port of a node where it listens for the others."""
        self.nodes = [self._node(folder / f"node-{number}") for number in range(NODES)]
        self.replicas = [self._node(folder / f"replica-{number}") for number in range(NODES)] if replicated else []
        login = f":{password}@" if password else ""
        self.url = f"valkey+cluster://{login}" + ",".join(f"127.0.0.1:{self.port(node)}" for node in self.nodes)
        self._is_made = False

    @property
    def _all(self) -> list[ValkeyServer]:
        return [*self.nodes, *self.replicas]

    def start(self) -> None:
        """Start every node, and the first time make a cluster of them; return when it serves all slots."""
        for node in self._all:
            if not node.running:
                node.start()
        if not self._is_made:
            self._make()
            self._is_made = True
        self.await_well()

    def stop(self) -> None:
        """Stop every node."""
        for node in self._all:
            node.stop()

    def kill(self) -> None:
        """End every node without warning."""
        for node in self.nodes:
            node.kill()

    @property
    def running(self) -> bool:
        """Whether every node runs."""
        return all(node.running for node in self.nodes)

    @property
    def pids(self) -> list[int]:
        """The process ids of the nodes."""
        return [node.pid for node in self.nodes]

    def stall(self) -> None:
        """Have every node keep silent until `flow`, its connections open."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def flow(self) -> None:
        """Let every node go on."""
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)

    def listening(self) -> AbstractContextManager[bytearray]:
        """What a proxy before one server hears. Nobody is before a cluster: the test that asks is skipped."""
        pytest.skip("nobody listens to what a cluster is sent")

    def close(self) -> None:
        """As a proxy does; there is none."""

    def holder(self, key: str) -> ValkeyServer:
        """The node that a key fell to when the cluster was made."""
        return self.nodes[slot_of(key) * len(self.nodes) // SLOTS]

    def client(self, node: ValkeyServer) -> Redis:
        """A client of one node alone."""
        return Redis.from_url(node.url, socket_timeout=5)

    def await_well(self) -> None:
        """Return when every node that runs says that the cluster is well. Raises AssertionError after a while."""
        _await(lambda: all(self._is_well(node) for node in self._all if node.running))

    @contextmanager
    def nameless(self) -> Iterator[None]:
        """Every node tells ports without hosts, as behind an address that it does not know."""
        try:
            self._tell("unknown-endpoint")
            yield
        finally:
            self._tell("ip")

    def _tell(self, endpoint: str) -> None:
        for node in self.nodes:
            with self.client(node) as client:
                client.config_set("cluster-preferred-endpoint-type", endpoint)

    def move(self, slot: int, source: ValkeyServer, target: ValkeyServer) -> None:
        """Move one slot with its keys, as an operator's tool does, key after key."""
        self.begin_move(slot, source, target)
        self.end_move(slot, source, target)

    def begin_move(self, slot: int, source: ValkeyServer, target: ValkeyServer) -> None:
        """Begin to move a slot: from now on each key is where it was or where it goes."""
        with self.client(source) as giver, self.client(target) as taker:
            taker.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", _name(giver))
            giver.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", _name(taker))

    def carry(self, source: ValkeyServer, target: ValkeyServer, *names: bytes | str) -> None:
        """Move these keys."""
        login = ("AUTH", self._password) if self._password else ()
        with self.client(source) as giver:
            for name in names:
                giver.execute_command("MIGRATE", "127.0.0.1", self.port(target), name, 0, 5_000, *login)

    def end_move(self, slot: int, source: ValkeyServer, target: ValkeyServer) -> None:
        """Move what is left of a slot, and have it belong to its new node."""
        with self.client(source) as giver, self.client(target) as taker:
            while names := giver.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
                self.carry(source, target, *names)
            name = _name(taker)
            for client in (taker, giver):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name)

    @staticmethod
    def port(node: ValkeyServer) -> int:
        """Where a node listens."""
        return int(node.url.rsplit(":", 1)[1].split("/")[0])

    def _node(self, folder: Path) -> ValkeyServer:
        port = free_port()
        self._buses[port] = free_port()
        extra = {
            "cluster-enabled": "yes",
            # Not left to be 10,000 above its own, where outgoing connections begin.
            "cluster-port": str(self._buses[port]),
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            # What one node held is away with it; the others go on.
            "cluster-require-full-coverage": "no",
            # A replica need not wait for others that begin to copy with it.
            "repl-diskless-sync-delay": "0",
        }
        if self._password:
            extra["primaryauth"] = self._password
        if self._user:
            extra["user"] = self._user
        if self._front is not None:
            extra |= {
                "cluster-announce-port": str(self._front(port)),
                "cluster-announce-bus-port": str(self._buses[port]),
                "cluster-announce-hostname": "localhost",
                "cluster-preferred-endpoint-type": "hostname",
            }
        return ValkeyServer(folder, port, folder.with_suffix(".log"), databases=1, password=self._password, extra=extra)

    def _make(self) -> None:
        count = len(self.nodes)
        for number, node in enumerate(self.nodes):
            with self.client(node) as client:
                first, last = -(-SLOTS * number // count), -(-SLOTS * (number + 1) // count) - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                if number:
                    self._meet(client)
        for node, replica in zip(self.nodes, self.replicas, strict=False):
            with self.client(node) as master, self.client(replica) as client:
                self._meet(client)
                _await(partial(_knows, client, _name(master)))
                client.execute_command("CLUSTER", "REPLICATE", _name(master))
                _await(partial(_follows, client))

    def _meet(self, client: Redis) -> None:
        first = self.port(self.nodes[0])
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", first, self._buses[first])  # type: ignore[no-untyped-call]

    def _is_well(self, node: ValkeyServer) -> bool:
        try:
            with self.client(node) as client:
                told = _text(client.execute_command("CLUSTER", "INFO"))
        except RedisError:
            return False
        return "cluster_state:ok" in told and f"cluster_slots_ok:{SLOTS}" in told


def _await(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + JOIN_SECONDS
    while not holds():
        assert monotonic() < deadline, "the cluster did not become well"
        pause(0.02)


def _name(client: Redis) -> str:
    """A node's own name in the cluster."""
    told: Any = client.execute_command("CLUSTER", "MYID")  # type: ignore[no-untyped-call]
    return _text(told)


def _knows(client: Redis, name: str) -> bool:
    return name in str(client.execute_command("CLUSTER", "NODES"))  # type: ignore[no-untyped-call]


def _follows(client: Redis) -> bool:
    return client.info("replication").get("master_link_status") == "up"


def _text(answer: Any) -> str:
    if isinstance(answer, dict):
        return "\n".join(f"{_text(name)}:{_text(value)}" for name, value in answer.items())
    return answer.decode() if isinstance(answer, bytes) else str(answer)
