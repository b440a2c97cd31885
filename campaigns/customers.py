"""Finding a customer by whatever they can name: an address, a customer number, a phone number, an order."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import LargeBinary, func, literal_column, or_, select, tuple_, type_coerce
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from signals import exchange, state
from signals.catalog import Category
from signals.events import Event
from signals.identity import STRENGTH, IdentifierType, normalised, value_hash
from signals.known import KnownField, known_fields
from signals.matching import spellings
from signals.profiles import IDENTIFIER_VALUE, Identifier, Profile, stored
from signals.sealingkeys import legible
from signals.shops import ShopSource
from signals.signal import ORDER_COMPLETED
from signals.sources import Source

MAX_FOUND = 20
MAX_SHOPS = 100
"""Prefixes of shops that are tried before an order's number."""
MAX_QUERY = 200
TYPE_WORDS = {
    "email": "e-mail address",
    "user_id": "customer number",
    "anonymous_id": "device",
    "phone": "phone number",
    "loyalty_id": "loyalty card",
}
FOUND_WORDS = {**TYPE_WORDS, "order": "order number", "profile": "number of their page"}
"""By what a search finds somebody."""
_PAGE = re.compile(r"customer\s+([0-9]{1,18})", re.IGNORECASE)
"""How pages call somebody whose name is not known. A bare number is an order's or a customer's, never a page's."""


SEALED = type_coerce(Identifier.value, LargeBinary).label("sealed")
CONTACT_TRAITS = ("email", "phone", "address")


@dataclass(frozen=True)
class Found:
    """A customer that a search found, by which of FOUND_WORDS, and that in words, an order's with where it is from."""

    profile: int
    name: str
    by: tuple[str, ...]
    matched: str


_Matches = dict[int, dict[str, set[str]]]
"""Per profile by what it was found, each with the sources that told of the order."""


DAMAGED: Final = "damaged where it is stored"
"""Stands for an identifier that cannot be read any more."""


@dataclass(frozen=True)
class Name:
    """One identifier of a person, masked for those who need not see it whole; `DAMAGED` in both where it is."""

    type: str
    words: str
    value: str
    masked: str


def find(session: Session, query: str, hash_key: bytes, regions: Collection[str]) -> list[Found]:
    """Customers whose identifier or order is the query, or who are called so; at most 20, the lowest number first.

    Surrounding blanks, capitals of an address and the spacing of a phone number do not matter, nor whether it has its
    country's code: without one it is of `regions`, or any. Customer and order numbers are looked for as typed, in
    capitals and in small letters; an order's by the number that its buyer knows too, with a # before it or none, and
    without its shop's prefix. Raises InvalidInput for an empty or over-long query.
    """
    wanted = query.strip()
    if not wanted:
        raise InvalidInput("q", "type an e-mail address, customer number, phone number or order number")
    if len(wanted) > MAX_QUERY or "\x00" in wanted:
        raise InvalidInput("q", f"must have at most {MAX_QUERY} characters")
    matches: _Matches = {}
    rows = session.execute(
        select(Identifier.type, Identifier.profile_id)
        .where(
            tuple_(Identifier.type, Identifier.value_hash).in_(_hashes(wanted, hash_key, regions)),
            ~Identifier.presumed,
        )
        .order_by(Identifier.profile_id)
        .limit(MAX_FOUND)
    )
    for row in rows:
        matches.setdefault(row.profile_id, {})[row.type] = set()
    for profile, sources in _buyers(session, wanted):
        matches.setdefault(profile, {})["order"] = set(sources)
    if called := _PAGE.fullmatch(wanted):
        matches.setdefault(int(called[1]), {})["profile"] = set()
    return _named(session, matches)


def known_as(session: Session, kind: IdentifierType, value: str, hash_key: bytes) -> int:
    """The person that an identifier belongs to: of an address or phone that several state, whom a signal with it alone
    counts for. Raises NotFound, InvalidInput for a value that is none of its kind."""
    if "\x00" in value:
        raise InvalidInput("value", "must not hold a null character")
    hashed = value_hash(hash_key, kind, normalised(kind, value, "value"))
    found = session.scalar(
        select(Profile.root_id)
        .join(Identifier, Identifier.profile_id == Profile.id)
        .where(Identifier.type == kind, Identifier.value_hash == hashed, Identifier.owns)
    )
    if found is None:
        raise NotFound(f"customer with this {TYPE_WORDS[kind]}")
    return found


def goes_by(session: Session, root: int, typed: str, hash_key: bytes) -> bool:
    """Whether somebody typed the number of this person's profile, or any identifier of theirs."""
    wanted = typed.strip()
    if not wanted or len(wanted) > MAX_QUERY or "\x00" in wanted:
        return False
    named = select(Identifier.profile_id).where(
        tuple_(Identifier.type, Identifier.value_hash).in_(_hashes(wanted, hash_key)),
        Identifier.profile_id.in_(members(session, root)),
    )
    return wanted == str(root) or session.scalar(named.limit(1)) is not None


