"""How processes agree on an open: one script on the delivery's shown key, and one a total cap.

`{profile}:shown:<delivery>` and `{profile}:used` are written only if nobody wrote them since they were read; the state
must be the one that was decided on, so an erasure or a purchase that arrived in between is never overwritten or missed.
The records of the open travel with the write: there is no agreed open without its decision record. Who comes second is
given what the first wrote, and goes by that. In a cluster they go to a record stream of the same node. The script is
told its name beside the keys, for it lies in another slot; an entry that cannot be added there ends the script before
anything is written.

`cap:<offer>` is a hash: `left`, the balance, `total`, out of how many, and a field for every reservation,
`<profile>.<delivery>.<open number>.<minute it began>`, holding when it was made (Unix ms) or 0 once its record was
stored. Publishing creates and changes it; a reservation with a time older than a minute has lost its open and is
released by the recorder (`stale_reservations`, `release`). A key whose `left` is no whole number is no cap, whatever
else it is: lost, as an absent one is, until `open_cap` takes its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, cast

import hiredis
from redis import ResponseError

from base import keys
from base.errors import Unavailable
from base.ids import Delivery
from base.storecluster import is_of_another_kind
from base.stores import Store
from render.record import STREAM_FIELD
from render.wire import NOT_LOCAL, Command, Hot

SHOWN_DAYS: Final = 60
"""A shown key is kept this long after its last write; the plan's lifetime says how long it must be there."""
STALE_RESERVATION_MS: Final = 60_000
PROFILE_DIGITS: Final = 18
MINUTE_MS: Final = 60_000
Guard = Literal["same", "alive"]
_LEFT: Final = b"left"
_TOTAL: Final = b"total"
_NUMBER: Final = re.compile(rb"0|-?[1-9][0-9]*")
_MOST: Final = 15
"""Characters of a number in a cap: Lua knows so many digits exactly."""


class Script:
    """A script that a server may have forgotten since it was loaded."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def command(self, names: Sequence[str], *arguments: bytes | str | int) -> Command:
        """The call by hash."""
        return ("EVALSHA", self.sha, len(names), *names, *arguments)


# A state is a MessagePack array whose fourth entry says that the person was erased; nine bytes with its edition come
# before it (signals/state.py). The script reads no further: Valkey's own reader does not know all of MessagePack. What
# is no string under one of the keys is nothing, as the MGET had it that the open was decided on.
_WRITE: Final = Script("""#!lua flags=allow-cross-slot-keys
local function erased(state)
  if state == '' then return false end
  local first = string.byte(state, 1) == 0xcf and 10 or 1
  local start = string.byte(state, first) == 0xdc and first + 2 or first
  local known, _, _, _, _, erased = pcall(cmsgpack.unpack_limit, state, 4, start)
  return known and erased == true
end
local function held(key)
  local data = redis.pcall('GET', key)
  return type(data) == 'string' and data or ''
end
local shown, used, state = held(KEYS[1]), held(KEYS[2]), held(KEYS[3])
local same = shown == ARGV[1] and (ARGV[4] == '' or used == ARGV[2])
if same and ARGV[5] == 'alive' then
  same = not erased(state)
elseif same then
  same = redis.sha1hex(state) == ARGV[5]
end
if not same then return {shown, used, state} end
if ARGV[7] ~= '' then redis.call('XADD', ARGV[9], '*', ARGV[8], ARGV[7]) end
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[6])
if ARGV[4] ~= '' then redis.call('SET', KEYS[2], ARGV[4]) end
return 1
""")

_WHOLE: Final = f"""
local function whole(name)
  local told = redis.pcall('HGET', KEYS[1], name)
  if type(told) ~= 'string' or #told > {_MOST} then return nil end
  if told ~= '0' and not string.match(told, '^%-?[1-9][0-9]*$') then return nil end
  return tonumber(told)
