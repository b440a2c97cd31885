"""What a person was shown and said under all their profiles, kept beside the count of each.

Mails carry the profile that they were sent to, for good. Its `used` key counts what was shown by them, and is render's
alone; `Used.others` in it says what counts of the other profiles that are the same person since a merge. That is the
sum of the others' own counts as the store has them, so it may be made anew at any moment with the same result, and is
empty again once a merge is undone. It is written only over the very bytes that were read: an open in between keeps its
count, and the person stays noted. The lock on their root keeps merges and erasures waiting meanwhile, and signals of
them too, so few are counted in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from redis import RedisError
from redis.exceptions import OutOfMemoryError
from sqlalchemy import text
from sqlalchemy.orm import Session

from base import keys
from base.clock import monotonic
from base.db import Numbers, Sessions, transaction
from base.stores import Store, ask_each, is_clustered
from render import agree
from render.facts import Used, decode_used, encode_used
from render.lookup import understood
from signals import belonging, countoutbox

FEW: Final = 10
"""People who are counted in one transaction."""
SECONDS: Final = 1.0
"""How long a recorder follows what is noted, at most, before it records again."""
Recorded = Callable[[Session, Collection[int]], Mapping[int, Used]]
"""What each of these profiles was shown and said, by what is on record: where a key is not there, or not to be
understood."""
_MEMBERS: Final = text("""
    SELECT id, root_id FROM profile WHERE root_id = ANY(:roots) AND erased_at IS NULL ORDER BY root_id, id
""")


class Held(NamedTuple):
    """A profile's key: its bytes, None where it is absent, and what they say."""

    profile: int
    data: bytes | None
    used: Used


class Counts:
    """Keeps the profiles of people in step. One per recorder; several of them do the same, harmlessly."""

    def __init__(self, sessions: Sessions, store: Store, recorded: Recorded) -> None:
        self._sessions = sessions
        self._store = store
        self._recorded = recorded

    def told(self, profiles: Collection[int], shown: Collection[int] = ()) -> None:
        """Something that counts was recorded of these profiles: keep it beside the other profiles of each person.

        A profile whose own key is absent was shown nothing that counts, or the store has lost it since. Of those who
        were `shown` an offer that counts it is written again: their state may be back before this was on record. Who
        cannot be done now is noted. Raises Unavailable, and redis.RedisError when the store is away; of a cluster, or
        of a store that is full, what cannot be written waits for `follow`.
        """
        told = self._read(list(profiles))
        with transaction(self._sessions) as session:
            recorded = self._recorded(session, [one for one in shown if told.get(one, b"") is None])
            # A decision does not say which offers are defaults: of who was shown these alone nothing is lost.
            lost = [profile for profile, used in recorded.items() if used != Used()]
            merged = countoutbox.merged(session, [one for one in profiles if told.get(one, b"") is not None])
            roots: Collection[int] = {*merged, *belonging.living(session, lost).values()}
            if roots:
                roots, missed = belonging.lock_free(session, roots)
                countoutbox.note(session, missed)
                self._step(session, roots)

    def follow(self) -> None:
        """Do what is noted, for SECONDS; who cannot be done now stays noted. Raises as `told` does."""
        until = monotonic() + SECONDS
        while True:
            with transaction(self._sessions) as session:
                noted = countoutbox.waiting(session)
            people, counted = list(noted), 0
            for start in range(0, len(people), FEW):
                with transaction(self._sessions) as session:
                    roots, _ = belonging.lock_free(session, people[start : start + FEW])
                    self._step(session, roots)
                counted += len(roots)
                if monotonic() >= until:
                    return
            # One person may have many of the notes. Who is held by somebody else is not waited for.
            if not counted or sum(noted.values()) < countoutbox.AT_ONCE:
                return

    def restore(self, profile: int) -> bool:
        """Write the keys that are absent of a person, each beside the others; False when that is not done yet.

        Of an erased person nothing is written.
        """
        with transaction(self._sessions) as session:
            living = list(belonging.living(session, [profile]).values())
            roots = belonging.lock_roots(session, living)
            return roots == living and not self._step(session, roots)

    def _step(self, session: Session, roots: Sequence[int]) -> list[int]:
        """Bring people up to date whose roots are locked; those of whom something is left, and noted."""
        if not roots:
            return []
        countoutbox.done(session, roots)
        members: dict[int, list[int]] = {root: [] for root in roots}
        for row in session.execute(_MEMBERS, {"roots": Numbers(roots)}):
            members[row.root_id].append(row.id)
        held = self._held(session, [profile for person in members.values() for profile in person])
        left = []
        for root, person in members.items():
            whole = all(profile in held for profile in person)
            if not whole or not self._write([held[profile] for profile in person]):
                left.append(root)
        countoutbox.note(session, left)
        return left

    def _held(self, session: Session, profiles: Sequence[int]) -> dict[int, Held]:
        """What is held of these profiles, without those whose node of a cluster is away."""
        told = self._read(profiles)
        said = {profile: understood(decode_used, data) for profile, data in told.items()}
        recorded = self._recorded(session, [profile for profile, used in said.items() if used is None])
        return {profile: Held(profile, told[profile], used or recorded[profile]) for profile, used in said.items()}

    def _read(self, profiles: Sequence[int]) -> dict[int, bytes | None]:
        names = {keys.used(profile): profile for profile in profiles}
        try:
            told = ask_each(self._store, list(names), lambda pipe, name: pipe.get(name))
        except RedisError:
            if not is_clustered(self._store):
                raise
            return {}
        return {names[name]: data for name, data in told.items()}

    def _write(self, person: Sequence[Held]) -> bool:
        """Write what each of a person's keys is to say; False when one of them could not be, or has changed since."""
        done = True
        for one in person:
            used = one.used.beside(other.used for other in person if other is not one)
            data = encode_used(used)
            if data == one.data or (one.data is None and used == Used()):
                continue
            try:
                done &= agree.put_used(self._store, one.profile, one.data, data)
            except RedisError as error:
                if not (is_clustered(self._store) or isinstance(error, OutOfMemoryError)):
                    raise
                done = False
        return done
