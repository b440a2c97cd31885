"""The hot store as an open uses it: one raw connection a thread, commands in one flight, every wait bounded.

An open pays for each round trip with its deadline, so a reply that takes longer than `REPLY_SECONDS` is given up. After
two in a row, or when nobody listens, nobody in the process asks for `PAUSE_SECONDS` but one probe: a store that stalls
costs a few opens their time-out, not all of them. redis-py's client would cost a third more processor time a trip.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast
from weakref import WeakSet

import hiredis

from base import keys
from base.clock import monotonic
from base.errors import Unavailable
from render.dialling import Address, bound, dial
from render.hostnames import Hostnames

REPLY_SECONDS: Final = 0.08
PAUSE_SECONDS: Final = 0.5
MAX_LATE: Final = 2
"""Replies in a row that may be late before the store counts as away; one alone is a busy machine."""
_CHUNK: Final = 65_536
Command = tuple[bytes | str | int, ...]
# hiredis' own types say a tuple of one.
_pack: Final = cast("Callable[[Command], bytes]", hiredis.pack_command)


class _Broken(Exception):
    """The connection ended between commands: the server was restarted, or closed an idle connection."""


class _Wire:
    """One connection. Not for two threads at once.

    What it says first goes out with the first commands, so a new connection waits no longer than an old one.
    """

    def __init__(self, made: socket.socket, greeting: Sequence[Command], seconds: float) -> None:
        self._socket = made
        self._greeting = list(greeting)
        self._greeted = 0
        self._reader = hiredis.Reader()
        self._seconds = seconds
        self._is_secure = isinstance(made, ssl.SSLSocket)
        bound(made, seconds)

    def send(self, commands: Sequence[Command]) -> None:
        """Send all; as many replies must then be received."""
        if self._greeting:
            self._greeted, commands = len(self._greeting), [*self._greeting, *commands]
            self._greeting = []
        packed = _pack(commands[0]) if len(commands) == 1 else b"".join(map(_pack, commands))
        try:
            self._socket.sendall(packed)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            raise _Broken from error

    def receive(self, count: int, until: float | None = None) -> list[Any]:
        """So many replies, error replies among them, each waited for its time, or all until then (monotonic seconds).

        Raises hiredis.ReplyError where the server refuses the greeting; the connection is of no use then.
        """
        replies: list[Any] = []
        gets = self._reader.gets
        while len(replies) < count:
            reply = gets()
            if reply is False:
                self._receive(None if until is None else until - monotonic())
            elif self._greeted:
                self._greeted -= 1
                if isinstance(reply, hiredis.ReplyError):
                    self.close()
                    raise reply
            else:
                replies.append(reply)
        if until is not None:
            bound(self._socket, self._seconds)
        return replies

    def _receive(self, left: float | None) -> None:
        """More bytes, waited for `left` seconds; with none left, what is there already."""
        is_over = left is not None and left <= 0
        if left is not None and (not is_over or self._is_secure):
            bound(self._socket, left)
        try:
            # The kernel rounds time-outs up, by as much as 10 ms.
            data = self._socket.recv(_CHUNK, socket.MSG_DONTWAIT if is_over and not self._is_secure else 0)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            raise _Broken from error
        if not data:
            raise _Broken
        self._reader.feed(data)

    def close(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        """A thread that ends takes its connection with it."""
        self._socket.close()


AWAY: Final = object()
"""In the place of a reply that a cluster's node, being away, did not give (`Hot.gather`)."""


_READS: Final = frozenset(("GET", "HGET"))
NOT_LOCAL: Final = "non local key"
"""In what Valkey and Redis say of a script that names a key of another node."""


