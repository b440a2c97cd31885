"""Finding households anew: who lives with whom by all that was said, written into the states of all whom it concerns.

A person lives in the household that was stated of them, by a person first and by a `group` call second. Of whom nothing
was stated, their home tells: the household that was stated of the others there if it is one, else the home itself. A
home of more than HOME_MOST people is no home (an office, a block of flats without flat numbers): it groups nobody; nor
does one where several stated households live, for those of whom nothing was stated. Who refuses profiling is in no
household, for themselves and for the others.

Where one person lives depends on what was said of those at the same address and on nothing else, so a change reaches
the people at two addresses and in the households they leave and join. One transaction at a time finds them, and while
it is the one it waits for nobody: where somebody else holds a person's row it begins again, and waits before its turn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries
from signals import belonging, folding, journal
from signals.dwellings import PERSONAL
from signals.folding import Standing
from signals.homes import Kind
from signals.household import Household, Member, Other, Role, compose
from signals.livesegments import LiveSegments, place
from signals.ordered import DAYS, ordered_to
from signals.statedages import ages

HOME_MOST: Final = 8
"""People who state one address; more, and it is no home of one household."""

HOUSEHOLD_MOST: Final = 20
"""Profiles of one household, grown-up children elsewhere among them; of a larger one nothing is told."""

CERTAIN: Final[Mapping[Kind, int]] = {"hand": 100, "group": 100, "home": 80, "order": 60}
"""How certain each evidence is, in percent. What is stated is believed; the others are rough judgements of ours."""

BATCH: Final = 100
"""Profiles whose home is found in one transaction."""


@dataclass(slots=True)
class Home:
    """Where a root profile lives; a row of `dwelling`."""

    profile: int
    stated: bytes | None = None
    address: bytes | None = None
    household: bytes | None = None
    elsewhere: tuple[bytes, ...] = ()
    role: Role | None = None
    evidence: Kind | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """States to be published, and the notes (`household_due`) that are done with then."""

    standings: list[Standing] = field(default_factory=list)
    done: list[int] = field(default_factory=list)


_WAITING: Final = text("""
    SELECT w.id, w.profile_id FROM household_due w
    WHERE CAST(:only AS bigint[]) IS NULL OR w.profile_id IN (
        SELECT m.id FROM profile p JOIN profile m ON m.root_id = p.root_id WHERE p.id = ANY(:only)
    )
    ORDER BY w.id LIMIT :most
""")
# A note that comes back after a crash is looked into once more and finds nothing: no need to wait for the disk.
_DONE: Final = text("""
    DELETE FROM household_due USING (SELECT set_config('synchronous_commit', 'off', true)) AS setting
    WHERE id = ANY(:ids)
""")
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtext('latebind households'))")
_ROOTS: Final = text("""
    SELECT DISTINCT r.id FROM profile p JOIN profile r ON r.id = p.root_id
    WHERE p.id = ANY(:profiles) AND r.erased_at IS NULL
