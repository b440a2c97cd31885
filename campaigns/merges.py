"""Which profiles a customer was merged from, on what evidence, and what was refused; merging and undoing by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from base.db import transaction
from base.errors import Conflict, NotFound
from campaigns import admin_log, customers, people
from campaigns.admin_log import Actor
from campaigns.customers import TYPE_WORDS, masked
from campaigns.models import User
from signals import joining, likely
from signals.belonging import KEPT_APART
from signals.identity import AHEAD, MATCHES, MEMBERS, TIES, TieRefusal
from signals.intake import Intake, take_apart
from signals.joining import BY_HAND, BY_LIKENESS
from signals.profiles import IDENTIFIER_VALUE, ProfileLink
from signals.sealingkeys import legible
from signals.separation import Cut

MAX_MERGES: Final = 200
MAX_REFUSED: Final = 100
MAX_SUGGESTED: Final = 20
MAX_WAITING: Final = 100
WHY_REFUSED: Final[dict[TieRefusal, str]] = {
    "hub": "Too many people are known by it: it merges nobody.",
    "names": "The people who share it have different names.",
    "shared": "The people who share it have customer numbers of their own.",
    "apart": "Somebody said that the people who share it are not one.",
    "values": "One person would have too many identifiers.",
    "members": f"One person would be merged from more than {MEMBERS} profiles.",
}


EVIDENCE: Final[dict[str, str]] = TYPE_WORDS | {
    "name_address": "name and address",
    "name_email": "name and e-mail address",
    "name_phone": "name and phone number",
}


@dataclass(frozen=True)
class Merge:
    """One merge: the two profiles it ties, how it came about, the identifier that both had, and whether it holds.

    `evidence` and `value` (masked) are empty where a person merged by hand, `value` also once nobody has it any more.
    `alike` are the facts that agreed where likeness merged, or by which a person was asked; `stated`: both stated
    just these.
    """

    id: int
    at: datetime
    ends: tuple[int, int]
    how: str
    evidence: str
    value: str
    undone_at: datetime | None
    undone_by: str
    apart: bool
    alike: tuple[str, ...] = ()
    stated: bool = False


@dataclass(frozen=True)
class Suggested:
    """Another customer who may be the same one: both have a user id and state these facts, or they are alike in them
    (`odds` to one)."""

    customer: int
    evidence: list[str]
    odds: int | None = None


@dataclass(frozen=True)
class Likely:
    """Two customers who are probably one, as a person is asked: numbers and names, what agrees, the odds for it.

    No odds where nothing was weighed: they state the same facts under customer numbers of their own.
    """

    one: int
    other: int
    names: tuple[str, str]
    facts: tuple[str, ...]
    odds: int | None
    found_at: datetime


@dataclass(frozen=True)
class Refused:
    """An identifier that merged nobody: what it is, whose it is in look-ups, why, how often and when."""

    kind: str
    value: str
    profile: int | None
    reason: TieRefusal
    why: str
    times: int
    first_at: datetime
    last_at: datetime
    source: str


_MERGES: Final = text("""
    SELECT l.id, l.at, l.parent_end, l.child_end, l.reason, l.claim_type, l.by, l.undone_at, l.undone_by, l.apart,
           l.evidence, s.name AS source, i.value, i.profile_id
    FROM profile_link l LEFT JOIN source s ON s.id = l.source_id
    LEFT JOIN identifier i ON i.value_hash = l.claim_hash AND i.type = l.claim_type AND i.owns
    WHERE (l.child_end = ANY(:members) OR l.parent_end = ANY(:members)) AND l.reason <> :kept_apart
    ORDER BY l.undone_at IS NOT NULL, l.id DESC LIMIT :most