class Hot(Protocol):
    """The hot store as opens use it: one server (`HotStore`), or a cluster (render/hotcluster.py)."""

    @property
    def is_away(self) -> bool:
        """Whether nobody should be asked to wait for it."""
        ...

    def call(self, *commands: Command, until: float | None = None) -> list[Any]:
        """The replies to commands sent in one flight, as bytes, int, list or None.

        What GET and HGET find under a key of another kind is None, as it is to MGET. With `until` (monotonic seconds)
        they are waited for so long and no longer, and one that is late then says nothing of the server. Raises
        Unavailable when a server that they concern is away or slow, hiredis.ReplyError when one refuses a command.
        Commands may be sent twice, so they must bear being done twice.
        """
        ...

    def gather(self, *commands: Command) -> list[Any]:
        """As `call`, but what a cluster's lost node would have said is AWAY, within an MGET as well.

        Raises Unavailable only when the store is one server.
        """
        ...

    def stream_beside(self, key: str, but: str = "") -> str:
        """A record stream that a script may write together with this key, but not that one. Raises Unavailable."""
        ...

    def stream(self, near: str = "") -> str:
        """A record stream that takes entries now, if it can be on the node of that key. Raises Unavailable."""
        ...

    def names(self, prefix: bytes, most: int) -> list[bytes]:
        """Keys that begin like this, at least `most` of them where there are as many. Raises as `call`."""
        ...

    def close(self) -> None:
        """Close every thread's connections; nobody may be using one."""
        ...


def is_nothing(command: Command, refusal: hiredis.ReplyError) -> bool:
    """Whether what a command only wants to read is of another kind: nothing, to whoever reads."""
    return command[0] in _READS and str(refusal).startswith("WRONGTYPE")


class HotStore:
    """Valkey for opens, shared by the threads of a process; each has a connection of its own, made when first used."""

    def __init__(
        self,
        url: str,
        reply_seconds: float = REPLY_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        names: Hostnames | None = None,
    ) -> None:
        self._address = Address(url)
        self._reply_seconds = reply_seconds
        self._pause_seconds = pause_seconds
        self._names = names or Hostnames()
        self._away_until = 0.0
        self._late = 0
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: WeakSet[_Wire] = WeakSet()

    @property
    def is_away(self) -> bool:
        """Whether the last exchange failed and nobody should be asked to wait for the next one."""
        return monotonic() < self._away_until

    def call(self, *commands: Command, until: float | None = None) -> list[Any]:
        """As `Hot.call`: commands sent over a connection that had ended are sent once more on a new one."""
        if self._away_until and not self._may_probe():
            raise Unavailable("Valkey")
        with self._judged(is_short=until is not None):
            wire: _Wire | None = getattr(self._mine, "wire", None)
            if wire is None:
                replies = self._anew(commands, until or monotonic() + self._reply_seconds)
            else:
                began = monotonic()
                try:
                    wire.send(commands)
                    replies = wire.receive(len(commands), until)
                except _Broken:
                    replies = self._anew(commands, until or began + self._reply_seconds)
        if self._late or self._away_until:
            self._well()
        for at, reply in enumerate(replies):
            if isinstance(reply, hiredis.ReplyError):
                if not is_nothing(commands[at], reply):
                    raise reply
                replies[at] = None
        return replies

    def gather(self, *commands: Command) -> list[Any]:
        """As `call`."""
        return self.call(*commands)

    def stream_beside(self, key: str, but: str = "") -> str:
        """The one record stream."""
        return keys.RECORDS

    def stream(self, near: str = "") -> str:
        """The one record stream."""
        return keys.RECORDS

    def names(self, prefix: bytes, most: int) -> list[bytes]:
        """As `Hot.names`."""
        found: dict[bytes, None] = {}
        cursor: bytes | int = 0
        while True:
            ((cursor, names),) = self.call(("SCAN", cursor, "MATCH", prefix + b"*", "COUNT", 1000))
            found |= dict.fromkeys(names)
            if cursor == b"0" or len(found) >= most:
                return list(found)

    def close(self) -> None:
        """Close every thread's connection; nobody may be using one."""
        with self._lock:
            for wire in list(self._open):
                wire.close()

    def begin(self, commands: Sequence[Command], until: float) -> None:
        """Send commands over the connection there is, or a new one. Raises Unavailable."""
        with self._judged():
            try:
                self._wire(until).send(commands)
            except _Broken:
                self._drop()
                self._wire(until).send(commands)

    def finish(self, commands: Sequence[Command], until: float) -> list[Any]:
        """The replies to what `begin` sent, by then (monotonic seconds); errors are among them. Raises Unavailable."""
        with self._judged():
            try:
                replies = self._wire(until).receive(len(commands), until)
            except _Broken:
                replies = self._anew(commands, until)
        if self._late or self._away_until:
            self._well()
        return replies

    def may_be_asked(self) -> bool:
        """Whether this caller may wait for it; while one finds out whether a store is back, the others may not."""
        return not self._away_until or self._may_probe()

    @property
    def is_connected(self) -> bool:
        """Whether this thread has a connection."""
        return getattr(self._mine, "wire", None) is not None

    @property
    def address(self) -> Address:
        """Where it is."""
        return self._address

    def connected(self, made: socket.socket | OSError) -> None:
        """Take a connection for this thread, or hear why there is none. Raises Unavailable then."""
        with self._judged():
            self._take(made)

    @contextmanager
    def _judged(self, *, is_short: bool = False) -> Iterator[None]:
        """An exchange, or half of one: what goes wrong in it counts against the store, unless it had less than the
        usual time (`is_short`) and took longer. Raises Unavailable then."""
        try:
            yield
        except (TimeoutError, BlockingIOError) as error:
            if is_short:
                self._drop()
            else:
                self._ill(late=True)
            raise Unavailable("Valkey") from error
        except (OSError, _Broken, hiredis.ReplyError, hiredis.ProtocolError) as error:
            self._ill(late=False)
            raise Unavailable("Valkey") from error

    def _well(self) -> None:
        self._away_until, self._late = 0.0, 0

    def _ill(self, *, late: bool) -> None:
        """Give this thread's connection up: a late reply may still arrive on it."""
        self._drop()
        self._late += 1
        if not late or self._late >= MAX_LATE:
            self._away_until = monotonic() + self._pause_seconds

    def _anew(self, commands: Sequence[Command], until: float) -> list[Any]:
        """The replies over a new connection: all of it within one wait."""
        self._drop()
        wire = self._wire(until)
        wire.send(commands)
        return wire.receive(len(commands), until)

    def _wire(self, until: float) -> _Wire:
        wire: _Wire | None = getattr(self._mine, "wire", None)
        if wire is None:
            (made,) = dial([self._address], self._names, until)
            wire = self._take(made or TimeoutError("there was no time left to connect"))
        return wire

    def _take(self, made: socket.socket | OSError) -> _Wire:
        if isinstance(made, OSError):
            raise made
        wire = self._mine.wire = _Wire(made, self._address.greeting(), self._reply_seconds)
        with self._lock:
            self._open.add(wire)
        return wire

    def _drop(self) -> None:
        wire: _Wire | None = getattr(self._mine, "wire", None)
        if wire is not None:
            wire.close()
            self._mine.wire = None

    def _may_probe(self) -> bool:
        """Whether this caller may try again; while it does, the others do not."""
        with self._lock:
            now = monotonic()
            if now < self._away_until:
                return False
            self._away_until = now + self._pause_seconds
            return True


