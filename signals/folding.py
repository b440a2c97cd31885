"""From stored signals to stored states: folding new events on, or all of a profile's events again, under its lock.

The pure part is signals/fold.py. Here is what needs the database: which of several events with one order id counts,
and the derived rows that say where a trait or a consent comes from. Which events there are is signals/histories.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries, Numbers, Texts
from base.vault import vault_of
from signals import exchange
from signals.catalog import Naming
from signals.fold import advance, fold_history
from signals.histories import Told, readable_history
from signals.household import Household
from signals.identifying import readable
from signals.lineage import NOTHING_HELD, Held, Rules, rules
from signals.moments import seconds_of, unix_ms
from signals.orders import AS_TOLD, Left
from signals.origins import Origin, origins
from signals.profiles import STATE_ENCODED, opened
from signals.signal import ORDER_COMPLETED
from signals.state import ProfileState, Score, encode, tombstone

_JSON = msgspec.json.Encoder()
_HOUSEHOLD = msgspec.msgpack.Decoder(Household)
EVENTS_AT_ONCE: Final = 5_000
"""Of several people whose histories are read together; who has more is read alone."""


@dataclass(slots=True)
class Root:
    """A root profile under its lock: every profile it speaks for, and its stored state (None: it has none yet).

    `edition` is the stored state's, or the tombstone's: the arrival number that was next when it was written, which a
    writer takes under the lock. So of two editions the higher holds what the lower one did and what came after it.
    `household` is what was found last (signals/grouping.py), at `household_version`; `regroup`: it is to be found anew.
    `fresh` are the members that were made just now: nobody was ever told of them.
    """

    id: int
    members: list[int] = field(default_factory=list)
    state: ProfileState | None = None
    erased_version: int | None = None
    edition: int = 0
    household: Household | None = None
    household_version: int = 0
    regroup: bool = False
    fresh: set[int] = field(default_factory=set)

    @property
    def held(self) -> ProfileState | None:
        """What stands for this root now: its state, the tombstone of an erased one, None when it was lost."""
        return self.state if self.erased_version is None else tombstone(self.erased_version)


@dataclass(frozen=True, slots=True)
class Standing:
    """A state ready to be written: the bytes for render and the document for rules, of one moment."""

    root: Root
    state: ProfileState
    encoded: bytes
    edition: int


# Fenced (OFFSET 0) as in signals/belonging.py: each person's own look-ups, whatever the statistics say,
# and one plan, made once.
_ROOTS = text("""
    SELECT p.root_id, p.id, p.erased_version, s.encoded, greatest(s.edition, s.version, p.erased_version) AS edition,
           d.facts, d.version AS household_version
    FROM unnest((SELECT CAST(:roots AS bigint[]))) AS r (id)
    CROSS JOIN LATERAL (SELECT * FROM profile WHERE root_id = r.id OFFSET 0) AS p
    LEFT JOIN LATERAL (SELECT * FROM profile_state WHERE profile_id = p.id OFFSET 0) AS s ON true
    LEFT JOIN LATERAL (SELECT * FROM dwelling WHERE profile_id = p.id OFFSET 0) AS d ON true
    ORDER BY p.id
""")


def load(session: Session, roots: Iterable[int]) -> dict[int, Root]:
    """The roots with members and states. Read after taking the locks, in a statement of its own: it must see what the
    holder before us committed. A state that is damaged was lost. Raises SettingError where its key is not given."""
    found: dict[int, Root] = {}
    for row in session.execute(_ROOTS, {"roots": Numbers(set(roots))}):
        root = found.setdefault(row.root_id, Root(row.root_id))
        root.members.append(row.id)
        if row.id == row.root_id:
            root.erased_version = row.erased_version
            held = opened(session, row.id, row.encoded)
            root.state = held.state if held is not None else None
            root.edition = row.edition or 0
            root.household = _HOUSEHOLD.decode(row.facts) if row.facts is not None else None
            root.household_version = row.household_version or 0
    return found


def _settle(told: Sequence[Told], rules: Rules, held: Mapping[str, Held] = NOTHING_HELD) -> None:
    """Drop the statements of traits that lose; the events are in canonical order, `held` is what held before them."""
    for entry, event in zip(told, rules.settle([entry.event for entry in told], held), strict=True):
        entry.event = event


def counts_once(told: Sequence[Told], taken: Iterable[str] = ()) -> None:
    """Set `folds` of these events, in canonical order: the first order of each order id counts, and the first refund of
    each refund id of an order; repeats do not. Of the orders `taken` there is one already."""
    seen: set[tuple[str, ...]] = {(order_id,) for order_id in taken}
    for entry in told:
        if (fact := entry.fact) is None:
            continue
        entry.folds = fact not in seen
        seen.add(fact)


_ORDERS = text("""
    SELECT DISTINCT p.root_id, e.order_id FROM event e JOIN profile p ON p.id = e.profile_id
    WHERE e.order_id = ANY(:orders) AND e.name = :name AND p.root_id = ANY(:roots)
