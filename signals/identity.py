"""Identity: which profile a signal belongs to, by identifiers that match exactly; merges as links.

A signal claims identifiers (user id, loyalty id, e-mail, phone, anonymous id: in that order of strength). Claims of one
signal denote one person, so profiles that they name are merged, with one exception: two profiles that each have a user
id are two people who share something (a family's address, a shop's tablet), and only an explicit `alias` merges them.
Then the signal goes to its strongest claim, an address is noted for both, and the lookup of a shared identifier keeps
naming the profile that had it first.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from base.errors import InvalidInput
from signals.signal import ID_LENGTH, Signal
from signals.sources import Sender

IdentifierType = Literal["user_id", "email", "anonymous_id", "phone", "loyalty_id"]
Claim = tuple[IdentifierType, str]

STRENGTH: Final[tuple[IdentifierType, ...]] = ("user_id", "loyalty_id", "email", "phone", "anonymous_id")
MEMBERS: Final = 100
"""Profiles one person may be merged from; a tie that would make more is refused, it is a shared device or a test."""

ADDRESS_LENGTH: Final = 254
_ADDRESS: Final = re.compile(r"[^@\s\x00-\x1f\"<>(),;:\\\[\]]+@[^@\s\x00-\x1f\"<>(),;:\\\[\]]+\.[^@\s.\x00-\x1f]+")
_SEPARATORS: Final = re.compile(r"[\s().\-/]")
_PHONE: Final = re.compile(r"\+?[0-9]{6,15}")


def normalised(kind: IdentifierType, value: str, path: str = "") -> str:
    """The one spelling of an identifier. Raises InvalidInput naming `path` when the value cannot be one."""
    text = value.strip()
    if kind == "email":
        text = text.lower()
        if len(text) > ADDRESS_LENGTH or not _ADDRESS.fullmatch(text):
            raise InvalidInput(path, "must be an e-mail address")
    elif kind == "phone":
        text = _SEPARATORS.sub("", text)
        text = f"+{text[2:]}" if text.startswith("00") else text
        if not _PHONE.fullmatch(text):
            raise InvalidInput(path, "must be a phone number")
    if not 0 < len(text) <= max(ID_LENGTH, ADDRESS_LENGTH):
        raise InvalidInput(path, f"must have 1 to {ID_LENGTH} characters")
    return text


def value_hash(hash_key: bytes, kind: IdentifierType, value: str) -> bytes:
    """The keyed hash that stands for an identifier where its value must not be kept; `value` is normalised."""
    return hmac.new(hash_key, f"{kind}:{value}".encode(), hashlib.sha256).digest()


def address_hash(hash_key: bytes, address: str) -> bytes:
    """The hash of an e-mail address, as the ledger and the suppression list know it. Raises InvalidInput."""
    return value_hash(hash_key, "email", normalised("email", address, "email"))


def claims(signal: Signal, sender: Sender) -> tuple[Claim, ...]:
    """The identifiers a signal names, strongest first. Raises InvalidInput naming a trait that cannot be one.

    A browser's word counts for the anonymous id alone. What `alias` calls previous is not here: see `Resolution`.
    """
    anonymous: tuple[Claim, ...] = (("anonymous_id", signal.anonymous_id),) if signal.anonymous_id else ()
    if not sender.is_server:
        return anonymous
    user: tuple[Claim, ...] = (("user_id", signal.user_id),) if signal.user_id else ()
    traits = signal.raw.get("traits") if signal.type == "identify" else (signal.raw.get("context") or {}).get("traits")
    if not isinstance(traits, dict):
        return user + anonymous
    path = "traits" if signal.type == "identify" else "context.traits"
    return user + tuple(_contacts(traits, path)) + anonymous


def _contacts(traits: Mapping[str, Any], path: str) -> Iterable[Claim]:
    named: tuple[tuple[IdentifierType, str], ...] = (
        ("loyalty_id", "loyaltyId"),
        ("loyalty_id", "loyalty_id"),
        ("email", "email"),
        ("phone", "phone"),
    )
    for kind, name in named:
        value = traits.get(name)
        if isinstance(value, str) and value.strip():
            yield kind, normalised(kind, value, f"{path}.{name}")


@dataclass(slots=True, eq=False)
class Person:
    """A root profile while a batch is resolved. `id` 0 until a new one is inserted; `merged_into` after a merge."""

    id: int = 0
    user_ids: set[str] = field(default_factory=set)
    members: int = 1
    merged_into: Person | None = None
    changed: bool = False

    def root(self) -> Person:
        """The person that speaks for this one now."""
        person = self
        while person.merged_into is not None:
            person = person.merged_into
        return person


@dataclass(frozen=True, slots=True)
class Link:
    """A merge to write: `child` goes under `parent`, both roots until now."""

    child: Person
    parent: Person
    reason: str


@dataclass(frozen=True, slots=True)
class NewIdentifier:
    """An identifier row to write, first stated at `at`. Not `owns`: the person shares it with its owner."""

    claim: Claim
    person: Person
    owns: bool
    at: datetime


class Resolution:
    """Resolves signals one after the other in memory, so that a batch means what its events mean one by one.

    `known` holds every identifier of the batch that is stored, with its root. The outcome is `new`, `identifiers` and
    `links`, which signals/belonging.py writes.
    """

    def __init__(self, known: Mapping[Claim, Person], shared: Iterable[tuple[Claim, Person]] = ()) -> None:
        self._owners: dict[Claim, Person] = dict(known)
        self._shared = set(shared)
        self.new: list[Person] = []
        self.identifiers: list[NewIdentifier] = []
        self.links: list[Link] = []

    def person(self, signal: Signal, named: tuple[Claim, ...]) -> Person:
        """The person this signal belongs to, after the ties it makes."""
        if signal.type == "alias":
            return self._alias(signal)
        found = [owner for claim in named if (owner := self._owner(claim)) is not None]
        person = found[0] if found else self._create()
        if named[0][0] == "user_id" and self._owner(named[0]) is None and person.user_ids:
            # A new user id never takes over a person who has another one.
            free = next((other for other in found if not other.user_ids), None)
            person = free or self._create()
        for claim in named:
            person = self._tie(person, claim, signal)
        return person

    def _alias(self, signal: Signal) -> Person:
        """An explicit statement that two identifiers are one person; it may also join two user ids."""
        current: Claim = ("user_id", signal.user_id or "")
        previous: Claim = ("user_id", signal.previous_id or "")
        if previous not in self._owners:
            previous = ("anonymous_id", signal.previous_id or "")
        person = self._owner(current) or self._owner(previous) or self._create()
        for claim in (current, previous):
            other = self._owner(claim)
            if other is None:
                self._own(person, claim, signal)
            elif other is not person:
                person = self._merge(person, other, "alias")
        return person

    def _owner(self, claim: Claim) -> Person | None:
        owner = self._owners.get(claim)
        return owner.root() if owner is not None else None

    def _create(self) -> Person:
        person = Person()
        self.new.append(person)
        return person

    def _own(self, person: Person, claim: Claim, signal: Signal) -> None:
        self._owners[claim] = person
        if claim[0] == "user_id":
            person.user_ids.add(claim[1])
        self.identifiers.append(NewIdentifier(claim, person, True, signal.time))

    def _tie(self, person: Person, claim: Claim, signal: Signal) -> Person:
        other = self._owner(claim)
        if other is None:
            self._own(person, claim, signal)
        elif other is not person:
            if not (person.user_ids and other.user_ids):
                return self._merge(person, other, signal.type)
            if claim[0] not in ("user_id", "anonymous_id") and (claim, person) not in self._shared:
                self._shared.add((claim, person))
                self.identifiers.append(NewIdentifier(claim, person, False, signal.time))
        return person

    def _merge(self, one: Person, other: Person, reason: str) -> Person:
        """One person out of two: who has a user id speaks, else the older profile. A tie past the bound is refused."""
        if one.members + other.members > MEMBERS:
            return one
        parent, child = (one, other) if _rank(one) <= _rank(other) else (other, one)
        child.merged_into = parent
        parent.user_ids |= child.user_ids
        parent.members += child.members
        self.links.append(Link(child, parent, reason))
        return parent


def _rank(person: Person) -> tuple[bool, bool, int]:
    return (not person.user_ids, person.id == 0, person.id)
