"""Valkey clients: bytes in and out, every wait bounded. The queues have a client, maybe a server, of their own."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

Store = Redis

CONNECT_SECONDS = 0.5
REPLY_SECONDS = 2.0
MAX_CONNECTIONS = 64

_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}


def connect(url: str, *, reply_seconds: float = REPLY_SECONDS, max_connections: int = MAX_CONNECTIONS) -> Store:
    """A client of the hot store; nothing connects before the first command.

    A command that meets a dead connection is tried once more on a new one. Raises redis.RedisError when the server is
    away or slower than `reply_seconds`.
    """
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


def _understood(url: str) -> str:
    """The address in the spelling redis-py knows."""
    scheme, separator, rest = url.partition("://")
    return _SCHEMES.get(scheme, scheme) + separator + rest
