"""Rebuilding: every profile state, with what is derived beside it, made again from the stored events.

The result has the same bytes as before: rebuilding shows that, and mends what was lost or what changed definitions left
behind. Profiles are taken a few hundred at a time under their locks, so live signals go on coming in meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries, Numbers, transaction
from base.logs import logger
from signals import belonging, claiming, countoutbox, folding, journal, origins
from signals.claiming import Statement
from signals.consenthistory import rewrite_consents
from signals.contents import ORDER_KINDS
from signals.currencies import is_code, told_in
from signals.figures import order_number
from signals.folding import Standing
from signals.histories import Told
from signals.identifying import readable
from signals.intake import Intake, moved, regroup, stored_states
from signals.intent import assess
from signals.livesegments import place
from signals.origins import Origin
from signals.publishing import NOBODY, State
from signals.state import EDITION, EDITION_MARK, decode, encode, issued
from signals.unshown import unshown

BATCH: Final = 200
SHOWN: Final = 100
SCANNED: Final = 1_000
_JSON: Final = msgspec.json.Encoder()
_log = logger(__name__)


_ROOTS: Final = text(
    "SELECT DISTINCT root_id FROM profile WHERE (:all OR id = ANY(:only)) AND NOT made_up ORDER BY root_id"
)


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild found. `different` counts states whose bytes were other than stored, `first` names a hundred.

    `absent` counts states that Valkey had lost, what is damaged or none in their place among them. `ahead` counts those
    of which it had a later one than the database has ever written, as after the restore of a backup; `erased` names the
    profiles that are erased there and only there. `unknown` counts those that it had of profiles which the database
    does not know. `damaged` names the profiles whose events cannot all be opened, with these: of them counts what they
    said of consent alone.
    """

    profiles: int = 0
    different: int = 0
    absent: int = 0
    ahead: int = 0
    unknown: int = 0
    first: list[int] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    damaged: dict[int, list[int]] = field(default_factory=dict)


def rebuild(
    intake: Intake,
    now: datetime,
    progress: Callable[[RebuildReport], None] = lambda report: None,
    *,
    only: Sequence[int] | None = None,
    whole: Container[int] = NOBODY,
    restore: Callable[[int], None] = lambda profile: None,
) -> RebuildReport:
    """Make every state again, or those of the profiles in `only`, and publish it.

    Of a person to whom anything was shown, whose state Valkey has lost, nothing is written but by `restore`, which is
    given one of their profiles; `whole`: of whom nothing but the state is missing there (signals/publishing.py).

    Raises Unavailable when a store is away, SettingError without a key that the database is sealed under; running it
    again is safe.
    """
    report = RebuildReport(unknown=_drop_unknown(intake) if only is None else 0)
    with transaction(intake.sessions) as session:
        roots = list(session.scalars(_ROOTS, {"all": only is None, "only": list(only or ())}))
    for start in range(0, len(roots), BATCH):
        standings, different, damaged = intake.settle(partial(_batch, intake, roots[start : start + BATCH], now))
        states = folding.published(standings)
        lost = _lost(intake, states)
        report.absent += len(lost)
        written = intake.publisher.write_states(states, whole)
        left = _shown(intake, lost)
        if written < len(states):
            ahead, erased = _set_back(intake, [profile for profile, _, _ in states if profile not in left])
            report.ahead += ahead
            report.erased += erased
        for profile in sorted({entry.root.id for entry in standings if not left.isdisjoint(entry.root.members)}):
            restore(profile)
        regroup(intake, moved(standings), now)
        report.profiles += len(standings)
        report.different += len(different)
        report.first += different[: SHOWN - len(report.first)]
        report.damaged |= damaged
        progress(report)
    return report


_ALONE: Final = text("LOCK TABLE profile IN SHARE MODE")
_OF_THESE: Final = text("SELECT id FROM profile WHERE id = ANY(:numbers)")
_SKIP: Final = text("SELECT setval('profile_id_seq', greatest(last_value, :number)) FROM profile_id_seq")


