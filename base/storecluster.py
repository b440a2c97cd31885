"""A Valkey Cluster with the face of one server: the commands that ours use, sent to the node that holds their keys.

redis-py's own cluster client keeps the map and follows what moves. It connects when it is made, refuses MGET and
pipelined scripts over several nodes, and gives a whole pipeline up for one node; this one does none of that, and
everything that it raises is a redis.RedisError. Commands that go to several nodes are not one transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from redis import Redis, RedisCluster, RedisError
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.commands import CoreCommands
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    RedisClusterException,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from base.clock import monotonic
from base.slots import SLOTS, slot_of
from base.storeaddress import ClusterAddress

LOOK_SECONDS: Final = 1.0
"""The map is read anew for a lost node at most so often."""
_ELSEWHERE: Final = (AskError, TryAgainError, ClusterDownError)
"""Answers that the cluster client is to follow; MovedError is an AskError."""
_OF_ANOTHER_KIND: Final = "WRONGTYPE"
_Commands: Any = CoreCommands
"""GET and its like, each by `execute_command`. redis-py's types know them for its own clients only."""


class StoreCluster(_Commands):  # type: ignore[misc]
    """A client for many threads; nothing connects before the first command.

    `mget`, `delete` and pipelines may name keys of several nodes. A command that asks for no key is asked of every
    master where it is one of ours (`ping`, `script_load`, `scan_iter`, `flushdb`), else of any.
    """

    def __init__(self, address: ClusterAddress, patience: dict[str, Any], max_connections: int) -> None:
        self._address = address
        self._options = {name: value for name, value in patience.items() if name != "retry"}
        self._max_connections = max_connections
        self._lock = threading.Lock()
        self._client: Any = None
        self._looked_at = -LOOK_SECONDS

    def __enter__(self) -> StoreCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command, tried once more where a node was lost or a slot has moved. Raises redis.RedisError."""
        try:
            return self._cluster().execute_command(*args, **options)
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error

    def pipeline(self, transaction: bool = False) -> Flight:
        """Commands to be sent together. `transaction` must be False: nodes do not share one."""
        if transaction:
            raise ValueError("a cluster has no transaction over several nodes")
        return Flight(self)

    def mget(self, keys: Any, *args: Any) -> list[Any]:
        """Values of any keys, in their order, None for a key of another kind.

        Raises redis.RedisError when one could not be asked for.
        """
        names = [keys, *args] if isinstance(keys, str | bytes) else [*keys, *args]
        flight = self.pipeline()
        for name in names:
            flight.get(name)
        values = [None if is_of_another_kind(answer) else answer for answer in flight.execute(raise_on_error=False)]
        for value in values:
            if isinstance(value, Exception):
                raise value
        return values

    def delete(self, *names: Any) -> int:
        """Delete any keys; how many there were."""
        flight = self.pipeline()
        for name in names:
            flight.execute_command("DEL", name)
        return sum(flight.execute())

    def scan_iter(
        self, match: Any = None, count: int | None = None, _type: str | None = None, **_: Any
    ) -> Iterator[bytes]:
        """The keys of all masters; of one where the pattern names a hash tag."""
        text = match.decode() if isinstance(match, bytes) else match or ""
        tag = text.partition("{")[2].partition("}")[0]
        is_tagged = bool(tag) and not any(sign in tag for sign in "*?[\\")
        for server in [self.server_of(f"{{{tag}}}")] if is_tagged else self.servers().values():
            yield from server.scan_iter(match=match, count=count, _type=_type)

    def keys(self, pattern: Any = "*", **_: Any) -> list[bytes]:
        """The keys of all masters that match: for tests and small stores, for it walks all there are."""
        return list(self.scan_iter(match=pattern))

    def ping(self, **_: Any) -> bool:
        """Whether a master answers. Raises redis.RedisError when none does."""
        failed: RedisError | None = None
        for server in self.servers().values():
            try:
                return bool(server.ping())
            except RedisError as error:
                failed = error
        raise failed or ConnectionError("the cluster has no master")

    def time(self, **_: Any) -> Any:
        """The clock of a master that answers. Raises redis.RedisError when none does."""
        failed: RedisError | None = None
        for server in self.servers().values():
            try:
                return server.time()
            except RedisError as error:
                failed = error
        raise failed or ConnectionError("the cluster has no master")

    def script_load(self, script: Any) -> Any:
        """Teach every master that answers a script; its digest. Raises redis.RedisError when none does."""
        digest, failed = None, None
        for server in self.servers().values():
            try:
                digest = server.script_load(script)
            except RedisError as error:
                failed = error
        if digest is None:
            raise failed or ConnectionError("the cluster has no master")
        return digest

    def flushdb(self, *_: Any, **__: Any) -> bool:
        """Empty every master."""
        return all(server.flushdb() for server in self.servers().values())

    def servers(self) -> dict[str, Redis]:
        """A client of each master that the map names, by host and port, whether it answers or not."""
        try:
            nodes = sorted(self._cluster().get_primaries(), key=lambda node: node.name)
            return {node.name: self._connection(node) for node in nodes}
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error

    def server_of(self, key: bytes | str) -> Redis:
        """A client of the node that holds a key."""
        return self._connection(self.node_of(key))

    def node_of(self, key: bytes | str) -> ClusterNode:
        """The node that holds a key. Raises redis.RedisError where no node does."""
        try:
            node: ClusterNode = self._cluster().nodes_manager.get_node_from_slot(slot_of(key))
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error
        return node

    def holders(self) -> tuple[str, ...]:
        """The name of the node that holds each slot, empty where none does. Raises redis.RedisError."""
        try:
            held = self._cluster().nodes_manager.slots_cache
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error
        return tuple(held[slot][0].name if held.get(slot) else "" for slot in range(SLOTS))

    def ask(self, node: ClusterNode, commands: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        """The answers of one node, errors among them; all are the same error when it could not be asked."""
        failed: RedisError | None = None
        # A connection may have ended while nobody used it: once more, on a new one.
        for _ in range(2):
            pipeline: Any = self._connection(node).pipeline(transaction=False)
            for args, options in commands:
                pipeline.execute_command(*args, **options)
            try:
                return list(pipeline.execute(raise_on_error=False))
            except ConnectionError as error:
                failed = error
            except TimeoutError as error:
                failed = error
                break
        self.lost(node.name)
        return [failed] * len(commands)

    def lost(self, name: str) -> None:
        """Read the map anew, for a node does not answer that is named as in `servers`: another may have its slots."""
        with self._lock:
            now = monotonic()
            if now - self._looked_at < LOOK_SECONDS:
                return
            self._looked_at = now
        try:
            self._cluster().nodes_manager.initialize(last_failed_node_name=name)
        except (RedisError, RedisClusterException):
            return

    def close(self) -> None:
        """Let go of every connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _cluster(self) -> Any:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or self._connected()
        return client

    def _connected(self) -> Any:
        """redis-py's client; it asks the first node that answers for the map."""
        address = self._address
        options: dict[str, Any] = dict(self._options)
        if address.password:
            options["password"] = address.password
            options["username"] = address.username or None
        if address.scheme == "rediss":
            options["ssl"] = True
        return RedisCluster(
            startup_nodes=[ClusterNode(*place) for place in address.places],  # type: ignore[no-untyped-call]
            require_full_coverage=False,
            # The names that were given stay good where all nodes have new addresses.
            dynamic_startup_nodes=False,
            retry=Retry(NoBackoff(), 1),
            max_connections=self._max_connections,
            decode_responses=False,
            **options,
        )

    def _connection(self, node: ClusterNode) -> Redis:
        client: Redis = self._cluster().get_redis_connection(node)
        return client


