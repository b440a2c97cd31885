"""Writing to Valkey what an open reads: profile states and product facts, each only over something older.

One script a key family compares inside Valkey, so that two writers that overtake each other leave the newer value. A
value of the same age is written again: that is how a repeated message, a rebuild or a repair restores what was lost.
Where there is no state it is written of nobody to whom anything was shown (signals/unshown.py).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from redis import RedisError
from redis.exceptions import NoScriptError, OutOfMemoryError

from base import keys
from base.db import Sessions, transaction
from base.errors import Unavailable
from base.stores import Store, is_clustered
from signals import outbox
from signals.state import decode, issued
from signals.unshown import unshown

_READ: Final = """
local function read(bytes)
  if #bytes <= 4 then return nil end
  local at, edition = 0, nil
  if string.byte(bytes, 1) == 0xcf then
    at, edition = 9, cmsgpack.unpack(string.sub(bytes, 1, 9))
  end
  local head = string.byte(bytes, at + 1)
  if head == 0xdc or math.floor(head / 16) == 9 then
    local _, _, version, _, erased = cmsgpack.unpack_limit(string.sub(bytes, at + 1), 4, head == 0xdc and 3 or 1)
    return edition or version, erased
  end
end
local is_state, held, is_erased = pcall(function() return read(redis.call('GETRANGE', KEYS[1], 0, 39)) end)
if not is_state or type(held) ~= 'number' then held, is_erased = -1, false end
"""
"""A state begins with its edition; one that an earlier release wrote has only its version, the second entry of a
MessagePack array (signals/state.py). Both are arrival numbers, so they compare: read from the first bytes. What is no
state, as somebody may have put there, is older than any."""

STATE_SCRIPT: Final = f"""{_READ}
local _, erases = read(string.sub(ARGV[2], 1, 40))
if ARGV[3] == '' and erases ~= true and held == -1 then return -1 end
if is_erased == true and erases ~= true then return 0 end
if (is_erased == true) == (erases == true) and held > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""Write a state unless a newer one is there; with nothing as third argument not where there is none, which is answered
with -1. A tombstone (`erased`, the fourth entry) gives way to no state and takes
the place of any, whatever their numbers: a database that was set back may know nothing of the one that is there."""

SET_BACK_SCRIPT: Final = """
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""Write a state over the very bytes that the caller found there, and over nothing else."""

PRODUCT_SCRIPT: Final = """
local function newer()
  local facts = cmsgpack.unpack(redis.call('GET', KEYS[1]))
  return facts[1] == cmsgpack.unpack(ARGV[2])[1] and facts[5] > tonumber(ARGV[1])
end
local is_product, stays = pcall(newer)
if is_product and stays then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""Product facts are a MessagePack array whose first entry is the product's id and the fifth the feed's time
(signals/products.py). What is none under a product's key, or nothing, gives way to them."""

HOT_STORE: Final = "The hot store"
"""What is not available when a key could not be written."""
_PIPELINE: Final = 1_000
_SCAN: Final = 1_000
_DIGITS: Final = 19
_Name = TypeVar("_Name", int, str)
_Write = tuple[str | int | bytes, ...]
"""A key, what a script compares with what is there, what is written, and whether it may be where nothing is."""
_ABSENT: Final = -1
State = tuple[int, int, bytes]
"""A profile, the edition of its state, and the state's bytes."""


class _Anybody(Container[int]):
    def __contains__(self, profile: object) -> bool:
        return True


ANYBODY: Final[Container[int]] = _Anybody()
NOBODY: Final[Container[int]] = frozenset()