def _drop_unknown(intake: Intake) -> int:
    """Take away states of profiles that the database does not know, as after the restore of a backup; how many.

    Their numbers are given to nobody: mails that left before name them, and counts of what they were shown stay. All
    are looked at: a sequence may be ahead of the rows restored with it, and a rebuild that was ended has moved it.
    """
    numbers = sorted(set(intake.publisher.numbers()))
    lost: list[int] = []
    for start in range(0, len(numbers), SCANNED):
        some = numbers[start : start + SCANNED]
        with transaction(intake.sessions) as session:
            there = set(session.scalars(_OF_THESE, {"numbers": Numbers(some)}))
        held = intake.publisher.held([number for number in some if number not in there])
        lost += (profile for profile, data in held.items() if what_is_held(data))
    if not lost:
        return 0

    def skip(session: Session) -> set[int]:
        session.execute(_ALONE)  # So that nobody is just being given one of them.
        session.execute(_SKIP, {"number": max(lost)})
        return set(session.scalars(_OF_THESE, {"numbers": Numbers(lost)}))

    known = intake.settle(skip)
    unknown = [profile for profile in lost if profile not in known]
    for start in range(0, len(unknown), SCANNED):
        intake.publisher.drop_states(unknown[start : start + SCANNED])
    return len(unknown)


def _lost(intake: Intake, states: Sequence[State]) -> list[int]:
    """Whose states of these Valkey has lost: there is nothing under their keys, or what is no state."""
    held = intake.publisher.held([profile for profile, _, _ in states])
    # Mostly the very same is there, and need not be read.
    return [
        profile
        for profile, edition, data in states
        if held.get(profile) != issued(edition, data) and what_is_held(held.get(profile, b"")) is None
    ]


def _shown(intake: Intake, lost: Sequence[int]) -> set[int]:
    """Those of these who have no state yet, as something was shown to them."""
    held = intake.publisher.held(lost)
    left = {profile for profile in lost if what_is_held(held.get(profile, b"")) is None}
    if not left:
        return left
    with transaction(intake.sessions) as session:
        return left - unshown(session, left)


def _set_back(intake: Intake, profiles: Sequence[int]) -> tuple[int, list[int]]:
    """Write the stored states of these profiles over later ones that the database knows nothing of; how many, and who
    is erased in Valkey alone. Who is stays so: nothing is shown to them. What is no state and begins as a later one, or
    as a tombstone, is written over as well.

    Valkey gets a state after it is committed, so one that is above the stored state read later is of a time that the
    database has lost. What is committed in between is refused or written over, so all are written once more.
    """
    held = intake.publisher.held(profiles)
    stored = intake.settle(lambda session: stored_states(session, profiles))
    over: list[tuple[int, bytes, int, bytes]] = []
    none: list[tuple[int, bytes, int, bytes]] = []
    erased: list[int] = []
    for profile, edition, data in stored:
        if (there := held.get(profile)) is None:
            continue
        if (known := what_is_held(there)) is None:
            none.append((profile, there, edition, data))
        elif known.is_erased:
            erased += [] if decode(data).erased else [profile]
        elif known.edition > edition:
            over.append((profile, there, edition, data))
    written = intake.publisher.set_back(over)
    intake.publisher.set_back(none)
    restore_states(intake, [profile for profile, *_ in over + none])
    return written, sorted(erased)


class _Known(NamedTuple):
    edition: int
    is_erased: bool


def what_is_held(data: bytes) -> _Known | None:
    """The edition of what Valkey holds, and whether that is a tombstone; None where it is no state."""
    try:
        state = decode(data)
    except msgspec.DecodeError:
        return None
    # An early release wrote the version alone.
    edition = EDITION.unpack_from(data)[1] if data[0] == EDITION_MARK else state.version
    return _Known(edition, state.erased)