def root_of(session: Session, profile: int) -> Profile:
    """The profile that speaks for this one. Raises NotFound."""
    found = session.get(Profile, profile)
    if found is None:
        raise NotFound("customer", profile)
    return found if found.root_id == found.id else root_of(session, found.root_id)


def members(session: Session, root: int) -> list[int]:
    """Every profile that this one speaks for, itself among them."""
    return list(session.scalars(select(Profile.id).where(Profile.root_id == root).order_by(Profile.id)))


@dataclass(frozen=True)
class Unadded:
    """Orders of a person in a currency without a rate, and what they came to in it, in hundredths."""

    currency: str
    orders: int
    cents: int


@dataclass(frozen=True)
class Spending:
    """What the amounts in a person's state are: in `currency`, None where none is told, less the orders of `unadded`.

    `own` is the installation's currency, in which an amount is that tells none; without it nobody knows. `mixed` are
    the currencies that are added up as they were told, where there is no own one; the newest first.
    """

    currency: str | None
    mixed: list[str]
    unadded: list[Unadded]
    own: str | None


def spending(session: Session, people: Sequence[int]) -> Spending:
    """How the money of these profiles was added up; at most twenty currencies."""
    own = exchange.own(session)
    told = func.upper(Event.figures["properties"]["currency"].astext)
    ordered = (Event.profile_id.in_(people), Event.order_id.is_not(None), told.is_not(None))
    if own is None:
        newest = (func.max(Event.event_time).desc(), func.max(Event.id).desc())
        mixed = list(session.scalars(select(told).where(*ordered).group_by(told).order_by(*newest).limit(20)))
        return Spending(mixed[0] if mixed else None, mixed if len(mixed) > 1 else [], [], None)
    rows = session.execute(
        select(told.label("told"), func.count().label("orders"), func.sum(Event.order_total_cents).label("cents"))
        .where(*ordered, Event.name == ORDER_COMPLETED, Event.folds, func.exchange_rate_at(told, Event.event_time) == 0)
        .group_by(told)
        .order_by(told)
        .limit(20)
    )
    return Spending(own, [], [Unadded(row.told, row.orders, int(row.cents or 0)) for row in rows], own)


def names(session: Session, root: int) -> list[Name]:
    """All identifiers of a person, each once, the strongest kinds first."""
    order = list(TYPE_WORDS)
    rows = session.execute(
        select(Identifier.profile_id, Identifier.type, SEALED, Identifier.value_hash)
        .where(Identifier.profile_id.in_(members(session, root)), Identifier.type.in_(TYPE_WORDS), ~Identifier.presumed)
        .order_by(Identifier.first_seen)
        .limit(200)
    )
    found = {(row.type, row.value_hash): identifier_name(session, row) for row in rows.all()}
    return sorted(found.values(), key=lambda name: order.index(name.type))


def identifier_name(session: Session, row: Any) -> Name:
    """The identifier of a row of its profile, its type and its value as SEALED. The log says whose is damaged."""
    value = legible(session, row.sealed, IDENTIFIER_VALUE, profile=row.profile_id)
    shown = DAMAGED if value is None else masked(row.type, value)
    return Name(row.type, TYPE_WORDS[row.type], shown if value is None else value, shown)


def names_by_member(session: Session, members: Sequence[int]) -> dict[int, list[Name]]:
    """The identifiers of each of these profiles, those that it shares with an owner too; at most 500 of all."""
    rows = session.execute(
        select(Identifier.profile_id, Identifier.type, SEALED)
        .where(Identifier.profile_id.in_(members), Identifier.type.in_(TYPE_WORDS), ~Identifier.presumed)
        .order_by(Identifier.profile_id, Identifier.first_seen, Identifier.type, Identifier.value_hash)
        .limit(500)
    )
    found: dict[int, list[Name]] = {member: [] for member in members}
    for row in rows.all():
        found[row.profile_id].append(identifier_name(session, row))
    return found


def known_by(session: Session, roots: Collection[int]) -> dict[int, list[Name]]:
    """Of each of these persons the newest identifier of each kind, the strongest kinds first."""
    order = list(TYPE_WORDS)
    rows = session.execute(
        select(Profile.root_id, Identifier.profile_id, Identifier.type, SEALED)
        .ext(distinct_on(Profile.root_id, Identifier.type))
        .join(Identifier, Identifier.profile_id == Profile.id)
        .where(Profile.root_id.in_(roots), Identifier.type.in_(TYPE_WORDS), ~Identifier.presumed)
        .order_by(Profile.root_id, Identifier.type, Identifier.last_seen.desc(), Identifier.value_hash)
    )
    found: dict[int, list[Name]] = {root: [] for root in roots}
    for row in sorted(rows.all(), key=lambda row: order.index(row.type)):
        found[row.root_id].append(identifier_name(session, row))
    return found


def masked(kind: str, value: str) -> str:
    """An identifier with its middle hidden: enough to recognise, too little to use."""
    if kind == "email" and "@" in value:
        local, _, domain = value.rpartition("@")
        return f"{local[:1]}•••@{domain}"
    return f"{value[:2]}•••{value[-2:]}" if len(value) > 6 else f"{value[:1]}•••"


