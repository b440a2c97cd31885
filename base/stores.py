"""Valkey clients: bytes in and out, every wait bounded. The queues have a client, maybe a server, of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from base.logs import logger
from base.storeaddress import cluster_address, is_cluster
from base.storecluster import StoreCluster, is_of_another_kind

Store = Redis
"""One server, or a cluster with the face of one (`is_clustered`)."""

CONNECT_SECONDS = 0.5
REPLY_SECONDS = 2.0
MAX_CONNECTIONS = 64
NOT_TO_BE_READ = b""
"""What there is under a key of another kind: something, and nothing that anybody wrote there who may."""

_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}


def connect(url: str, *, reply_seconds: float = REPLY_SECONDS, max_connections: int = MAX_CONNECTIONS) -> Store:
    """A client of the hot store; nothing connects before the first command.

    A command that meets a dead connection is tried once more on a new one. Raises redis.RedisError when the server is
    away or slower than `reply_seconds`; of a cluster, the node that holds the key.
    """
    if is_cluster(url):
        return cast("Store", StoreCluster(cluster_address(url), patience(reply_seconds), max_connections))
    return Redis.from_url(
        _understood(url), max_connections=max_connections, decode_responses=False, **patience(reply_seconds)
    )


def patience(reply_seconds: float = REPLY_SECONDS) -> dict[str, Any]:
    """How long a client waits and how often it tries, as redis-py's own arguments."""
    return {
        "socket_connect_timeout": min(CONNECT_SECONDS, reply_seconds),
        "socket_timeout": reply_seconds,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
    }


def connect_queues(url: str) -> Store:
    """A client for RQ. Its own, because RQ's worker raises the reply time-out of the client it is given."""
    return Redis.from_url(
        _understood(url), socket_connect_timeout=CONNECT_SECONDS, socket_timeout=10, socket_keepalive=True
    )


def is_clustered(store: Store) -> bool:
    """Whether the store is a cluster: then one part of it may be away, and several keys are not one transaction."""
    return isinstance(store, StoreCluster)


def servers(store: Store) -> dict[str, Store]:
    """Clients of the servers that hold the keys: the store itself, or every master of a cluster by host and port."""
    return store.servers() if isinstance(store, StoreCluster) else {"": store}


def holder(store: Store, key: str) -> str:
    """The name of the server that holds a key, as in `servers`. Raises redis.RedisError where none does."""
    return str(store.node_of(key).name) if isinstance(store, StoreCluster) else ""


def holders(store: Store) -> tuple[str, ...]:
    """The name of the server that holds each slot, empty where none does; of one server nothing.

    Raises redis.RedisError.
    """
    return store.holders() if isinstance(store, StoreCluster) else ()


def runs(store: Store) -> dict[str, str | None]:
    """Which run of each server this is, by its name; None for a node that does not answer.

    Raises redis.RedisError when none answers.
    """
    found: dict[str, str | None] = {}
    failed: RedisError | None = None
    for name, server in servers(store).items():
        try:
            told: Any = server.info("server")
            found[name] = str(told["run_id"])
        except RedisError as error:
            found[name], failed = None, error
            _lost(store, name)
    if failed is not None and not any(found.values()):
        raise failed
    return found


def answers(store: Store) -> bool:
    """Whether the store answers; of a cluster, whether every master does. Raises redis.RedisError when none does."""
    for name, server in servers(store).items():
        try:
            server.ping()
        except RedisError:
            if not is_clustered(store):
                raise
            _lost(store, name)
            return False
    return True


def ask_each(store: Store, names: Sequence[str], ask: Callable[[Any, str], object]) -> dict[str, Any]:
    """The answers about keys, one command each; those of a cluster's node that is away are left out.

    Of a key of another kind than the command works on it is NOT_TO_BE_READ, and the log names the key. Raises
    redis.RedisError when nothing at all could be asked, and of one server for any other refusal.
    """
    if not names:
        return {}
    with store.pipeline(transaction=False) as pipe:
        for name in names:
            ask(pipe, name)
        answers = dict(zip(names, pipe.execute(raise_on_error=False), strict=True))
    for name, answer in answers.items():
        if is_of_another_kind(answer):
            logger(__name__).warning("a key of the hot store is of another kind", key=name)
            answers[name] = NOT_TO_BE_READ
    failed = [answer for answer in answers.values() if isinstance(answer, Exception)]
    if failed and (not is_clustered(store) or len(failed) == len(answers)):
        raise failed[0]
    return {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}


def _lost(store: Store, name: str) -> None:
    if isinstance(store, StoreCluster):
        store.lost(name)


def _understood(url: str) -> str:
    """The address in the spelling redis-py knows."""
    scheme, separator, rest = url.partition("://")
    return _SCHEMES.get(scheme, scheme) + separator + rest