class Flight(_Commands):  # type: ignore[misc]
    """Commands to be sent together, a flight to each node. Not for two threads."""

    def __init__(self, cluster: StoreCluster) -> None:
        self._cluster = cluster
        self._asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Flight:
        return self

    def __exit__(self, *_: object) -> None:
        self._asked = []

    def __len__(self) -> int:
        return len(self._asked)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Note a command; it is sent by `execute`."""
        self._asked.append((args, options))
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The answers in the order of the commands; a node that is away costs only its own.

        Raises the first error among them (redis.RedisError), or with `raise_on_error` False gives them as they are.
        """
        asked, self._asked = self._asked, []
        answers: list[Any] = [None] * len(asked)
        places: dict[str, list[int]] = {}
        nodes: dict[str, ClusterNode] = {}
        for place, (args, _) in enumerate(asked):
            try:
                node = self._cluster.node_of(_key_of(args))
            except RedisError as error:
                answers[place] = error
                continue
            nodes[node.name] = node
            places.setdefault(node.name, []).append(place)
        for name, mine in places.items():
            replies = self._cluster.ask(nodes[name], [asked[place] for place in mine])
            for place, answer in zip(mine, replies, strict=True):
                if isinstance(answer, _ELSEWHERE) or self._has_gone(answer, asked[place][0], name):
                    answers[place] = self._followed(*asked[place])
                else:
                    answers[place] = answer
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _has_gone(self, answer: Any, args: tuple[Any, ...], asked: str) -> bool:
        """Whether nobody listens where the key was asked for, and by a map read since another node has it."""
        if not isinstance(answer, ConnectionError):
            return False
        try:
            return bool(self._cluster.node_of(_key_of(args)).name != asked)
        except RedisError:
            return False

    def _followed(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            return self._cluster.execute_command(*args, **options)
        except RedisError as error:
            return error


def is_of_another_kind(answer: object) -> bool:
    """Whether an answer says that what is under the key is not of the kind that the command works on."""
    return isinstance(answer, ResponseError) and str(answer).startswith(_OF_ANOTHER_KIND)


def _key_of(args: tuple[Any, ...]) -> Any:
    """The first key that a command names, as redis-py spells commands: "XGROUP CREATE" is one word."""
    word = args[0]
    if word == "XREADGROUP":
        return args[args.index(b"STREAMS") + 1]
    return args[3 if word in ("EVAL", "EVALSHA") else 1]