""")


def of(session: Session, members: Sequence[int]) -> list[Merge]:
    """The merges of a customer, those that hold first, each group the newest first; at most 200."""
    values = {"members": list(members), "most": MAX_MERGES, "kept_apart": KEPT_APART}
    rows = session.execute(_MERGES, values).all()
    known = _people(session, {name for row in rows for name in (row.by, row.undone_by) if name})
    known |= people.key_names(session)
    return [
        Merge(
            id=row.id,
            at=row.at,
            ends=(row.parent_end, row.child_end),
            how=_how(row, known),
            evidence=EVIDENCE.get(row.claim_type, ""),
            value=_shown(row.claim_type, legible(session, row.value, IDENTIFIER_VALUE, profile=row.profile_id)),
            undone_at=row.undone_at,
            undone_by=known.get(row.undone_by, row.undone_by or "Latebind, for the value is many people's"),
            apart=row.apart,
            alike=tuple((row.evidence or {}).get("facts", ())),
            stated=(row.evidence or {}).get("stated", False),
        )
        for row in rows
    ]


def _how(row: Row[Any], known: dict[str, str]) -> str:
    if row.reason == BY_HAND:
        return f"by hand, by {known.get(row.by, row.by)}"
    if row.reason == BY_LIKENESS:
        return f"found alike, {odds(row.evidence['weight']):,} to one"
    if row.reason == AHEAD:
        return f"by an alias that came first, when {row.source} told of who it had named"
    return f"by the call {row.reason} of {row.source}"


def odds(weight: float) -> int:
    """A weight as odds to one, rounded to one digit; at most a million, for nothing estimated is surer."""
    whole = 2 ** min(weight, 20.0)
    return max(1, int(float(f"{min(whole, 1e6):.0e}")))


_REFUSED: Final = text("""
    SELECT r.type, r.reason, r.times, r.first_at, r.last_at, s.name AS source, i.value, p.root_id
    FROM refused_tie r JOIN source s ON s.id = r.source_id
    LEFT JOIN identifier i ON i.value_hash = r.value_hash AND i.type = r.type AND i.owns
    LEFT JOIN profile p ON p.id = i.profile_id
    WHERE (CAST(:members AS bigint[]) IS NULL OR EXISTS (
        SELECT 1 FROM identifier n
        WHERE n.value_hash = r.value_hash AND n.type = r.type AND n.profile_id = ANY(:members)
    ))
    -- Those who share it may have become one by other means.
    AND (r.reason <> 'shared' OR (
        SELECT count(*) < 2 OR count(DISTINCT o.root_id) > 1
        FROM identifier n JOIN profile o ON o.id = n.profile_id
        WHERE n.value_hash = r.value_hash AND n.type = r.type
    ))
    ORDER BY r.last_at DESC, r.type, r.value_hash, r.reason LIMIT :most
""")


def refused(session: Session, members: Sequence[int] | None = None) -> list[Refused]:
    """The identifiers that merged nobody, of one customer or of all, the newest first; at most 100. Not those that
    people share who were merged otherwise since."""
    values = {"members": None if members is None else list(members), "most": MAX_REFUSED}
    return [
        Refused(
            kind=EVIDENCE[row.type],
            value=_shown(row.type, legible(session, row.value, IDENTIFIER_VALUE, profile=row.root_id)),
            profile=row.root_id,
            reason=row.reason,
            why=WHY_REFUSED[row.reason],
            times=row.times,
            first_at=row.first_at,
            last_at=row.last_at,
            source=row.source,
        )
        for row in session.execute(_REFUSED, values)
    ]


_SUGGESTED: Final = text("""
    SELECT p.root_id, array_agg(DISTINCT theirs.type ORDER BY theirs.type) AS kinds
    FROM identifier mine JOIN identifier theirs USING (type, value_hash) JOIN profile p ON p.id = theirs.profile_id
    WHERE mine.profile_id = ANY(:members) AND mine.type = ANY(:kinds) AND p.root_id <> ALL(:members)
    AND p.erased_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM profile_link l JOIN profile c ON c.id = l.child_end JOIN profile o ON o.id = l.parent_end
        WHERE l.apart AND ((c.root_id = p.root_id AND l.parent_end = ANY(:members))
                           OR (o.root_id = p.root_id AND l.child_end = ANY(:members)))
    )
    GROUP BY p.root_id ORDER BY p.root_id LIMIT :most
""")


def suggested(session: Session, members: Sequence[int]) -> list[Suggested]:
    """Who may be this customer, unless somebody said that they are two: under another user id, then by likeness; at
    most 20 of each."""
    values = {"members": list(members), "kinds": sorted(MATCHES), "most": MAX_SUGGESTED}
    stated = [
        Suggested(row.root_id, [EVIDENCE[kind] for kind in row.kinds]) for row in session.execute(_SUGGESTED, values)
    ]
    known = {one.customer for one in stated}
    alike = [
        Suggested(customer, list(one.facts), odds(one.weight))
        for one in likely.offered(session, members, MAX_SUGGESTED)
        for customer in (one.other if one.one in members else one.one,)
        if customer not in known
    ]
    return stated + alike


def waiting(session: Session, most: int = MAX_WAITING) -> list[Likely]:
    """Who is probably one and waits for a person's word, the likeliest first; at most 100."""
    offers = likely.offered(session, None, most)
    return _with_names(session, [(one.one, one.other, one.facts, odds(one.weight), one.found_at) for one in offers])


_NUMBERED: Final = text("""
    WITH told AS (
        SELECT type, value_hash, last_at FROM refused_tie
        WHERE reason = 'shared' AND type = ANY(:kinds) ORDER BY last_at DESC LIMIT 1000
    ), pair AS (
        SELECT least(o.root_id, t.root_id) AS one, greatest(o.root_id, t.root_id) AS other, told.type, told.last_at
        FROM told JOIN identifier mine USING (type, value_hash) JOIN profile o ON o.id = mine.profile_id
        JOIN identifier theirs USING (type, value_hash) JOIN profile t ON t.id = theirs.profile_id
        WHERE mine.owns AND NOT theirs.owns AND o.root_id <> t.root_id
        AND o.erased_at IS NULL AND t.erased_at IS NULL
    ), apart AS (
        SELECT least(c.root_id, p.root_id) AS one, greatest(c.root_id, p.root_id) AS other
        FROM profile_link l JOIN profile c ON c.id = l.child_end JOIN profile p ON p.id = l.parent_end WHERE l.apart
    )
    SELECT one, other, array_agg(DISTINCT type ORDER BY type) AS kinds, max(last_at) AS last_at FROM pair
    WHERE NOT EXISTS (SELECT FROM apart WHERE apart.one = pair.one AND apart.other = pair.other)
    GROUP BY one, other ORDER BY max(last_at) DESC, one, other LIMIT :most
""")


