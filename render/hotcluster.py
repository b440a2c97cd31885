"""A cluster of hot stores that looks like one: each command goes to the node that holds its key, in one flight a node.

All nodes of a flight are connected to and sent to before the first is read from, so any number of them cost one waiting
time, mute ones too. Each node has its own health (`HotStore`): one that is away fails what is asked of it at once, and
nothing else. The map of slots is read from any node that answers: when first used, when a key has moved, and for a lost
node once in `LOOK_SECONDS`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

import hiredis

from base import keys
from base.clock import monotonic, pause
from base.errors import Unavailable
from base.slots import SLOTS, slot_of
from base.storeaddress import MAX_NODES, ClusterAddress, Place, cluster_address, is_cluster
from render.hostnames import Hostnames
from render.wire import AWAY, NOT_LOCAL, PAUSE_SECONDS, REPLY_SECONDS, Command, Hot, HotStore, fly, is_nothing

LOOK_SECONDS: Final = 1.0
MAX_LOOKS: Final = 3
"""Nodes that are asked for the map at a time, side by side; before there is any, all that the setting names."""
AGAIN_SECONDS: Final = 0.005
MAX_AGAIN: Final = 8
"""Looks at keys whose slot is on its way to another node, one half here and one there."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_KEYLESS: Final = "SCRIPT"
_PLAIN: Final = ("NOSCRIPT", "OOM", "WRONGTYPE", "NOAUTH")
"""Errors that have nothing to do with where keys lie."""


class _Map(NamedTuple):
    """Who holds which slot, and the record streams that each node holds."""

    places: tuple[Place | None, ...]
    streams: dict[Place, tuple[str, ...]]


class _Errand(NamedTuple):
    """A command for one node: `at` is the place of its reply; `parts` the places in it, for a part of an MGET."""

    command: Command
    at: int
    parts: tuple[int, ...] | None = None


_NOTHING: Final = _Map((None,) * SLOTS, {})


def hot_store(url: str, reply_seconds: float = REPLY_SECONDS) -> Hot:
    """The hot store at an address, one server or a cluster. Connects to nothing. Raises SettingError."""
    if is_cluster(url):
        return HotCluster(cluster_address(url), reply_seconds)
    return HotStore(url, reply_seconds)