""")


def orders_taken(session: Session, roots: Iterable[int], orders: Iterable[str]) -> dict[int, set[str]]:
    """Which of these order ids each root has an order of already."""
    found: dict[int, set[str]] = {}
    values = {"orders": Texts(orders), "roots": Numbers(roots), "name": ORDER_COMPLETED}
    for row in session.execute(_ORDERS, values):
        found.setdefault(row.root_id, set()).add(row.order_id)
    return found


def folded_on(
    root: Root, told: Sequence[Told], taken: Iterable[str], rules: Rules, before: Mapping[str, Origin]
) -> ProfileState | None:
    """The state after new events, in canonical order; None when the stored events must be folded again.

    `root` has its state, or is new. Sets `folds` of the events, and drops statements of traits that lose by `rules`
    against those that hold, whose origins are given (`before`). An order that repeats a known one may be the earlier of
    the two, and then counts in its stead: only folding again can tell.
    """
    known = set(taken)
    state = root.state or ProfileState()
    _settle(told, rules, {name: origin.held(rules) for name, origin in before.items()})
    for entry in told:
        if entry.is_order and entry.event.order_id in known and entry.event.time_ms <= state.last_ms:
            counts_once(told)
            return None
    counts_once(told, known)
    return advance(state, [entry.event for entry in told if entry.folds])


_FLIP = text("UPDATE event SET folds = NOT folds WHERE id = ANY(:ids)")
_LEAVE = text("""
    UPDATE event e SET void = told.void, left_category_ids = CAST(told.left_ids AS integer[])
    FROM unnest(CAST(:ids AS bigint[]), CAST(:voids AS boolean[]), CAST(:lefts AS text[])) AS told (id, void, left_ids)
    WHERE e.id = told.id
