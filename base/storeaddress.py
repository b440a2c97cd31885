"""How a setting spells where Valkey is: one server by its URL, or a cluster by some of its nodes.

`valkey+cluster://user:password@10.0.0.1:6379,10.0.0.2:6379` names nodes to ask for all the others; `valkeys+cluster://`
is the same over TLS, and `redis` and `rediss` are understood for either. A cluster has one database, number 0.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from base.values import located

SERVER_SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys", "unix")
CLUSTER_SCHEMES: Final = {
    "valkey+cluster": "redis", "valkeys+cluster": "rediss", "redis+cluster": "redis", "rediss+cluster": "rediss",
}  # fmt: skip
"""What a cluster is spelled with, and the scheme of one of its nodes."""
DEFAULT_PORT: Final = 6379
MAX_NODES: Final = 64


class Place(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


class ClusterAddress(NamedTuple):
    """A cluster: nodes to begin with, and how to sign in at any of them."""

    scheme: str
    places: tuple[Place, ...]
    username: str = ""
    password: str = ""

    def node(self, place: Place) -> str:
        """The URL of one node, as any Redis client takes it."""
        login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@" if self.password else ""
        host = f"[{place.host}]" if ":" in place.host else place.host
        return f"{self.scheme}://{login}{host}:{place.port}"


def is_cluster(url: str) -> bool:
    """Whether the address is spelled as a cluster's."""
    return url.partition("://")[0] in CLUSTER_SCHEMES


def cluster_address(url: str) -> ClusterAddress:
    """What a cluster's address says. Raises ValueError saying what it must be."""
    scheme, _, rest = url.partition("://")
    before, slash, database = rest.partition("/")
    if (slash and database not in ("", "0")) or "?" in rest:
        raise ValueError("names a database or options: a cluster has database 0 only, and takes no options")
    login, _, hosts = before.rpartition("@")
    username, _, password = login.partition(":")
    places = tuple(_place(part.strip()) for part in hosts.split(","))
    if len(places) > MAX_NODES:
        raise ValueError(f"names more than {MAX_NODES} nodes; a few are enough, the others are asked for")
    return ClusterAddress(CLUSTER_SCHEMES[scheme], places, unquote(username), unquote(password))


def store_url(value: str) -> str:
    """One server or a cluster, as a setting; the text comes back unchanged."""
    if is_cluster(value):
        cluster_address(value)
        return value
    if urlsplit(value.split(",")[0]).scheme not in SERVER_SCHEMES:
        raise ValueError(
            f"must be an address starting with {' or '.join(f'{s}://' for s in SERVER_SCHEMES)}, or with "
            "valkey+cluster:// or valkeys+cluster:// for a cluster"
        )
    if "," in value.partition("://")[2].rpartition("@")[2]:
        raise ValueError("names several hosts: a cluster is spelled valkey+cluster://host:port,host:port")
    parts = urlsplit(value)
    if parts.scheme == "unix":
        if len(parts.path) < 2 or parts.netloc.rpartition("@")[2]:
            raise ValueError("must name the file of the socket, as unix:///run/valkey.sock does")
    elif not located(parts):
        raise ValueError(f"must name a host, as {parts.scheme}://host:6379/0 does")
    elif not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError("must name the database by its number, as the 0 of redis://host:6379/0")
    return value


def queue_url(value: str) -> str:
    """One server, never a cluster."""
    if is_cluster(value):
        raise ValueError("must be a Valkey server of its own: job queues (RQ) do not run on a cluster")
    return store_url(value)


def _place(text: str) -> Place:
    """A node's host and port. Raises ValueError."""
    wrong = ValueError("must name each node of the cluster as host:port, with commas between")
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if not host or parts.path or parts.username is not None:
        raise wrong
    return Place(host, port or DEFAULT_PORT)
