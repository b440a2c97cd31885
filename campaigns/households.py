"""With whom a customer lives, where each fact of it comes from, and joining and leaving by hand.

Whoever looks sees names and ages of the others, and of those of one name a masked identifier; never what they bought
or did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaigns import admin_log, customers
from campaigns.admin_log import Actor
from campaigns.merges import named
from signals import cohabiting
from signals.cohabiting import Along
from signals.dwellings import CLAIM_ENDED_WHY, CLAIM_WHY, PERSONAL, Dwelling
from signals.grouping import CERTAIN, HOME_MOST, HOUSEHOLD_MOST
from signals.homes import Kind
from signals.household import Household, Other, Role, role_of
from signals.intake import Intake
from signals.profiles import stored
from signals.readings_household import FEATURES
from signals.rulewords import CONDITIONS, MORE
from signals.sealingkeys import legible
from signals.statedages import ages

EVIDENCE: Final[Mapping[Kind, str]] = {
    "hand": "by hand",
    "group": "stated",
    "home": "the same home address",
    "order": "orders to the same address",
}
CLAIMED: Final[Mapping[Kind, str]] = {
    "hand": "joined by staff",
    "group": "stated",
    "home": "a home address",
    "order": "orders to an address",
}
ROLE_WORDS: Final[Mapping[Role, str]] = {
    "adult": "adult",
    "partner": "partner",
    "child": "child",
    "grown_child": "grown-up child",
}
FACT_WORDS: Final[Mapping[str, str]] = {
    asked.field.removeprefix("household."): asked.words.removesuffix(" (%)")
    for asked in (*CONDITIONS, *MORE)
    if asked.field.startswith("household.")
}
"""The features that rules read of a household, as rules are told in words, by name."""
MAX_CLAIMS: Final = 100


@dataclass(frozen=True)
class Cohabitant:
    """One who lives there, or a grown-up child who lives elsewhere (`away`).

    `role_from` says what the role rests on, `born_from` the same of the birth year (None: not known). `evidence` is
    why they count among these, since when it was said, by whom, and how certain that is (a share).
    """

    profile: int
    name: str
    away: bool
    role: Role
    role_from: str
    born: int | None
    born_from: str
    evidence: str
    since: datetime | None
    source: str
    confidence: float


@dataclass(frozen=True)
class Claim:
    """One thing that was said of where the customer lives; `ended_at`: a person said that it does not hold."""

    kind: str
    role: Role | None
    gone: bool
    since: datetime
    said_at: datetime
    source: str
    why: str
    ended_at: datetime | None
    ended_by: str
    ended_why: str


@dataclass(frozen=True)
class Living:
    """With whom a customer lives. `facts` are the features that rules read, by name; empty without a household.

    `others` have no profile and were stated. `crowd` is how many people state the same home address, if they are too
    many for one household. `parents` are those of whose household the customer is a grown-up child: names by profile.
    `apart` says of each who is called as another of them how else they are known, by profile.
    """

    facts: dict[str, Any]
    members: list[Cohabitant]
    others: list[Other]
    claims: list[Claim]
    crowd: int
    parents: dict[int, str]
    apart: dict[int, str]
    profiled: bool


_PEOPLE: Final = text(f"""
    SELECT d.profile_id, d.role, d.evidence, d.household IS DISTINCT FROM :key AS away,
           c.since, c.said_at, c.by, c.role AS stated,
           coalesce(o.name, u.name, 'key “' || k.name || '”', c.by) AS source
    FROM dwelling d
    LEFT JOIN LATERAL (
        SELECT * FROM ({PERSONAL}) c
        WHERE c.root_id = d.profile_id AND c.ended_at IS NULL AND NOT c.gone
          AND c.key IN (:key, coalesce(d.stated, d.address))
        ORDER BY c.kind = d.evidence DESC, c.said_at DESC LIMIT 1
    ) c ON true
    LEFT JOIN source o ON o.id = c.source_id LEFT JOIN user_account u ON c.by = 'user ' || u.id
    LEFT JOIN api_key k ON c.by = 'api key ' || k.id
    WHERE d.household = :key OR d.elsewhere @> ARRAY[CAST(:key AS bytea)]
    ORDER BY away, d.profile_id LIMIT :most
""")  # noqa: S608 - of constants alone
_CLAIMS: Final = text(f"""
    SELECT c.*, coalesce(o.name, u.name, 'key “' || k.name || '”', c.by) AS source,
           coalesce(e.name, 'key “' || g.name || '”', w.ended_by) AS ender, w.ended_why
    FROM ({PERSONAL}) c LEFT JOIN LATERAL (
        SELECT w.ended_by, w.ended_why FROM household_claim w JOIN profile p ON p.id = w.profile_id
        WHERE p.root_id = c.root_id AND w.key = c.key AND w.ended_at = c.ended_at ORDER BY w.id LIMIT 1
    ) w ON true LEFT JOIN source o ON o.id = c.source_id
    LEFT JOIN user_account u ON c.by = 'user ' || u.id LEFT JOIN user_account e ON w.ended_by = 'user ' || e.id
    LEFT JOIN api_key k ON c.by = 'api key ' || k.id LEFT JOIN api_key g ON w.ended_by = 'api key ' || g.id
    WHERE c.root_id = :root ORDER BY c.said_at DESC, c.kind, c.key LIMIT :most