end
"""
"""`whole_number` of a field, for scripts; nothing of a key that is no hash."""

_RESERVE: Final = Script(f"""{_WHOLE}
local left = whole('left')
if not left then return -1 end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 1 end
if left <= 0 then return 0 end
redis.call('HINCRBY', KEYS[1], 'left', -1)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
""")

_RELEASE: Final = Script(f"""{_WHOLE}
if not whole('left') then return 0 end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], 'left', 1)
return 1
""")

_PUT_USED: Final = Script("""
local held = redis.pcall('GET', KEYS[1])
if (type(held) == 'string' and held or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
""")

_OPEN_CAP: Final = Script(f"""{_WHOLE}
if whole('left') then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'left', ARGV[1] - ARGV[2], 'total', ARGV[1])
return 1
""")

_CHANGE_CAP: Final = Script(f"""{_WHOLE}
local left = whole('left')
if not left then return -1 end
local total = whole('total') or ARGV[2]
redis.call('HSET', KEYS[1], 'left', left + ARGV[1] - total, 'total', ARGV[1])
return 1
""")


class Names(NamedTuple):
    """The three keys an open reads and writes together."""

    state: str
    shown: str
    used: str

    @classmethod
    def of(cls, delivery: Delivery) -> Names:
        """The keys of a delivery."""
        profile = delivery.profile
        return cls(keys.state(profile), keys.shown(profile, delivery.name), keys.used(profile))


class Personal(NamedTuple):
    """What the store held about a person and a delivery: bytes, or None where a key was absent."""

    state: bytes | None
    shown: bytes | None
    used: bytes | None


class Change(NamedTuple):
    """What a fetch wants to write. `used` None leaves it; `entry` is a sealed stream entry to be accepted with it.

    `guard` says what the state must be: the very one that was read (`same`), or any but that of an erased person
    (`alive`), which is all that a mark on an open already begun depends on.
    """

    shown: bytes
    used: bytes | None = None
    entry: bytes | None = None
    guard: Guard = "alive"


class Reservation(NamedTuple):
    """Which total caps were taken and which refused; `lost` had no cap under its key, which must exist."""

    taken: tuple[int, ...]
    refused: tuple[int, ...]
    lost: tuple[int, ...] = ()


class Agreement:
    """The writes that processes must agree on. For many threads."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot

    def write(self, names: Names, read: Personal, change: Change, until: float | None = None) -> Personal | None:
        """Write if nobody else did: None then, else what is there now; known by `until` (monotonic seconds), or within
        a reply's usual time. Raises Unavailable."""
        stream = self._hot.stream_beside(names.shown)
        try:
            try:
                reply = self._written(names, read, change, stream, until)
            except hiredis.ReplyError as error:
                if NOT_LOCAL not in str(error):
                    raise
                # The stream is on its way to another node, or there; nothing was written. Once more, with another.
                beside = self._hot.stream_beside(names.shown, stream)
                reply = self._written(names, read, change, beside, until)
        except hiredis.ReplyError as error:
            # A store that refuses to write (memory full, read-only replica) is as good as away.
            raise Unavailable("Valkey") from error
        if reply == 1:
            return None
        shown, used, state = reply
        return Personal(state or None, shown or None, used or None)

    def _written(self, names: Names, read: Personal, change: Change, stream: str, until: float | None) -> Any:
        """One run of the script. Raises Unavailable, hiredis.ReplyError."""
        command = _WRITE.command(
            (names.shown, names.used, names.state),
            read.shown or b"",
            (read.used or b"") if change.used is not None else b"",
            change.shown,
            change.used or b"",
            _digest(read.state) if change.guard == "same" else change.guard,
            SHOWN_DAYS * 86_400,
            change.entry or b"",
            STREAM_FIELD,
            stream,
        )
        (reply,) = self._taught(_WRITE, [command], partial(self._hot.call, until=until))
        return reply

    def reserve(self, offers: Sequence[int], name: str, now_ms: int) -> Reservation:
        """Take one showing of each offer's total cap; taking the same twice under one name takes once.

        One whose node is away counts as refused. Raises Unavailable: what was taken before that, or unheard, is
        released by the recorder.
        """
        replies = self._call(_RESERVE, [_RESERVE.command((keys.cap(offer),), name, now_ms) for offer in offers])
        answers = list(zip(offers, replies, strict=True))
        return Reservation(
            taken=tuple(offer for offer, reply in answers if reply == 1),
            refused=tuple(offer for offer, reply in answers if reply != 1),
            lost=tuple(offer for offer, reply in answers if reply == -1),
        )

    def release(self, offers: Iterable[int], name: str) -> None:
        """Give back what was reserved under the name. When the store is away the recorder does it later."""
        commands = [_RELEASE.command((keys.cap(offer),), name) for offer in offers]
        if not commands:
            return
        try:
            self._call(_RELEASE, commands)
        except Unavailable:
            return

    def _call(self, script: Script, commands: Sequence[Command]) -> list[Any]:
        """Run a script once a command; AWAY where a cluster's node is. Raises Unavailable."""
        try:
            return self._taught(script, commands, self._hot.gather)
        except hiredis.ReplyError as error:
            raise Unavailable("Valkey") from error

    def _taught(self, script: Script, commands: Sequence[Command], send: Callable[..., list[Any]]) -> list[Any]:
        """Run a script once a command; a server that does not know it is taught it."""
        try:
            return send(*commands)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return send(("SCRIPT", "LOAD", script.text), *commands)[1:]