class Publisher:
    """Writes states and product facts. Raises Unavailable when Valkey is away; nothing is then half-written.

    Wherever states are written, `whole` are those of whom nothing is missing in the store but the state: they are new,
    or all else was just restored.
    """

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self.store = store
        self._sessions = sessions
        self.is_clustered = is_clustered(store)
        self._digests: dict[str, str] = {}

    def write_states(self, states: Iterable[State], whole: Container[int] = NOBODY) -> int:
        """Write each state unless a newer one is there; returns how many were written. What is left out is noted for a
        recorder, who brings it back."""
        told = self._write_states(list(states), whole)
        for _, answer in told:
            if isinstance(answer, Exception):
                raise Unavailable(HOT_STORE) from answer
        if left := {profile for profile, answer in told if answer == _ABSENT}:
            with transaction(self._sessions) as session:
                outbox.note_left(session, left)
        return sum(answer == 1 for _, answer in told)

    def offer_states(self, states: Sequence[State]) -> tuple[set[int], set[int]]:
        """Write what can be written; the profiles whose states could not be, as a cluster's node of theirs is away, and
        those whose states were left out.

        Raises Unavailable when nothing could.
        """
        answers = self._write_states(states, NOBODY)
        lost = {profile for profile, answer in answers if isinstance(answer, Exception)}
        return lost, {profile for profile, answer in answers if answer == _ABSENT}

    def _write_states(self, states: Sequence[State], whole: Container[int]) -> list[tuple[int, Any]]:
        """What was answered for each profile; _ABSENT where no state is there, and what was shown is missing too.

        A store that is full keeps no older state of somebody who was erased or withdrew a consent.
        """
        told = list(zip(states, self._states_told(states, whole), strict=True))
        if absent := [state for state, answer in told if answer == _ABSENT]:
            with transaction(self._sessions) as session:
                free = unshown(session, {profile for profile, *_ in absent})
            again = [state for state in absent if state[0] in free]
            told = [(state, answer) for state, answer in told if answer != _ABSENT or state[0] not in free]
            told += zip(again, self._states_told(again, free), strict=True)
        full = [state for state, answer in told if isinstance(answer, OutOfMemoryError)]
        self.drop_states([profile for profile, _, data in full if _ends_something(data)])
        return [(profile, answer) for (profile, *_), answer in told]

    def _states_told(self, states: Sequence[State], whole: Container[int]) -> list[Any]:
        writes = [
            (keys.state(profile), edition, issued(edition, data), "new" if profile in whole else "")
            for profile, edition, data in states
        ]
        try:
            return list(self._answers(STATE_SCRIPT, writes))
        except RedisError as error:
            raise Unavailable(HOT_STORE) from error

    def offer_products(self, products: Sequence[tuple[str, int, bytes]]) -> set[str]:
        """Write (product id, feed time in ms, encoded facts), each unless a newer one is there; the products that could
        not be written, as a cluster's node of theirs is away. Raises Unavailable when nothing could.
        """
        return self._offer(
            PRODUCT_SCRIPT, [(keys.product(name), feed_ms, data) for name, feed_ms, data in products],
            [name for name, _, _ in products],
        )  # fmt: skip

    def held(self, profiles: Sequence[int]) -> dict[int, bytes]:
        """What is under the keys of these profiles' states, where something is that may be one."""
        answers: list[Any] = []
        try:
            for start in range(0, len(profiles), _PIPELINE):
                pipeline = self.store.pipeline(transaction=False)
                for profile in profiles[start : start + _PIPELINE]:
                    pipeline.get(keys.state(profile))
                # Somebody may have put something under a key that is no string.
                answers += pipeline.execute(raise_on_error=False)
        except RedisError as error:
            raise Unavailable(HOT_STORE) from error
        return {
            profile: data for profile, data in zip(profiles, answers, strict=True) if isinstance(data, bytes) and data
        }

    def numbers(self) -> list[int]:
        """The profiles that have a state in Valkey, unordered, perhaps some twice. Walks all keys once."""
        try:
            names = [bytes(name) for name in self.store.scan_iter(match=keys.state_of_any(), count=_SCAN)]
        except RedisError as error:
            raise Unavailable(HOT_STORE) from error
        inner = (name[1:].partition(b"}")[0] for name in names)
        # Longer ones are no numbers of profiles.
        return [int(number) for number in inner if number.isdigit() and len(number) < _DIGITS]

    def set_back(self, states: Iterable[tuple[int, bytes, int, bytes]]) -> int:
        """Write (profile, what was found there, the edition to come, encoded state), each only over those very bytes;
        returns how many were written."""
        return self._run(
            SET_BACK_SCRIPT, [(keys.state(profile), there, issued(come, data)) for profile, there, come, data in states]
        )

    def drop_states(self, profiles: Sequence[int]) -> None:
        """Delete states that must not be gone by: opens show the default until they are written again. A store that is
        full takes that, and no state. Raises Unavailable.
        """
        if not profiles:
            return
        try:
            self.store.delete(*(keys.state(profile) for profile in profiles))
        except RedisError as error:
            raise Unavailable(HOT_STORE) from error

    def forget(self, profiles: Sequence[int]) -> int:
        """Delete what render keeps of erased profiles: what was shown and used. Walks all keys once."""
        try:
            gone = [keys.used(profile) for profile in profiles]
            for profile in profiles:
                gone += self.store.scan_iter(match=f"{{{profile}}}:shown:*", count=_SCAN)
            return int(self.store.delete(*gone))
        except RedisError as error:
            raise Unavailable(HOT_STORE) from error

    def _run(self, script: str, writes: Sequence[_Write]) -> int:
        try:
            written = 0
            for answer in self._answers(script, writes):
                if isinstance(answer, Exception):
                    raise answer
                written += answer
        except RedisError as error:
            raise Unavailable(HOT_STORE) from error
        return written

    def _offer(self, script: str, writes: Sequence[_Write], names: Sequence[_Name]) -> set[_Name]:
        try:
            answers = list(self._answers(script, writes))
        except RedisError as error:
            raise Unavailable(HOT_STORE) from error
        return {name for name, answer in zip(names, answers, strict=True) if isinstance(answer, Exception)}

    def _answers(self, script: str, writes: Sequence[_Write]) -> Iterator[Any]:
        for start in range(0, len(writes), _PIPELINE):
            yield from self._batch(script, writes[start : start + _PIPELINE])

    def _batch(self, script: str, writes: Sequence[_Write]) -> list[Any]:
        digest = self._digests.get(script) or self._load(script)
        answers = self._send(digest, writes)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Valkey was restarted since: it keeps data, not scripts.
            answers = self._send(self._load(script), writes)
        return answers

    def _send(self, digest: str, writes: Sequence[_Write]) -> list[Any]:
        pipeline = self.store.pipeline(transaction=False)
        for write in writes:
            pipeline.evalsha(digest, 1, *write)
        return list(pipeline.execute(raise_on_error=False))

    def _load(self, script: str) -> str:
        digest = self.store.script_load(script)
        self._digests[script] = str(digest)
        return self._digests[script]


def _ends_something(data: bytes) -> bool:
    """Whether a state allows less than an older one of the same person may."""
    state = decode(data)
    return state.erased or not all(state.consent.values())