class HotCluster:
    """A Valkey Cluster for opens, shared by the threads of a process."""

    def __init__(
        self,
        address: ClusterAddress,
        reply_seconds: float = REPLY_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        names: Hostnames | None = None,
    ) -> None:
        self._address = address
        self._reply_seconds = reply_seconds
        self._pause_seconds = pause_seconds
        self._names = names or Hostnames()
        self._nodes: dict[Place, HotStore] = {}
        self._map = _NOTHING
        self._looked_at = -LOOK_SECONDS
        self._is_wrong = True
        self._lock = threading.Lock()
        self._first_look = threading.Lock()

    @property
    def is_away(self) -> bool:
        """Whether no node should be asked."""
        if self._map is _NOTHING:
            return monotonic() - self._looked_at < self._pause_seconds
        return all(self._node(place).is_away for place in self._map.streams)

    def call(self, *commands: Command, until: float | None = None) -> list[Any]:
        """As `Hot.call`. What is to be there by then is asked of one node, and of no other that it names."""
        replies = self._alone(commands[0], until) if len(commands) == 1 else None
        if replies is None:
            if until is not None:
                raise Unavailable("Valkey")
            replies = self._replies(commands)
        for reply in replies:
            if reply is AWAY or (type(reply) is list and AWAY in reply):
                raise Unavailable("Valkey")
        return replies

    def gather(self, *commands: Command) -> list[Any]:
        """As `Hot.gather`."""
        return self._replies(commands)

    def stream_beside(self, key: str, but: str = "") -> str:
        """As `Hot.stream_beside`. A node that owns none of the streams' slots takes no opens."""
        place = self._current().places[slot_of(key)]
        streams = self._map.streams.get(place, ()) if place is not None else ()
        for stream in streams:
            if stream != but:
                return stream
        raise Unavailable("a record stream")

    def stream(self, near: str = "") -> str:
        """As `Hot.stream`."""
        current = self._current()
        beside = current.places[slot_of(near)] if near else None
        for place in (beside, *current.streams):
            if place in current.streams and not self._node(place).is_away:
                return current.streams[place][0]
        raise Unavailable("Valkey")

    def names(self, prefix: bytes, most: int) -> list[bytes]:
        """As `Hot.names`; those of a node that is away are not among them."""
        found: list[bytes] = []
        failed: Unavailable | None = None
        places = list(self._current().streams)
        for place in places:
            try:
                found += self._node(place).names(prefix, most)
            except Unavailable as error:
                failed = error
            if len(found) >= most:
                break
        if failed is not None and not found:
            raise failed
        return found

    def close(self) -> None:
        """Close every thread's connections; nobody may be using one."""
        for node in list(self._nodes.values()):
            node.close()

    def _alone(self, command: Command, until: float | None = None) -> list[Any] | None:
        """The reply to a command whose keys are all on one node, as nearly always; None where it is not that easy."""
        names = command[1:] if command[0] == "MGET" else command[3:4] if command[0] == "EVALSHA" else command[1:2]
        slots = {slot_of(_text(name)) for name in names}
        place = self._current().places[slots.pop()] if len(slots) == 1 else None
        if place is None:
            return None
        try:
            return self._node(place).call(command, until=until)
        except hiredis.ReplyError as error:
            if str(error).partition(" ")[0] in _PLAIN:
                raise
            return None
        except Unavailable:
            self._is_wrong = True
            raise

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, AWAY where a node is. Raises hiredis.ReplyError, after all were read."""
        errands: dict[Place | None, list[_Errand]] = {}
        places = self._current().places
        replies: list[Any] = [AWAY] * len(commands)
        first: list[Command] = []
        for index, command in enumerate(commands):
            word = command[0]
            if word == "MGET":
                self._split(command, index, errands, replies)
            elif word == _KEYLESS:
                first.append(command)
            else:
                errands.setdefault(places[_slot(command)], []).append(_Errand(command, index))
        for command in reversed(first):  # Before whatever else each node of the flight is sent.
            for mine in errands.values():
                mine.insert(0, _Errand(command, commands.index(command)))
        refused: hiredis.ReplyError | None = None
        for place, errand, said in self._flown(errands):
            answer = said
            if isinstance(answer, hiredis.ReplyError):
                answer = self._followed(place, errand, answer, first)
                if isinstance(answer, hiredis.ReplyError):
                    if not is_nothing(errand.command, answer):
                        refused = refused or answer
                        continue
                    answer = None
            _put(replies, errand, answer)
        if refused is not None:
            raise refused
        return replies

    def _split(
        self, command: Command, index: int, errands: dict[Place | None, list[_Errand]], replies: list[Any]
    ) -> None:
        """An MGET as one for each slot that its keys fall into."""
        places = self._map.places
        by_slot: dict[int, list[int]] = {}
        for at in range(1, len(command)):
            by_slot.setdefault(slot_of(_text(command[at])), []).append(at)
        if len(by_slot) == 1:
            (slot,) = by_slot
            errands.setdefault(places[slot], []).append(_Errand(command, index, tuple(range(len(command) - 1))))
        else:
            for slot, found in by_slot.items():
                part = _Errand(("MGET", *(command[at] for at in found)), index, tuple(at - 1 for at in found))
                errands.setdefault(places[slot], []).append(part)
        replies[index] = [AWAY] * (len(command) - 1)

    def _flown(self, errands: dict[Place | None, list[_Errand]]) -> list[tuple[Place, _Errand, Any]]:
        """Which node says what, error replies among it; nothing of a node that is away."""
        if None in errands:
            self._is_wrong = True
        asked = [(place, mine) for place, mine in errands.items() if place is not None]
        flights = [(self._node(place), [errand.command for errand in mine]) for place, mine in asked]
        said: list[tuple[Place, _Errand, Any]] = []
        for (place, mine), replies in zip(asked, fly(flights, self._names, self._reply_seconds), strict=True):
            if replies is None:
                self._is_wrong = True
            else:
                said += ((place, errand, reply) for errand, reply in zip(mine, replies, strict=True))
        return said

    def _followed(self, place: Place, errand: _Errand, error: hiredis.ReplyError, first: Sequence[Command]) -> Any:
        """The reply of whom the error of a node names, who is told `first` what others were; the error itself where it
        names nobody or was followed once, AWAY for a slot that nobody serves."""
        for _ in range(MAX_AGAIN):
            word, _, rest = str(error).partition(" ")
            if word in ("MOVED", "ASK"):
                named = _named(rest, place)
                if named is None:
                    return error
                slot, holder = named
                if word == "ASK":
                    return self._asked(holder, *first, ("ASKING",), errand.command)
                self._moved(slot, holder)
                return self._asked(holder, *first, errand.command)
            if word in ("CLUSTERDOWN", "LOADING", "MASTERDOWN"):
                self._is_wrong = True
                return AWAY
            if NOT_LOCAL in str(error):
                self._look()
            if word != "TRYAGAIN":
                return error
            if errand.command[0] == "MGET" and len(errand.command) > 2:
                return self._one_by_one(errand)
            pause(AGAIN_SECONDS)
            said = self._flown({self._map.places[_slot(errand.command)]: [errand]})
            if not said:
                return AWAY
            place, _, answer = said[0]
            if not isinstance(answer, hiredis.ReplyError):
                return answer
            error = answer
        return error

    def _one_by_one(self, errand: _Errand) -> Any:
        """An MGET of keys that are not all on one side of a move, as a GET each."""
        try:
            return self._replies([("GET", key) for key in errand.command[1:]])
        except hiredis.ReplyError as error:
            return error

    def _asked(self, place: Place, *commands: Command) -> Any:
        """What a node says to the last of the commands; AWAY when it does not answer."""
        (replies,) = fly([(self._node(place), commands)], self._names, self._reply_seconds)
        return AWAY if replies is None else replies[-1]

    def _moved(self, slot: int, holder: Place) -> None:
        """Put the slot right at once; the whole map is read anew soon."""
        with self._lock:
            places = list(self._map.places)
            places[slot] = holder
            self._map = _Map(tuple(places), _streams(places))
            self._is_wrong = True

    def _node(self, place: Place) -> HotStore:
        node = self._nodes.get(place)
        if node is None:
            with self._lock:
                node = self._nodes.get(place)
                if node is None:
                    node = HotStore(self._address.node(place), self._reply_seconds, self._pause_seconds, self._names)
                    self._nodes[place] = node
        return node

    def _current(self) -> _Map:
        """The map, read anew where it may be wrong and was not read within the last second."""
        if self._map is _NOTHING:
            self._look_first()
        elif self._is_wrong:
            with self._lock:
                now = monotonic()
                is_mine = self._is_wrong and now - self._looked_at >= LOOK_SECONDS
                if is_mine:
                    self._looked_at, self._is_wrong = now, False
            if is_mine:
                self._look()
        return self._map

    def _look_first(self) -> None:
        """Have a map to begin with, as nobody can do anything without; where none is told, not again for a pause."""
        if not self._first_look.acquire(timeout=self._reply_seconds):
            return
        try:
            if self._map is _NOTHING and monotonic() - self._looked_at >= self._pause_seconds:
                self._look()
                self._looked_at = monotonic()
        finally:
            self._first_look.release()

    def _look(self) -> None:
        """Read the map from nodes that answer; keep the old one when none does."""
        known = list(self._map.streams)
        asked = [place for place in dict.fromkeys((*known, *self._address.places)) if not self._node(place).is_away]
        del asked[MAX_LOOKS if known else MAX_NODES :]
        best: list[Place | None] = []
        question: list[Command] = [("CLUSTER", "SLOTS")]
        answers = fly([(self._node(place), question) for place in asked], self._names, self._reply_seconds)
        for place, answer in zip(asked, answers, strict=True):
            slots = () if answer is None or isinstance(answer[0], hiredis.ReplyError) else answer[0]
            places: list[Place | None] = [None] * SLOTS
            for first, last, master, *_ in slots:
                host = master[0].decode() if master[0] else place.host
                if _is_host(host):
                    places[first : last + 1] = [Place(host, master[1])] * (last + 1 - first)
            # Who came back empty, or lost sight of the others, knows of few slots or none.
            if places.count(None) < (best or _NOTHING.places).count(None):
                best = places
            if best and None not in best:
                break
        if not best:
            self._is_wrong = True
            return
        with self._lock:
            self._map = _Map(tuple(best), _streams(best))


def _put(replies: list[Any], errand: _Errand, answer: Any) -> None:
    """Put an answer where it belongs."""
    if errand.parts is None:
        replies[errand.at] = answer
    elif answer is not AWAY:
        for part, value in zip(errand.parts, answer, strict=True):
            replies[errand.at][part] = value


def _streams(places: Sequence[Place | None]) -> dict[Place, tuple[str, ...]]:
    """The record streams that each node holds."""
    found: dict[Place, tuple[str, ...]] = {}
    for name in keys.record_streams():
        place = places[slot_of(name)]
        if place is not None:
            found[place] = (*found.get(place, ()), name)
    return found


def _slot(command: Command) -> int:
    """The slot of the first key that a command names."""
    return slot_of(_text(command[3 if command[0] == "EVALSHA" else 1]))


def _text(key: bytes | str | int) -> bytes | str:
    return str(key) if isinstance(key, int) else key


def _named(text: str, answered: Place) -> tuple[int, Place] | None:
    """The slot and the node that an error names behind its word; without a host the node is on that of who answered.

    None where it names none.
    """
    slot, _, named = text.partition(" ")
    host, colon, port = named.rpartition(":")
    if not (colon and slot.isdecimal() and port.isdecimal() and int(slot) < SLOTS and 0 < int(port) < 65_536):
        return None
    return (int(slot), Place(host or answered.host, int(port))) if not host or _is_host(host) else None


def _is_host(text: str) -> bool:
    """Whether it is a name or an address; a node that does not know its own says a question mark."""
    if _NAME.fullmatch(text):
        return True
    try:
        return bool(ip_address(text))
    except ValueError:
        return False