def _batch(
    intake: Intake, roots: Sequence[int], now: datetime, session: Session
) -> tuple[list[Standing], list[int], dict[int, list[int]]]:
    """The states made again, those among them that came out different, and who has events that do not open."""
    intake.categories.learn((), create=False)
    locked = belonging.lock_roots(session, roots)
    intents, live = intake.definitions.current(session), intake.segments.current(session)
    standings: list[Standing] = []
    whence: list[Origin] = []
    different: list[int] = []
    found = folding.load(session, locked)
    statements: list[Statement] = []
    servers = claiming.servers(session)
    (edition,) = journal.numbers(session, 1)
    consenting: list[Told] = []
    damaged: dict[int, list[int]] = {}
    numbers: dict[int, str] = {}
    currencies: dict[int, str] = {}
    members: list[int] = []
    for again in folding.fold_each_again(session, list(found.values()), intake.categories):
        if unread := [one.event.arrival for one in again.told if one.damaged]:
            damaged[again.root.id] = unread
        root, state = again.root, assess(again.state, intents)
        if root.state is None:  # Of a lost one nobody knows in which segments it was.
            state = place(state, live, now)
        entry = folding.standing(root, state, root.edition)
        if root.held is None or encode(root.held) != entry.encoded:
            different.append(root.id)
            entry = replace(entry, edition=edition)
        standings.append(entry)
        whence += again.origins
        numbers |= _numbers(again.told)
        currencies |= _currencies(again.told)
        members += root.members
        consenting += (one for one in again.told if one.event.consent)
        if len(consenting) >= folding.EVENTS_AT_ONCE:
            rewrite_consents(session, members, consenting)
            members, consenting = [], []
        statements += claiming.retold(again.told, servers)
    rewrite_consents(session, members, consenting)
    journal.number_orders(session, numbers)
    journal.name_currencies(session, currencies)
    living = [entry for entry in standings if not entry.state.erased]
    folding.write(session, _not_stored(session, living), now)
    origins.write(session, whence, anew=list(found))
    claiming.keep(session, statements, intake.hash_key)
    claiming.mark(session, list(found.values()))
    # A version before 0071 notes no merges of its own.
    countoutbox.note(session, [root.id for root in found.values() if len(root.members) > 1])
    return standings, different, damaged


_AS_STORED = text("""
    SELECT s.profile_id
    FROM unnest(CAST(:ids AS bigint[]), CAST(:versions AS bigint[]), CAST(:editions AS bigint[]),
                CAST(:documents AS bytea[])) AS new (id, version, edition, document)
    JOIN profile_state s ON s.profile_id = new.id AND s.version = new.version AND s.edition = new.edition
    WHERE s.document = CAST(convert_from(new.document, 'UTF8') AS jsonb)
""")


def _not_stored(session: Session, standings: Sequence[Standing]) -> list[Standing]:
    """Those of which something else is stored, or nothing; the roots are locked. Equal editions have equal bytes."""
    stored = set(
        session.scalars(
            _AS_STORED,
            {
                "ids": Numbers(entry.root.id for entry in standings),
                "versions": Numbers(entry.state.version for entry in standings),
                "editions": Numbers(entry.edition for entry in standings),
                "documents": Binaries(_JSON.encode(readable(entry.state)) for entry in standings),
            },
        )
    )
    return [entry for entry in standings if entry.root.id not in stored]


def _numbers(told: Iterable[Told]) -> dict[int, str]:
    """What the buyers know these orders by, where it is told; older versions did not note it beside the signal."""
    orders = (one for one in told if one.event.kind in ORDER_KINDS and one.body is not None)
    named = ((one.event.arrival, order_number((one.body or {}).get("properties") or {})) for one in orders)
    return {arrival: number for arrival, number in named if number is not None}


def _currencies(told: Iterable[Told]) -> dict[int, str]:
    """What orders that name no code in its place are told in; older versions noted nothing of that."""
    orders = (one for one in told if one.event.kind in ORDER_KINDS and one.body is not None)
    named = ((one.event.arrival, ((one.body or {}).get("properties") or {}).get("currency")) for one in orders)
    return {
        arrival: currency
        for arrival, value in named
        if not (isinstance(value, str) and is_code(value)) and (currency := told_in(value))
    }


def restore_states(intake: Intake, profiles: Iterable[int]) -> int:
    """Write the stored states of these profiles to Valkey, each unless a newer one is there; how many were written."""
    wanted = list(profiles)
    return intake.publisher.write_states(intake.settle(lambda session: stored_states(session, wanted)))