""")


@dataclass(frozen=True, slots=True)
class Refolded:
    """A root folded from all its stored events, `told`, with the origins of all its traits."""

    root: Root
    state: ProfileState
    told: list[Told]
    origins: Sequence[Origin]


def fold_again(session: Session, root: Root, categories: Naming) -> Refolded:
    """The state from all stored events, with those events; corrects which orders and refunds count and what is left of
    the orders. One that is damaged counts as having taken place, and for what it said of consent."""
    (found,) = fold_each_again(session, [root], categories)
    return found


def fold_each_again(session: Session, roots: Sequence[Root], categories: Naming) -> Iterator[Refolded]:
    """`fold_again` for many, in whatever order: histories are read together, EVENTS_AT_ONCE events at a time."""
    exchange.hold(session)
    policies = rules(session)
    scores = _scores(session, [root.id for root in roots])
    for root, told in _histories(session, roots, categories):
        if root.erased_version is not None:
            yield Refolded(root, tombstone(root.erased_version), [], ())
            continue
        _settle(told, policies)
        before = [entry.folds for entry in told]
        counts_once(told)
        changed = [entry.event.arrival for entry, was in zip(told, before, strict=True) if entry.folds != was]
        if changed:
            session.execute(_FLIP, {"ids": changed})
        segments = root.state.segments if root.state else ()
        events = (entry.event for entry in told if entry.folds)
        state, left = fold_history(events, segments=segments, scores=scores.get(root.id, {}))
        _leave(session, told, left)
        state.household, state.version = root.household, max(state.version, root.household_version)
        found = origins(root.id, (entry.event for entry in told), policies)
        yield Refolded(root, state, told, list(found.values()))


def _leave(session: Session, told: Sequence[Told], left: Mapping[int, Left]) -> None:
    """Keep what is left of each order, given by arrival number where it is other than was told; of what updates told
    too, which are orders where no other call told of theirs before."""
    changed = [one for one in told if not one.damaged and one.left != left.get(one.event.arrival, AS_TOLD)]
    if not changed:
        return
    for entry in changed:
        entry.left = left.get(entry.event.arrival, AS_TOLD)
    kept = [entry.left.categories for entry in changed]
    session.execute(
        _LEAVE,
        {
            "ids": [entry.event.arrival for entry in changed],
            "voids": [entry.left.void for entry in changed],
            "lefts": [None if one is None else f"{{{','.join(map(str, one))}}}" for one in kept],
        },
    )


_COUNTS = text("SELECT profile_id, count(*) AS events FROM event WHERE profile_id = ANY(:members) GROUP BY profile_id")


def _histories(session: Session, roots: Sequence[Root], categories: Naming) -> Iterator[tuple[Root, list[Told]]]:
    counts: dict[int, int] = {}
    if len(roots) > 1:
        members = [member for root in roots for member in root.members]
        counts = {row.profile_id: row.events for row in session.execute(_COUNTS, {"members": members})}
    piece: list[Root] = []
    size = 0
    for root in roots:
        own = sum(counts.get(member, 0) for member in root.members)
        if piece and size + own > EVENTS_AT_ONCE:
            yield from _read_together(session, piece, categories)
            piece, size = [], 0
        piece.append(root)
        size += own
    if piece:
        yield from _read_together(session, piece, categories)


def _read_together(session: Session, roots: Sequence[Root], categories: Naming) -> Iterator[tuple[Root, list[Told]]]:
    owner = {member: root.id for root in roots for member in root.members}
    found: dict[int, list[Told]] = {root.id: [] for root in roots}
    for entry in readable_history(session, list(owner), categories):
        found[owner[entry.profile]].append(entry)
    for root in roots:
        yield root, found.pop(root.id)


_SCORES = text("SELECT profile_id, name, value, as_of FROM profile_score WHERE profile_id = ANY(:roots) ORDER BY name")


def _scores(session: Session, roots: Sequence[int]) -> dict[int, dict[str, Score]]:
    """What was computed of root profiles (signals/scores.py)."""
    found: dict[int, dict[str, Score]] = {}
    for row in session.execute(_SCORES, {"roots": list(roots)}):
        found.setdefault(row.profile_id, {})[row.name] = Score(row.value, seconds_of(unix_ms(row.as_of)))
    return found


_WRITE = text("""
    INSERT INTO profile_state (profile_id, version, edition, document, encoded, updated_at)
    SELECT id, version, edition, CAST(convert_from(document, 'UTF8') AS jsonb), encoded, :now
    FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[]), CAST(:editions AS bigint[]),
                CAST(:documents AS bytea[]), CAST(:encoded AS bytea[])) AS new (id, version, edition, document, encoded)
    ON CONFLICT (profile_id) DO UPDATE SET version = excluded.version, edition = excluded.edition,
        document = excluded.document, encoded = excluded.encoded, updated_at = excluded.updated_at
""")


def standing(root: Root, state: ProfileState, edition: int) -> Standing:
    """The state with its bytes. A state that changes takes an arrival number of its own as its edition."""
    return Standing(root, state, encode(state), edition)


def write(session: Session, standings: Sequence[Standing], now: datetime) -> None:
    """Store states; the roots are locked."""
    if standings:
        vault = vault_of(session)
        session.execute(
            _WRITE,
            {
                "ids": Numbers(entry.root.id for entry in standings),
                "versions": Numbers(entry.state.version for entry in standings),
                "editions": Numbers(entry.edition for entry in standings),
                "documents": Binaries(_JSON.encode(readable(entry.state)) for entry in standings),
                "encoded": Binaries(vault.seal(entry.encoded, STATE_ENCODED.place) for entry in standings),
                "now": now,
            },
        )


def published(standings: Iterable[Standing]) -> list[tuple[int, int, bytes]]:
    """What Valkey gets: the state under the id of every member."""
    return [(member, entry.edition, entry.encoded) for entry in standings for member in entry.root.members]