def numbered(session: Session, most: int = MAX_WAITING) -> list[Likely]:
    """Who states one name and address, e-mail or phone under two customer numbers, the newest first; at most 100.

    Of the newest thousand facts of which that was told.
    """
    rows = session.execute(_NUMBERED, {"kinds": sorted(MATCHES), "most": most}).all()
    return _with_names(
        session, [(row.one, row.other, tuple(EVIDENCE[kind] for kind in row.kinds), None, row.last_at) for row in rows]
    )


def _with_names(
    session: Session, found: Sequence[tuple[int, int, tuple[str, ...], int | None, datetime]]
) -> list[Likely]:
    names = customers.display_names(session, {root for one, other, *_ in found for root in (one, other)})
    return [
        Likely(one, other, (names.get(one, f"Customer {one}"), names.get(other, f"Customer {other}")), facts, said, at)
        for one, other, facts, said, at in found
    ]


def shown(found: Iterable[Likely]) -> list[int]:
    """The people of whom a look at these tells."""
    return [number for one in found for number in (one.one, one.other)]


def ask(session: Session, now: datetime, by: Actor) -> int:
    """Ask for customers who are probably one to be looked for; the number of the run."""
    run = likely.ask(session, now, by.name)
    admin_log.record(session, by, "ask for likely matches", "match run", run.id, now)
    return run.id


def part(intake: Intake, profile: int, other: int, now: datetime, by: Actor) -> None:
    """Note that two customers are two people; from then on only a person merges them.

    Raises NotFound, InvalidInput where they are one customer already, Unavailable.
    """

    def parted(session: Session) -> None:
        likely.part(session, profile, other, now, named(by))
        admin_log.record(session, by, "keep apart", "customer", profile, now, after={"profiles": [profile, other]})

    intake.settle(parted)


def undo(intake: Intake, profile: int, merge: int, now: datetime, by: Actor) -> tuple[int, int]:
    """Undo a merge of this customer; the two customers that there are then, the one that stays first.

    In effect for the next open when it returns. Raises NotFound, Conflict when it is undone already, Unavailable.
    """
    with transaction(intake.sessions) as session:
        members = customers.members(session, customers.root_of(session, profile).id)
        row = session.get(ProfileLink, merge)
        if row is None or row.child_end not in members or row.parent_end not in members:
            raise NotFound("merge", merge)

    def note(session: Session, done: Cut) -> None:
        after = {"customers": [done.stays, done.leaves]}
        admin_log.record(session, by, "undo merge", "customer", done.stays, now, before={"merge": merge}, after=after)

    done = take_apart(intake, merge, now, apart=True, by=named(by), along=note)
    if done is None:
        raise Conflict("This merge is undone already.")
    return done.stays, done.leaves


def join(intake: Intake, profile: int, other: int, now: datetime, by: Actor) -> int:
    """Merge two customers; the number of the merge. In effect for the next open when it returns.

    Raises NotFound, InvalidInput naming `other`, Unavailable.
    """
    with transaction(intake.sessions) as session:
        evidence = _speaking(session, profile, other)

    def note(session: Session, number: int, root: int) -> None:
        after = {"merge": number, "profiles": [profile, other]}
        admin_log.record(session, by, "merge", "customer", root, now, after=after)

    return joining.join(intake, profile, other, now, by=named(by), evidence=evidence, along=note)


def _speaking(session: Session, profile: int, other: int) -> dict[str, Any] | None:
    """What is known to speak for two customers being one, as a merge keeps it; None where nothing does."""
    members = customers.members(session, customers.root_of(session, profile).id)
    root = customers.root_of(session, other).id
    found = next((one for one in suggested(session, members) if one.customer == root), None)
    return None if found is None else {"facts": found.evidence, "stated": found.odds is None}


def named(by: Actor) -> str:
    """How a merge keeps who made it: a user by number, for names change."""
    return f"user {by.user_id}" if by.user_id is not None else by.name


def _people(session: Session, kept: set[str]) -> dict[str, str]:
    """The names of the users that are kept by number."""
    numbers = {int(name.removeprefix("user ")) for name in kept if name.startswith("user ")}
    rows = session.execute(select(User.id, User.name).where(User.id.in_(numbers)))
    return {f"user {row.id}": row.name for row in rows}


def limits() -> list[tuple[str, int]]:
    """How many merges one identifier of each kind may make."""
    return [(TYPE_WORDS[kind], most) for kind, most in TIES.items() if kind in TYPE_WORDS]


def _shown(kind: str, value: str | None) -> str:
    """An identifier, masked; nothing of a match key, which is a hash."""
    return masked(kind, value) if value and kind in TYPE_WORDS else ""
