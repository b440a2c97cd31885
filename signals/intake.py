"""Taking signals in: a batch is read, resolved, stored and folded in one transaction, then published to Valkey.

`take` returns when the events are committed and every state they changed is written: the caller may then answer 200.
It raises Unavailable when either store is away; sending the same messages again is safe and finishes the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import msgspec
from psycopg.errors import DeadlockDetected, SerializationFailure
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from base.clock import monotonic
from base.db import Sessions, transaction
from base.errors import Busy, InvalidInput, Unavailable
from base.stores import Store
from signals import (
    claiming,
    exchange,
    folding,
    grouping,
    journal,
    lateness,
    lineage,
    origins,
    outbox,
    repeats,
    withholding,
)
from signals.belonging import Lost
from signals.consenthistory import write_consents
from signals.definitions import Definitions
from signals.folding import Root, Standing
from signals.histories import Told
from signals.intent import assess
from signals.journal import Entry
from signals.livesegments import LiveSegments, place
from signals.origins import Origin
from signals.owners import Whose, resolve
from signals.publishing import NOBODY, Publisher, State
from signals.reading import Item, Outcome, Reader, Reading
from signals.separation import Along, Cut, HubFound, cut
from signals.signal import Arrival
from signals.sources import Sender
from signals.state import ProfileState
from signals.traitnames import fitting

TRIES: Final = 8
KEPT_NOTES: Final = 10 * outbox.AT_ONCE
_Result = TypeVar("_Result")
_Absorbed = tuple[list[Standing], set[int], list[int]]


class Intake:
    """Everything a process needs to take signals in. Threads may share it."""

    def __init__(self, sessions: Sessions, store: Store, hash_key: bytes) -> None:
        self.sessions = sessions
        self.publisher = Publisher(store, sessions)
        self.reader = Reader(sessions, hash_key)
        self.categories = self.reader.categories
        self.definitions = Definitions(self.categories)
        self.segments = LiveSegments()
        self.hash_key = hash_key
        self._told: deque[int] = deque(maxlen=KEPT_NOTES)

    def told(self, notes: Iterable[int]) -> None:
        """Keep these notes of states that are published, to be taken back with the next ones; the newest KEPT_NOTES."""
        self._told.extend(notes)

    def taken_back(self) -> list[int]:
        """The notes to be taken back now. What comes of that or not, their states are published."""
        found: list[int] = []
        with suppress(IndexError):  # Another thread may take them too.
            while True:
                found.append(self._told.popleft())
        return found

    def settle(self, work: Callable[[Session], _Result]) -> _Result:
        """Run `work` in a transaction, again from the start when another transaction got in between.

        Raises Unavailable when the database is away, Busy when it is so contended that eight tries were lost.
        """
        for _ in range(TRIES):
            try:
                with transaction(self.sessions) as session:
                    return work(session)
            except Lost:
                continue
            except Unavailable as error:
                if not _contended(error.__cause__):
                    raise
            except DBAPIError as error:
                if not _contended(error):
                    raise
        raise Busy("The database")


def _contended(error: BaseException | None) -> bool:
    return isinstance(error, DBAPIError) and isinstance(error.orig, DeadlockDetected | SerializationFailure)


def take(
    intake: Intake,
    sender: Sender,
    bodies: Sequence[bytes],
    now: datetime,
    *,
    skew: timedelta = timedelta(0),
    type_: str = "",
) -> list[Outcome]:
    """Take a batch of events, each the JSON bytes of one call; one outcome for each, in their order.

    `skew` is how far the sender's clock is behind (signal.clock_skew), `type_` the call the address named, if it did.
    """
    return admit(intake, sender, intake.reader.read(sender, bodies, Arrival(now, skew, type_)))


def admit(intake: Intake, sender: Sender, reading: Reading, *, patience: float = 10.0) -> list[Outcome]:
    """Store, fold and publish what was read. Raises Unavailable; doing it again with the same reading is safe.

    `patience`: merges by hubs are taken apart for so many seconds, then Busy is raised; the next time goes on.
    """
    outcomes = list(reading.outcomes)
    standings, repeated, notes = _settled(intake, sender, reading, patience)
    for item in reading.items:
        outcomes[item.index] = item.outcome
    states = folding.published(standings)
    if repeated:
        with transaction(intake.sessions) as session:
            states += stored_states(session, repeated)
    publish(intake, states, {one for entry in standings for one in entry.root.fresh})
    if len(notes) > outbox.AT_ONCE:  # A piece of an import: the next comes late, and the last has none after it.
        intake.settle(partial(outbox.done, notes=notes))
    else:
        intake.told(notes)
    regroup(intake, repeated | moved(standings), reading.now)
    return outcomes


def publish(intake: Intake, states: Sequence[State], new: Container[int] = NOBODY) -> None:
    """Publish states that are committed. Raises Unavailable, having noted them: who asked may never ask again."""
    try:
        intake.publisher.write_states(states, new)
    except Unavailable:
        intake.settle(partial(outbox.note_once, profiles={profile for profile, _, _ in states}))
        raise


def carry(
    intake: Intake, work: Callable[[Session], _Result], states: Callable[[_Result], Sequence[Standing]]
) -> _Result:
    """Run `work` as `settle` does and publish the states that it wrote, as `states` tells them of its result.

    In effect for the next open when it returns. Raises Unavailable; what is committed then is in effect a few seconds
    after the store is back, whoever dies meanwhile (signals/due.py).
    """

    def noted(session: Session) -> tuple[_Result, list[int]]:
        result = work(session)
        return result, outbox.note(session, [entry.root.id for entry in states(result)])

    result, notes = intake.settle(noted)
    intake.publisher.write_states(folding.published(states(result)))
    if notes:
        with suppress(Unavailable):  # It is published, and would be once more.
            intake.settle(partial(outbox.done, notes=[*notes, *intake.taken_back()]))
    return result


def moved(standings: Iterable[Standing]) -> set[int]:
    """Those of whom something was said by which they may live with others than before."""
    return {entry.root.id for entry in standings if entry.root.regroup}


def regroup(intake: Intake, people: Collection[int] | None, now: datetime) -> None:
    """Find the homes of these people anew where that is due, of all with None; in effect for the next open of everybody
    who lives there when it returns. Raises Unavailable; doing it again is safe."""
    find = partial(grouping.settle, hash_key=intake.hash_key, segments=intake.segments, now=now)
    for only in [None] if people is None else _hundreds(sorted(people)):
        full = True
        while full:
            settled = intake.settle(partial(find, held=set(), only=only))
            if settled.done:
                intake.publisher.write_states(folding.published(settled.standings))
                intake.settle(partial(grouping.done, notes=settled.done))
            full = len(settled.done) == grouping.BATCH


def _hundreds(people: Sequence[int]) -> Iterator[Sequence[int]]:
    return (people[start : start + grouping.BATCH] for start in range(0, len(people), grouping.BATCH))


def _settled(intake: Intake, sender: Sender, reading: Reading, patience: float) -> _Absorbed:
    """The batch stored and folded, as `_absorb` has it. When it names a value that proves to be many people's, what
    that value tied before is taken apart first, and the batch is resolved among the people that are then there."""
    told, until = intake.taken_back(), monotonic() + patience
    while True:
        try:
            return intake.settle(partial(_absorb, intake, sender, reading, told))
        except HubFound as hub:
            for link in hub.links:  # Each is one merge less, so this ends.
                take_apart(intake, link, reading.now, apart=False)
            if monotonic() > until:
                raise Busy("The intake") from None


def take_apart(
    intake: Intake, link: int, now: datetime, *, apart: bool, by: str = "", along: Along = lambda session, done: None
) -> Cut | None:
    """Undo a merge and publish the states of both; in effect for the next open when it returns. None when somebody
    has just undone it.

    `apart`: a person (`by`) said that they are two. `along` is done in the same transaction. Raises NotFound,
    Unavailable; doing it again is safe.
    """

    def work(session: Session) -> Cut:
        known = (intake.categories, intake.definitions, intake.segments)
        return cut(session, *known, link, now, apart=apart, by=by, along=along)

    try:
        done = carry(intake, work, lambda done: done.standings)
    except InvalidInput:
        return None
    regroup(intake, moved(done.standings), now)
    return done


def stored_states(session: Session, profiles: Iterable[int]) -> list[State]:
    """The committed state of these profiles, for every member of their roots: what Valkey should hold."""
    roots = session.scalars(text("SELECT DISTINCT root_id FROM profile WHERE id = ANY(:ids)"), {"ids": list(profiles)})
    found = folding.load(session, roots)
    return folding.published(
        folding.standing(root, held, root.edition) for root in found.values() if (held := root.held) is not None
    )


def _absorb(intake: Intake, sender: Sender, reading: Reading, told: Sequence[int], session: Session) -> _Absorbed:
    """Store and fold a batch; returns the states to publish, the profiles of repeats, to be repaired, and the notes of
    the states: whoever asked may never ask again. The notes that are `told` are taken back with that."""
    standings: list[Standing] = []
    repeated: set[int] = set()
    again: Sequence[Item] = reading.items
    for _ in range(TRIES):
        fresh, others, stored = repeats.sorted_out(session, sender, again)
        standings += absorb(session, intake, sender, fresh, reading.now) if fresh else []
        repeated |= stored
        again = repeats.unsettled(fresh, others)
        if not again:
            break
    conflicts = [item for item in reading.items if item.status == "conflict"]
    repeats.list_conflicts(session, intake.hash_key, sender, conflicts, reading.now)
    # After what was good: somebody may object in the same batch.
    if not reading.is_listed:
        listed = withholding.listed(session, sender, reading.refused(), intake.hash_key)
        if reading.before is not None:
            reading.before.forget(session, listed)
        journal.refuse(session, sender, listed, reading.now)
    return standings, repeated, outbox.note(session, [entry.root.id for entry in standings], told)


def absorb(session: Session, intake: Intake, sender: Sender, items: Sequence[Item], now: datetime) -> list[Standing]:
    """Store and fold new events: whose they are, the locks, what may be kept, the rows, the states.

    Raises Lost on a lost race.
    """
    whose, items = _fitting(session, intake, sender, items, now)
    if not (items or whose.unsettled):
        return []
    arrivals = journal.numbers(session, max(1, len(items)))
    for item, arrival in zip(items, arrivals, strict=False):
        item.told.event = msgspec.structs.replace(item.told.event, arrival=arrival)
    told: dict[int, list[Told]] = {}
    for item in items:
        told.setdefault(item.person.root().id, []).append(item.told)
    for number in whose.unsettled:
        told.setdefault(number, [])  # Nothing may be kept of them, but who they are is known.
    news = _folded_on(session, whose, told)
    journal.append(session, sender, [Entry(item.signal, item.told, item.person.id) for item in items], now)
    claiming.hear(session, items, whose.roots, whose.merged, sender, intake.hash_key)
    return _stand(session, intake, whose.roots, told, news, arrivals[-1], now)


def _fitting(
    session: Session, intake: Intake, sender: Sender, items: Sequence[Item], now: datetime
) -> tuple[Whose, list[Item]]:
    """Whose the events are, and those that are kept. Of a call whose traits find no room nobody is made and nothing is
    tied: the batch is then settled once more without it."""
    if sender.is_server or not any(item.told.event.traits for item in items):
        return _kept(session, intake, sender, items, now)
    attempt = session.begin_nested()
    whose, kept = _kept(session, intake, sender, items, now)
    sound = [item for item in items if item.fault is None]
    if len(sound) == len(items):
        attempt.commit()
        return whose, kept
    attempt.rollback()
    for item in sound:
        item.status = "accepted"
    return _kept(session, intake, sender, sound, now)


def _kept(
    session: Session, intake: Intake, sender: Sender, items: Sequence[Item], now: datetime
) -> tuple[Whose, list[Item]]:
    """Whose the events are, written and locked, and those that may be kept; the others are marked."""
    whose = resolve(session, sender, items, intake.hash_key, now)
    if not sender.is_server:
        lateness.count_at_arrival(session, items, whose.roots, now)
    unsure = {number for number in whose.roots if whose.must_fold_again(number)}
    permitted = withholding.permitted(session, items, whose.roots, sender, unsure=unsure)
    return whose, fitting(session, permitted, whose.roots, sender)


@dataclass(frozen=True, slots=True)
class News:
    """What a batch makes of its roots: the new state of each, None where its whole history is to be folded again, and
    the origins of traits that changed."""

    states: dict[int, ProfileState | None]
    origins: list[Origin]


def _folded_on(session: Session, whose: Whose, told: dict[int, list[Told]]) -> News:
    """The batch folded onto what is stored, where that can be."""
    orders = {entry.event.order_id for entries in told.values() for entry in entries if entry.is_order}
    taken = folding.orders_taken(session, whose.roots, orders) if orders else {}
    priced = [entry for entries in told.values() for entry in entries if entry.event.currency]
    if priced:
        exchange.hold(session)
        exchange.value(session, priced)
    stated = {(number, name) for number, entries in told.items() for entry in entries for name in entry.event.traits}
    rules = lineage.rules(session) if stated else lineage.Rules({}, {}, ())
    known, damaged = origins.stored(session, [one for one in stated if one[0] not in whose.created])
    news = News({}, [])
    for number, entries in told.items():
        entries.sort(key=lambda entry: entry.key)
        before = known.get(number, origins.NO_ORIGINS)
        state = folding.folded_on(whose.roots[number], entries, taken.get(number, ()), rules, before)
        if state is None or number in damaged or whose.must_fold_again(number):
            news.states[number] = None
        else:
            news.states[number] = state
            changed = origins.origins(number, (entry.event for entry in entries), rules, before)
            news.origins.extend(changed.values())
    return news


def _stand(
    session: Session,
    intake: Intake,
    roots: dict[int, Root],
    told: dict[int, list[Told]],
    news: News,
    edition: int,
    now: datetime,
) -> list[Standing]:
    """Write the states and what is derived beside them."""
    folded = {number: state for number, state in news.states.items() if state is not None}
    anew = [number for number, state in news.states.items() if state is None]
    whence = news.origins
    if anew:
        for again in folding.fold_each_again(session, [roots[number] for number in anew], intake.categories):
            folded[again.root.id] = again.state
            whence += again.origins
    # What another process was told of may speak for an intent in a category that this one has not met.
    intake.categories.know({category for state in folded.values() for category in state.categories})
    intents, live = intake.definitions.current(session), intake.segments.current(session)
    standings = [
        folding.standing(roots[number], place(assess(state, intents), live, now), edition)
        for number, state in folded.items()
    ]
    folding.write(session, standings, now)
    origins.write(session, whence, anew=anew)
    write_consents(session, [entry for entries in told.values() for entry in entries])
    return standings
