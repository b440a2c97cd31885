"""Checking the servers of an installation's hot store and job queues, or each node of a cluster."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from redis import RedisError

from base import keys, stores
from base.errors import LatebindError
from base.settings import Settings
from base.storeaddress import cluster_address, is_cluster

VALKEY_FROM: Final = (7, 2)
_ENDPOINT: Final = "cluster-preferred-endpoint-type"
_HOSTNAME: Final = "cluster-announce-hostname"


class Unwell(LatebindError):
    """A part does not do what it must; the message says what to do."""


def hot_store(settings: Settings) -> str:
    """That the hot store is new enough, keeps what it is told, and forgets nothing. Raises Unwell."""
    if is_cluster(settings.redis_url):
        return _nodes(settings)
    version, config = _server(settings.redis_url, "LATEBIND_REDIS_URL")
    _check_kept(config, "The store")
    return f"version {version}, append-only file on, nothing evicted"


def _nodes(settings: Settings) -> str:
    """Every master of a cluster keeps and evicts nothing, serves its keys without the others, and takes records."""
    address = cluster_address(settings.redis_url)
    for place in address.places:
        # By a map without hosts nobody finds the masters, so those that are named are asked first.
        with stores.connect(address.node(place)) as named, suppress(RedisError):
            _check_told(_asked(named, "A node")[1], f"The node at {place.host}:{place.port}")
    client = stores.connect(settings.redis_url)
    try:
        masters = stores.servers(client)
        holders = {stores.holder(client, key) for key in keys.record_streams()}
        versions = set()
        for number, (name, server) in enumerate(masters.items(), 1):
            what = f"Node {number} of {len(masters)} by address"
            version, config = _asked(server, what)
            versions.add(version)
            _check_kept(config, what)
            if config.get("cluster-require-full-coverage") != "no":
                raise Unwell(f"{what} refuses everything while another is away. Set cluster-require-full-coverage no.")
            _check_told(config, what)
            if name not in holders:
                raise Unwell(f"{what} has no record stream, so it takes no opens: give it more slots in a row.")
    except RedisError as error:
        raise Unwell(f"The cluster of LATEBIND_REDIS_URL cannot be used: {type(error).__name__}.") from None
    finally:
        client.close()
    told = " and ".join(sorted(versions))
    return f"a cluster of {len(masters)}, version {told}, append-only files on, nothing evicted"


def _check_told(config: dict[str, str], what: str) -> None:
    if config.get(_ENDPOINT) == "unknown-endpoint":
        raise Unwell(f"{what} tells ports without addresses, which workers do not follow. Set {_ENDPOINT} ip.")
    if config.get(_ENDPOINT) == "hostname" and not config.get(_HOSTNAME):
        raise Unwell(f"{what} is to tell its name and knows none. Set {_HOSTNAME}, or {_ENDPOINT} ip.")


def _check_kept(config: dict[str, str], what: str) -> None:
    if config.get("appendonly") != "yes":
        raise Unwell(f"{what} keeps no append-only file: records could be lost. Set appendonly yes.")
    if config.get("maxmemory-policy") != "noeviction":
        raise Unwell(f"{what} may evict keys, which Latebind would take for lost. Set maxmemory-policy noeviction.")


def queues(settings: Settings) -> str:
    """That the server of the job queues is there and new enough. Raises Unwell."""
    if not settings.queue_url and is_cluster(settings.redis_url):
        raise Unwell(str(settings.missing("queue_url")))
    version, _ = _server(settings.queue_url, "LATEBIND_QUEUE_URL")
    return f"version {version}" + (", the same server as the store" if settings.queue_url == settings.redis_url else "")


def _server(url: str, variable: str) -> tuple[str, dict[str, str]]:
    if not url:
        raise Unwell(f"{variable} is not set.")
    client = stores.connect(url)
    try:
        if client.info("cluster").get("cluster_enabled"):
            hint = "spell it valkey+cluster://host:port" if variable == "LATEBIND_REDIS_URL" else "job queues need one"
            raise Unwell(f"{variable} names a node of a cluster as if it were a server of its own: {hint}.")
        return _asked(client, f"The server of {variable}")
    except RedisError as error:
        raise Unwell(f"The server of {variable} cannot be used: {type(error).__name__}.") from None
    finally:
        client.close()


def _asked(server: stores.Store, what: str) -> tuple[str, dict[str, str]]:
    """The version of a server and what it is told to do. Raises Unwell, redis.RedisError."""
    info = server.info("server")
    version = str(info.get("valkey_version") or info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < VALKEY_FROM:
        raise Unwell(f"{what} is older than 7.2.")
    found = server.config_get("appendonly", "maxmemory-policy", "cluster-require-full-coverage", _ENDPOINT, _HOSTNAME)
    return version, {_word(key): _word(value) for key, value in found.items()}


def _word(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