def fly(errands: Sequence[tuple[HotStore, Sequence[Command]]], names: Hostnames, seconds: float) -> list[Any]:
    """The replies of several servers to what each is told, error replies among them; None for one that is away.

    All are sent to before the first is read from, and nobody is waited for any longer than `seconds`, however many are
    mute. Of these a new connection may take the half.
    """
    began = monotonic()
    until = began + seconds
    replies: list[Any] = [None] * len(errands)
    asked = [at for at, (store, _) in enumerate(errands) if store.may_be_asked()]
    lacking = [at for at in asked if not errands[at][0].is_connected]
    sent = [at for at in asked if at not in lacking and _begun(*errands[at], until)]
    if lacking:
        made = dial([errands[at][0].address for at in lacking], names, began + seconds / 2)
        for at, connection in zip(lacking, made, strict=True):
            if connection is not None and _connected(errands[at][0], connection) and _begun(*errands[at], until):
                sent.append(at)
    for at in sent:
        store, commands = errands[at]
        try:
            replies[at] = store.finish(commands, until)
        except Unavailable:
            continue
    return replies


def _begun(store: HotStore, commands: Sequence[Command], until: float) -> bool:
    try:
        store.begin(commands, until)
    except Unavailable:
        return False
    return True


def _connected(store: HotStore, made: socket.socket | OSError) -> bool:
    try:
        store.connected(made)
    except Unavailable:
        return False
    return True