def _digest(state: bytes | None) -> str:
    return hashlib.sha1(state or b"", usedforsecurity=False).hexdigest()


def reservation(delivery_name: str, profile: int, open_number: int, began_ms: int) -> str:
    """The name of an open's reservations.

    The minute tells it from a later open of the same number: numbers start again where the shown key was lost or ran
    out. Processes that begin one open at once share the name, and so the reservation.
    """
    return f"{profile}.{delivery_name}.{open_number}.{began_ms // MINUTE_MS}"


def reserved_by(name: str) -> int:
    """Whose open a reservation's name tells of; 0 where it tells of nobody's."""
    profile = name.partition(".")[0]
    return int(profile) if profile.isdigit() and len(profile) <= PROFILE_DIGITS else 0


def whole_number(told: bytes | None) -> int | None:
    """A balance, a total or a reservation's time as the store writes them; None for anything else, and for nothing."""
    return int(told) if told is not None and len(told) <= _MOST and _NUMBER.fullmatch(told) else None


def put_used(store: Store, profile: int, read: bytes | None, used: bytes) -> bool:
    """Write a profile's used key if it still holds what was read; False if not: an open came in between.

    A key of another kind holds nothing.
    """
    return bool(store.eval(_PUT_USED.text, 1, keys.used(profile), read or b"", used))


def open_cap(store: Store, offer: int, total: int, taken: int = 0) -> bool:
    """Create an offer's cap, of which `taken` are gone already; False if there is one, which is left alone.

    What is none gives way to it, with the reservations in it.
    """
    return bool(store.eval(_OPEN_CAP.text, 1, keys.cap(offer), total, taken))


def change_cap(store: Store, offer: int, total: int, before: int) -> int | None:
    """Change an open cap's total and return what is left; None when there is no cap: nothing is written then.

    Doing it twice changes it once: the cap knows its total. `before` stands for it in a cap that does not.
    """
    store.eval(_CHANGE_CAP.text, 1, keys.cap(offer), total, before)
    return balance(store, offer)


def balance(store: Store, offer: int) -> int | None:
    """What is left of a cap; None when there is none under its key. Raises redis.RedisError."""
    try:
        return whole_number(cast("bytes | None", store.hget(keys.cap(offer), _LEFT.decode())))
    except ResponseError as error:
        if not is_of_another_kind(error):
            raise
        return None


def settle(store: Store, offer: int, name: str) -> None:
    """Note that a reservation's record was stored: it is never released any more."""
    store.hset(keys.cap(offer), name, "0")


def stale_reservations(store: Store, offer: int, now_ms: int) -> Iterator[str]:
    """The names of reservations that are older than a minute and not settled; what is no reservation is passed over."""
    for name, told in store.hscan_iter(keys.cap(offer), count=500):
        made = whole_number(told) or 0
        if name not in (_LEFT, _TOTAL) and name.isascii() and 0 < made < now_ms - STALE_RESERVATION_MS:
            yield name.decode()


def release(store: Store, offer: int, name: str) -> bool:
    """Give back one reservation; False if there is none of that name."""
    return bool(store.eval(_RELEASE.text, 1, keys.cap(offer), name))