def document(session: Session, root: int) -> dict[str, Any] | None:
    """What is known of a person as readable JSON; None before any signal, and where what is stored is damaged."""
    held = stored(session, [root]).get(root)
    return None if held is None else state.document(held.state)


def display_names(session: Session, profiles: Collection[int]) -> dict[int, str]:
    """The names of root profiles, or their numbers."""
    told = {profile: {"traits": held.state.traits} for profile, held in stored(session, profiles).items()}
    return {profile: display_name(told.get(profile), profile) for profile in profiles}


def known(session: Session, root: int, now: datetime) -> list[KnownField]:
    """Everything known of a person with its origin, without what they could be written to or called by."""
    found = known_fields(session, root, now)
    return [one for one in found if one.group != "stated" or one.name not in CONTACT_TRAITS]


def category_names(session: Session, document: Mapping[str, Any] | None) -> dict[str, str]:
    """The names of the categories that the document gives by number."""
    told = document or {}
    numbers = {
        int(number) for part in ("categories", "views", "reviews", "registered") for number in told.get(part, ())
    }
    numbers |= {line["category"] for part in ("recent", "cart") for line in told.get(part, ())}
    marked = (mark["target"].partition(":") for mark in told.get("marks", ()))
    numbers |= {int(number) for kind, _, number in marked if kind == "category"}
    rows = session.execute(select(Category.id, Category.name).where(Category.id.in_(numbers)).order_by(Category.id))
    return {str(row.id): row.name for row in rows}


def without_contacts(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The document without the traits by which a person could be written to or called."""
    if document is None:
        return None
    traits = document.get("traits") or {}
    return {**document, "traits": {name: value for name, value in traits.items() if name not in CONTACT_TRAITS}}


def display_name(document: Mapping[str, object] | None, profile: int) -> str:
    """A person's name from the stored state document, or their number."""
    traits = (document or {}).get("traits")
    if isinstance(traits, dict):
        parts = [str(traits[key]) for key in ("first_name", "firstName", "last_name", "lastName") if traits.get(key)]
        if parts:
            return " ".join(parts)
        if traits.get("name"):
            return str(traits["name"])
    return f"Customer {profile}"


def _hashes(wanted: str, hash_key: bytes, regions: Collection[str] = ()) -> list[tuple[str, bytes]]:
    """The identifiers that the typed text may stand for: every kind, spelt as that kind is kept, by keyed hash."""
    found: dict[tuple[IdentifierType, str], None] = {}
    for kind in STRENGTH:
        for text in (wanted, wanted.lower(), wanted.upper()):
            try:
                found[kind, normalised(kind, text)] = None
            except InvalidInput:
                continue
    found |= {("phone", number): None for number in spellings(wanted, regions)}
    return [(kind, value_hash(hash_key, kind, text)) for kind, text in found]


def _buyers(session: Session, wanted: str) -> list[tuple[int, list[str]]]:
    """Whose order goes by this, as its id or as its buyer knows it, and the names of the sources that told of it."""
    bare = wanted.lstrip("# ")
    if not bare:
        return []
    prefixes = session.scalars(select(ShopSource.prefix).where(ShopSource.prefixes_orders).distinct().limit(MAX_SHOPS))
    before = {"", "#", *prefixes}
    ids = {f"{prefix}{spelt}" for prefix in before for spelt in (bare, bare.lower(), bare.upper())}
    number = func.lower(func.ltrim(Event.order_number, literal_column("'#'")))
    # Found by its numbers first: in the order of profiles, up to so many, every event would be read.
    found = (
        select(Event.profile_id, Event.source_id)
        .where(or_(Event.order_id.in_(ids), number == func.lower(bare)))
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    rows = session.execute(
        select(found.c.profile_id, func.array_agg(Source.name.distinct()))
        .join(Source, Source.id == found.c.source_id)
        .group_by(found.c.profile_id)
        .order_by(found.c.profile_id)
        .limit(MAX_FOUND)
    )
    return [(profile, list(names)) for profile, names in rows]


def _named(session: Session, matches: _Matches) -> list[Found]:
    roots = dict(session.execute(select(Profile.id, Profile.root_id).where(Profile.id.in_(list(matches)))).all())
    known_by = display_names(session, set(roots.values()))
    by_root: _Matches = {}
    for profile, how in matches.items():
        if profile in roots:
            for kind, sources in how.items():
                by_root.setdefault(roots[profile], {}).setdefault(kind, set()).update(sources)
    found = sorted(by_root.items())[:MAX_FOUND]
    return [Found(root, known_by[root], tuple(how), _matched(how)) for root, how in found]


def _matched(how: Mapping[str, set[str]]) -> str:
    """By what somebody was found, in words."""
    told = ((FOUND_WORDS[kind], sorted(sources)) for kind, sources in how.items())
    return ", ".join(f"{words} ({', '.join(sources)})" if sources else words for words, sources in told)