""")  # noqa: S608 - of constants alone
_CROWD: Final = text("SELECT count(*) FROM dwelling WHERE address = :address")
_OTHERS: Final = text(f"""
    SELECT CAST(c.others AS text) FROM ({PERSONAL}) c JOIN dwelling d ON d.profile_id = c.root_id
    WHERE c.key = :key AND c.kind = 'group' AND NOT c.gone AND c.ended_at IS NULL
      AND (c.size IS NOT NULL OR c.others IS NOT NULL) AND (d.household = :key OR d.elsewhere @> ARRAY[:key])
    ORDER BY c.said_at DESC, c.message_id DESC LIMIT 1
""")  # noqa: S608 - of constants alone


def living(session: Session, root: int, now: datetime) -> Living:
    """With whom this root profile lives, and why we think so."""
    held = stored(session, [root]).get(root)
    state = held.state if held is not None else None
    home = session.get(Dwelling, root)
    key = home.household if home is not None else None
    crowd = session.scalar(_CROWD, {"address": home.address}) or 0 if home is not None and home.address else 0
    members = [] if key is None else _members(session, key, now)
    parents = {} if home is None else _parents(session, home)
    return Living(
        facts={} if state is None or state.household is None else features(state.household, now),
        members=members,
        others=[] if key is None else _others(session, key),
        claims=_claims(session, root),
        crowd=crowd if crowd > HOME_MOST else 0,
        parents=parents,
        apart=_apart(session, {one.profile: one.name for one in members} | parents),
        profiled=state is None or state.consent.get("profiling") is not False,
    )


def shown(root: int, found: Living) -> list[int]:
    """The people of whom a look at this one's household tells, themselves first."""
    return [root, *(one.profile for one in found.members if one.profile != root), *found.parents]


def features(household: Household, now: datetime) -> dict[str, Any]:
    """What rules read of a household, by the names of the catalogue without `household.`."""
    return {one.name: one.of(household, now.year) for one in FEATURES}


def _members(session: Session, key: bytes, now: datetime) -> list[Cohabitant]:
    rows = session.execute(_PEOPLE, {"key": key, "most": HOUSEHOLD_MOST}).all()
    years = ages(session, [row.profile_id for row in rows])
    names = customers.display_names(session, [row.profile_id for row in rows])
    found = []
    for row in rows:
        age = years.get(row.profile_id)
        year = age.born if age is not None else 0
        stated: Role | None = "grown_child" if row.away else row.role
        role = role_of(stated, year, now.year)
        by = "by hand" if row.by else f"stated by {row.source}"
        found.append(
            Cohabitant(
                profile=row.profile_id,
                name=names[row.profile_id],
                away=row.away,
                role=role,
                role_from=by if role == stated else ("by age" if year else "assumed"),
                born=year or None,
                born_from=f"{age.trait.replace('_', ' ')}, {age.source}" if age is not None else "",
                evidence=EVIDENCE.get(row.evidence if not row.away else "hand" if row.by else "group", ""),
                since=row.since,
                source=row.source or "",
                confidence=CERTAIN.get(row.evidence, 100) / 100 if not row.away else 1.0,
            )
        )
    return found


def _others(session: Session, key: bytes) -> list[Other]:
    stated = session.scalar(_OTHERS, {"key": key})
    return msgspec.json.decode(stated, type=list[Other]) if stated is not None else []


def _claims(session: Session, root: int) -> list[Claim]:
    rows = session.execute(_CLAIMS, {"root": root, "most": MAX_CLAIMS}).all()
    return [
        Claim(
            CLAIMED[row.kind],
            row.role, row.gone, row.since, row.said_at, row.source or "",
            legible(session, row.why, CLAIM_WHY, profile=root) or "", row.ended_at, row.ender or "",
            legible(session, row.ended_why, CLAIM_ENDED_WHY, profile=root) or "",
        )
        for row in rows
    ]  # fmt: skip


def _parents(session: Session, home: Dwelling) -> dict[int, str]:
    if not home.elsewhere:
        return {}
    parents = session.scalars(
        select(Dwelling.profile_id)
        .where(Dwelling.household.in_(home.elsewhere))
        .order_by(Dwelling.profile_id)
        .limit(HOUSEHOLD_MOST)
    )
    return customers.display_names(session, parents.all())


def _apart(session: Session, names: Mapping[int, str]) -> dict[int, str]:
    """How those of one name are told apart: by an identifier, masked, and the number of their page."""
    called = Counter(names.values())
    alike = [profile for profile, name in names.items() if called[name] > 1]
    known = customers.known_by(session, alike)
    return {one: ", ".join([*(name.masked for name in known[one][:1]), f"page {one}"]) for one in alike}


def join(intake: Intake, profile: int, other: int, role: str, why: str, now: datetime, by: Actor) -> None:
    """Have a customer live with another one (or be their grown-up child); in effect for the next open of each.

    Raises NotFound, InvalidInput naming `other`, `role` or `why`, Unavailable.
    """
    note = _noting("join household", {"other": other, "role": role or None}, now, by)
    cohabiting.join(intake, profile, other, role, why, now, by=named(by), along=note)


def leave(intake: Intake, profile: int, why: str, now: datetime, by: Actor, *, elsewhere: bool = False) -> None:
    """Have a customer be of their household no longer, or with `elsewhere` of that of their parents.

    Raises NotFound, InvalidInput naming `household` or `why`, Unavailable.
    """
    note = _noting("leave household", {"of": "parents" if elsewhere else "home"}, now, by)
    cohabiting.leave(intake, profile, why, now, by=named(by), elsewhere=elsewhere, along=note)


def _noting(action: str, after: dict[str, Any], now: datetime, by: Actor) -> Along:
    """What writes the line of the admin log. Why is kept with the claim, which an erasure deletes, and not in the log,
    which it does not."""
    return lambda session, root: admin_log.record(session, by, action, "customer", root, now, after=after)