""")


def lock(session: Session) -> None:
    """Be the one who finds households, until the transaction ends."""
    session.execute(_LOCK)


def settle(
    session: Session,
    hash_key: bytes,
    segments: LiveSegments,
    now: datetime,
    held: set[int],
    only: Collection[int] | None = None,
) -> Settled:
    """Find the homes of at most BATCH profiles that wait for it, of these people or of all; nothing when none waits.

    Whose household changes comes into these segments, or leaves them, with it. Raises Lost where others write people
    of these households, and puts these into `held`: it waits for those before it is the one who finds households.
    """
    given = {"only": None if only is None else list(only), "most": BATCH}
    waiting = session.execute(_WAITING, given).all()
    if not waiting:
        return Settled()
    belonging.lock_roots(session, sorted(held))
    lock(session)
    named = {row.profile_id for row in waiting}
    roots = set(session.scalars(_ROOTS, {"profiles": list(named)}))
    before = _before(session, named, roots)
    told = _claims(session, roots)
    asked = [root for root, claims in told.items() if _may_live_where_orders_go(claims)]
    ordered = ordered_to(session, asked, hash_key) if asked else {}
    homes = {root: home_of(root, claims, ordered.get(root, {})) for root, claims in told.items()}
    keys = _place(session, before, homes)
    _write(session, homes.values(), gone=(named | before.keys()) - roots)
    living = _members(session, keys, len(homes))
    # Of who lives elsewhere nothing changes by it: their household is their own.
    people = set(homes) | {row.profile_id for rows in living.values() for row in rows if not row.away}
    locked, others = belonging.lock_free(session, people)
    if others:
        held.update(others)
        raise belonging.Lost
    return Settled(_stand(session, locked, living, segments, now), [row.id for row in waiting])


def done(session: Session, notes: Sequence[int]) -> None:
    """Forget these notes; what they asked for is in effect."""
    session.execute(_DONE, {"ids": list(notes)})


_STORED: Final = text("SELECT * FROM dwelling WHERE profile_id = ANY(:profiles)")
_NEIGHBOURS: Final = text("""
    SELECT d.* FROM unnest(CAST(:addresses AS bytea[])) AS w (address) CROSS JOIN LATERAL (
        SELECT * FROM dwelling WHERE address = w.address AND profile_id <> ALL(:mine) LIMIT :most
    ) AS d
""")


def stored(session: Session, profiles: Collection[int]) -> dict[int, Home]:
    """Where these root profiles live, of whom anything was said."""
    return {row.profile_id: _home(row) for row in session.execute(_STORED, {"profiles": list(profiles)})}


# A merge that overlapped finding a home could not see the row of who was merged: it is found by whose they are now.
_BEFORE: Final = text("""
    SELECT d.* FROM dwelling d WHERE d.profile_id = ANY(:named)
    UNION SELECT d.* FROM dwelling d JOIN profile p ON p.id = d.profile_id WHERE p.root_id = ANY(:roots)
""")


def _before(session: Session, named: Collection[int], roots: Collection[int]) -> dict[int, Home]:
    """Where these profiles lived until now, and all who are of these roots."""
    rows = session.execute(_BEFORE, {"named": list(named), "roots": list(roots)})
    return {row.profile_id: _home(row) for row in rows}


def _home(row: Any) -> Home:
    return Home(row.profile_id, row.stated, row.address, row.household, tuple(row.elsewhere), row.role, row.evidence)


_CLAIMS: Final = text(f"""
    SELECT c.root_id, c.kind, c.key, c.role, c.gone, c.ended_at, c.since, c.said_at
    FROM ({PERSONAL}) c LEFT JOIN profile_state s ON s.profile_id = c.root_id
    WHERE c.root_id = ANY(:roots) AND coalesce(CAST(s.document -> 'consent' ->> 'profiling' AS boolean), true)
    ORDER BY c.root_id, c.said_at, c.message_id, c.kind, c.key
""")  # noqa: S608 - of constants alone


def _claims(session: Session, roots: Collection[int]) -> dict[int, list[Any]]:
    """What was said of each root, the oldest first; nothing of who refuses to be profiled."""
    found: dict[int, list[Any]] = {root: [] for root in roots}
    for row in session.execute(_CLAIMS, {"roots": list(roots)}):
        found[row.root_id].append(row)
    return found


def _may_live_where_orders_go(claims: Iterable[Any]) -> bool:
    """Whether it matters which of the orders count."""
    days = {one.key: {one.since.date(), one.said_at.date()} for one in claims if one.kind == "order"}
    return all(one.kind != "home" for one in claims) and any(len(told) >= DAYS for told in days.values())


def home_of(root: int, claims: Sequence[Any], ordered: Mapping[bytes, datetime]) -> Home:
    """Where somebody lives by these claims, in the order in which they were stated.

    The household joined last counts, unless they left it or a person ended that. Of addresses the newest does, unless a
    person said that it ties nobody; where none was stated, of those that orders go to (`ordered_to`).
    """
    home = Home(root)
    stated = [one for one in claims if one.kind in ("hand", "group") and one.ended_at is None]
    away = {one.key for one in stated if one.role == "grown_child" and not one.gone}
    home.elsewhere = tuple(sorted(away))
    at_home = [one for one in stated if one.role != "grown_child" and not (one.gone and one.since == one.said_at)]
    at_home.sort(key=lambda one: (one.kind == "hand", one.since if one.gone else one.said_at))
    if at_home and not at_home[-1].gone:
        home.stated, home.role, home.evidence = at_home[-1].key, at_home[-1].role, at_home[-1].kind
    addresses = [one for one in claims if one.kind == "home"]
    if not addresses:
        sent = (one for one in claims if one.kind == "order" and one.key in ordered)
        addresses = sorted(sent, key=lambda one: ordered[one.key])
    if addresses and addresses[-1].ended_at is None:
        home.address = addresses[-1].key
        home.evidence = home.evidence or addresses[-1].kind
    return home


def lives(home: Home, there: Sequence[Home]) -> bytes | None:
    """The household that somebody is of; `there` are all at their address, themselves among them."""
    if home.stated is not None:
        return home.stated
    if home.address is None or not 1 < len(there) <= HOME_MOST:
        return None
    stated = {one.stated for one in there if one.stated is not None}
    if len(stated) > 1:
        return None
    found = next(iter(stated), home.address)
    return None if found in home.elsewhere else found


def _place(session: Session, before: Mapping[int, Home], homes: dict[int, Home]) -> set[bytes]:
    """Say of which household each is, and add those at the same addresses of whom it is another now.

    Returns the households that somebody left, joined, or is said something else of.
    """
    addresses = {one.address for one in (*before.values(), *homes.values()) if one.address is not None}
    mine = list(before.keys() | homes.keys())
    rows = session.execute(_NEIGHBOURS, {"addresses": sorted(addresses), "mine": mine, "most": HOME_MOST + 1})
    others = {row.profile_id: _home(row) for row in rows}
    there: dict[bytes | None, list[Home]] = {}
    for one in (*homes.values(), *others.values()):
        there.setdefault(one.address, []).append(one)
    keys = {key for one in before.values() for key in (one.household, *one.elsewhere)}
    for one in homes.values():
        one.household = lives(one, there[one.address])
        keys |= {one.household, *one.elsewhere}
    for number, one in others.items():
        found = lives(one, there[one.address])
        if found != one.household:
            keys |= {one.household, found}
            one.household = found
            homes[number] = one
    return {key for key in keys if key is not None}


_WRITE: Final = text("""
    INSERT INTO dwelling (profile_id, stated, address, household, elsewhere, role, evidence)
    VALUES (:profile, :stated, :address, :household, CAST(:elsewhere AS bytea[]), :role, :evidence)
    ON CONFLICT (profile_id) DO UPDATE SET stated = excluded.stated, address = excluded.address,
        household = excluded.household, elsewhere = excluded.elsewhere, role = excluded.role,
        evidence = excluded.evidence
""")
_GONE: Final = text("DELETE FROM dwelling WHERE profile_id = ANY(:profiles)")


def _write(session: Session, homes: Iterable[Home], gone: Collection[int]) -> None:
    rows = [
        {
            "profile": one.profile,
            "stated": one.stated,
            "address": one.address,
            "household": one.household,
            "elsewhere": Binaries(one.elsewhere),
            "role": one.role,
            "evidence": one.evidence,
        }
        for one in homes
    ]
    if rows:
        session.execute(_WRITE, rows)
    if gone:
        session.execute(_GONE, {"profiles": list(gone)})


# Who has it in their state comes first: of a household that has become too large it must be taken from them. However
# many state one household, no more rows are read than are asked for.
_MEMBERS: Final = text("""
    SELECT w.key, d.* FROM unnest(CAST(:keys AS bytea[])) AS w (key) CROSS JOIN LATERAL (
        (SELECT profile_id, role, evidence, false AS away FROM dwelling WHERE household = w.key
         ORDER BY household, (facts IS NULL), profile_id LIMIT :most)
        UNION ALL
        (SELECT profile_id, role, evidence, true FROM dwelling WHERE elsewhere @> ARRAY[w.key] LIMIT :most)
    ) AS d ORDER BY w.key, d.away, d.profile_id
""")


def _members(session: Session, keys: Collection[bytes], more: int) -> dict[bytes, list[Any]]:
    """Who is of each of these households, and who elsewhere: each at most as many as make it too large and `more`."""
    found: dict[bytes, list[Any]] = {key: [] for key in keys}
    values = {"keys": Binaries(keys), "most": HOUSEHOLD_MOST + 1 + more}
    for row in session.execute(_MEMBERS, values):
        found[row.key].append(row)
    return found


def _stand(
    session: Session,
    roots: Collection[int],
    living: Mapping[bytes, Sequence[Any]],
    segments: LiveSegments,
    now: datetime,
) -> list[Standing]:
    """Compose the households and write them into the states of these roots, which are locked."""
    locked = folding.load(session, roots)
    facts, live = _composed(session, living, now), segments.current(session)
    (edition,) = journal.numbers(session, 1)
    standings: list[Standing] = []
    changed: list[Standing] = []
    for root in locked.values():
        state, found = root.held, facts.get(root.id)
        if state is None or state.erased:
            continue
        if state.household != found or root.household != found:
            state.household, state.version = found, edition
            changed.append(folding.standing(root, place(state, live, now), edition))
        else:
            standings.append(folding.standing(root, state, root.edition))
    folding.write(session, changed, now)
    _keep(session, changed)
    return standings + changed


_KEEP: Final = text("""
    INSERT INTO dwelling (profile_id, facts, version)
    SELECT id, facts, version
    FROM unnest(CAST(:ids AS bigint[]), CAST(:facts AS bytea[]), CAST(:versions AS bigint[]))
         AS new (id, facts, version)
    ON CONFLICT (profile_id) DO UPDATE SET facts = excluded.facts, version = excluded.version
""")


def _keep(session: Session, changed: Sequence[Standing]) -> None:
    """Keep what states hold now, for folding them again."""
    if changed:
        facts = [entry.state.household for entry in changed]
        session.execute(
            _KEEP,
            {
                "ids": [entry.root.id for entry in changed],
                "facts": [None if one is None else msgspec.msgpack.encode(one) for one in facts],
                "versions": [entry.state.version for entry in changed],
            },
        )


_STATED: Final = text(f"""
    SELECT DISTINCT ON (c.key) c.key, c.size, CAST(c.others AS text) AS others
    FROM ({PERSONAL}) c JOIN dwelling d ON d.profile_id = c.root_id
    WHERE c.key = ANY(:keys) AND c.kind = 'group' AND NOT c.gone AND c.ended_at IS NULL
      AND (c.size IS NOT NULL OR c.others IS NOT NULL) AND (d.household = c.key OR d.elsewhere @> ARRAY[c.key])
    ORDER BY c.key, c.said_at DESC, c.message_id DESC
""")  # noqa: S608 - of constants alone
_OTHERS: Final = msgspec.json.Decoder(tuple[Other, ...])


def _composed(session: Session, living: Mapping[bytes, Sequence[Any]], now: datetime) -> dict[int, Household]:
    """The household of each who lives in one of these."""
    kept = {key: rows for key, rows in living.items() if rows and len(rows) <= HOUSEHOLD_MOST}
    told_ages = ages(session, {row.profile_id for rows in kept.values() for row in rows})
    years = {root: one.born for root, one in told_ages.items()}
    stated = {row.key: row for row in session.execute(_STATED, {"keys": Binaries(kept)})}
    found: dict[int, Household] = {}
    for key, rows in kept.items():
        told = stated.get(key)
        others = None if told is None or told.others is None else _OTHERS.decode(told.others)
        members = [
            Member(row.role, years.get(row.profile_id, 0), CERTAIN.get(row.evidence, 100), elsewhere=row.away)
            for row in rows
        ]
        views = compose(members, others, None if told is None else told.size, now.year)
        found |= {row.profile_id: view for row, view in zip(rows, views, strict=True) if view is not None}
    return found
