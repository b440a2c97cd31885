"""Identity: which profile a signal belongs to, by identifiers that match exactly; merges as links.

A signal claims identifiers (user id, loyalty id, e-mail, phone, anonymous id: in that order of strength). Claims of one
signal denote one person, so profiles that they name are merged, with one exception: two profiles that each have a user
id are two people who share something (a family's address, a shop's tablet), and only an explicit `alias` or a person
merges them. That both state one name with it (signals/matching.py) is a suggestion to that person and no more:
anybody may type a stranger's name and address into a form.
Then the signal goes to its strongest claim, an address is noted for both, and the lookup of a shared identifier keeps
naming the profile that had it first.

A merge ties two profiles that each keep what is theirs: identifiers and signals stay with the profile whose identifier
they came by, never with the person as a whole. So a merge can be undone exactly (signals/separation.py). A value that
ties more people than its kind may is a hub, such as a shop's own phone number: it ties nobody, and what it tied is
taken apart again.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from base.errors import InvalidInput
from signals.matching import MatchType, match_keys
from signals.signal import ID_LENGTH, Signal
from signals.sources import Sender

IdentifierType = Literal["user_id", "email", "anonymous_id", "phone", "loyalty_id"]
ClaimType = IdentifierType | MatchType
Claim = tuple[ClaimType, str]

STRENGTH: Final[tuple[IdentifierType, ...]] = ("user_id", "loyalty_id", "email", "phone", "anonymous_id")
MEMBERS: Final = 100
"""Profiles one person may be merged from; a tie that would make more is refused, it is a shared device or a test."""

VALUES: Final[Mapping[ClaimType, int]] = {
    "user_id": 10,
    "loyalty_id": 10,
    "email": 20,
    "phone": 20,
    "anonymous_id": 500,
    "name": 20,
    "name_address": 20,
    "name_email": 50,
    "name_phone": 50,
}
"""Identifiers of each kind that one person may have; a further one is refused and stays free for somebody else."""

TIES: Final[Mapping[ClaimType, int]] = {
    "loyalty_id": 5,
    "email": 10,
    "phone": 5,
    "anonymous_id": 10,
    "name_address": 20,
    "name_email": 20,
    "name_phone": 20,
}
"""Merges that one value of each kind may make. One that would make more is a hub: many people's, so nobody's."""

CONTACTS: Final[frozenset[ClaimType]] = frozenset(("loyalty_id", "email", "phone"))
"""Kinds that are noted for everybody who states a value, also where it ties nobody: a mail goes there."""

MATCHES: Final[frozenset[ClaimType]] = frozenset(("name_address", "name_email", "name_phone"))
"""Kinds of claims that are noted for both where two user ids state one value: the two may be merged by a person."""

TieRefusal = Literal["hub", "shared", "names", "apart", "values", "members"]
"""Why two profiles were not merged: the value is a hub; both have user ids; a phone, and their names differ; a person
said they are two; too many identifiers of a kind; too many profiles."""

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


def value_hash(hash_key: bytes, kind: ClaimType, value: str) -> bytes:
    """The keyed hash by which an identifier is looked up, and known where its value must not be kept.

    `value` is normalised.
    """
    return hmac.digest(hash_key, f"{kind}:{value}".encode(), "sha256")


def address_hash(hash_key: bytes, address: str) -> bytes:
    """The hash of an e-mail address, as the ledger and the suppression list know it. Raises InvalidInput."""
    return value_hash(hash_key, "email", normalised("email", address, "email"))


def claims(signal: Signal, sender: Sender) -> tuple[Claim, ...]:
    """The identifiers a signal names, strongest first. Raises InvalidInput naming a trait that cannot be one.

    A browser's word counts for the anonymous id alone. What `alias` calls previous is not here: see `Resolution`. What
    another call than `identify` says along of a person, in its context, is left out where it cannot be one: an order
    is not lost for a phone number "n/a".
    """
    anonymous: tuple[Claim, ...] = (("anonymous_id", signal.anonymous_id),) if signal.anonymous_id else ()
    if not sender.is_server:
        return anonymous
    user: tuple[Claim, ...] = (("user_id", signal.user_id),) if signal.user_id else ()
    traits = signal.raw.get("traits") if signal.type == "identify" else (signal.raw.get("context") or {}).get("traits")
    if not isinstance(traits, dict):
        return user + anonymous
    contacts = tuple(_contacts(traits, is_stated=signal.type == "identify"))
    told: dict[ClaimType, str] = dict(contacts)
    return user + contacts + anonymous + tuple(match_keys(traits, told.get("email"), told.get("phone")))


def _contacts(traits: Mapping[str, Any], *, is_stated: bool) -> Iterator[Claim]:
    named: tuple[tuple[IdentifierType, str], ...] = (
        ("loyalty_id", "loyaltyId"),
        ("loyalty_id", "loyalty_id"),
        ("email", "email"),
        ("phone", "phone"),
    )
    for kind, name in named:
        value = traits.get(name)
        if kind == "loyalty_id" and type(value) is int:
            value = str(value)
        if isinstance(value, str) and value.strip():
            try:
                yield kind, normalised(kind, value, f"traits.{name}")
            except InvalidInput:
                if is_stated:
                    raise


@dataclass(slots=True, eq=False)
class Person:
    """A profile while a batch is resolved; after a merge, `root` is the one that speaks for it. `id` 0 until inserted.

    `age` orders the new ones. Of a root are said: how many profiles it speaks for, how many identifiers of each kind
    they have, which of them they share with an owner, and from whom somebody has kept it apart.
    """

    id: int = 0
    age: int = 0
    merged_into: Person | None = None
    members: int = 1
    held: Counter[ClaimType] = field(default_factory=Counter)
    shares: set[Claim] = field(default_factory=set)
    apart: set[Person] = field(default_factory=set)

    def root(self) -> Person:
        """The person that speaks for this one now."""
        person = self
        while person.merged_into is not None:
            person = person.merged_into
        return person

    @property
    def is_device(self) -> bool:
        """Whether nothing but devices is known of this root: whoever turns up on them first may be the one."""
        return all(kind in ("anonymous_id", "name") for kind, number in self.held.items() if number)

    @property
    def names(self) -> set[Claim]:
        """The names that this root goes by."""
        return {claim for claim in self.shares if claim[0] == "name"}


@dataclass(frozen=True, slots=True)
class Link:
    """A merge to write: `child` goes under `parent`, both roots until now, because `claim` ties two of their profiles:
    `ends`, the parent's and the child's. `message_id` is the signal's that said so.
    """

    child: Person
    parent: Person
    ends: tuple[Person, Person]
    reason: str
    claim: Claim | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewIdentifier:
    """An identifier row to write, first stated at `at`. Not `owns`: the profile shares it with its owner, who may be of
    the same person; then the row may be there already."""

    claim: Claim
    person: Person
    owns: bool
    at: datetime


class Resolution:
    """Resolves signals one after the other in memory, so that a batch means what its events mean one by one.

    `known` holds the owner of every identifier of the batch that is stored, `ties` how many merges each has made,
    `hubs` what proved to be many people's when the batch was resolved before: it ties nobody from the beginning. The
    outcome is `new`, `identifiers`, `links`, `tied` (merges by each claim, also counted in `ties`) and `refused`, which
    signals/belonging.py writes.
    """

    def __init__(self, known: Mapping[Claim, Person], ties: Mapping[Claim, int], hubs: Collection[Claim] = ()) -> None:
        self._owners: dict[Claim, Person] = dict(known)
        self.ties: Counter[Claim] = Counter(ties)
        self.new: list[Person] = []
        self.identifiers: list[NewIdentifier] = []
        self.links: list[Link] = []
        self.tied: Counter[Claim] = Counter()
        for claim in hubs:
            self.tied[claim] = TIES[claim[0]] - self.ties[claim]
            self.ties[claim] = TIES[claim[0]]
        self.refused: Counter[tuple[Claim, TieRefusal]] = Counter()
        self._also: set[tuple[Claim, Person]] = set()

    @property
    def late_hubs(self) -> set[Claim]:
        """Claims that were found to be hubs only after they had tied people of this batch."""
        hubs = {claim for claim, reason in self.refused if reason == "hub"}
        return {link.claim for link in self.links if link.claim in hubs}

    def person(self, signal: Signal, named: tuple[Claim, ...]) -> Person:
        """The profile whose identifier this signal came by, after the ties that the signal makes."""
        if signal.type == "alias":
            return self._alias(signal)
        here = self._here(named)
        for claim in named:
            if claim[0] == "name":
                self._call(here, claim, signal)
        for claim in named:
            if claim[0] != "name":
                self._tie(here, claim, signal)
        return here

    def _call(self, here: Person, claim: Claim, signal: Signal) -> None:
        """Note a name: it ties nobody, but says of a shared phone that its people are two."""
        root = here.root()
        if claim in root.shares:
            if root.members > 1:
                self._note_also(here, claim, signal)
        elif root.held["name"] < VALUES["name"]:
            self._note(here, claim, signal, owns=False)

    def _here(self, named: tuple[Claim, ...]) -> Person:
        """Whose the strongest claim is. A new one belongs to a device of which nobody is known yet, or to a new profile
        which the other claims then tie to theirs."""
        owner = self._owners.get(self._strongest(named))
        if owner is not None:
            return owner
        found = (self._owners.get(claim) for claim in named if claim[0] == "anonymous_id")
        device = next((one for one in found if one is not None and one.root().is_device), None)
        return device or self._create()

    def _strongest(self, named: tuple[Claim, ...]) -> Claim:
        """The claim that says whose a signal is; of a phone whose people have other names, the two together."""
        owner = self._owners.get(named[0])
        if named[0][0] == "phone" and owner is not None and (theirs := owner.root().names):
            stated = {claim for claim in named if claim[0] == "name"}
            if stated and not stated & theirs:
                return next((claim for claim in named if claim[0] == "name_phone"), named[0])
        return named[0]

    def _alias(self, signal: Signal) -> Person:
        """An explicit statement that two identifiers are one person; it may also join two user ids."""
        current: Claim = ("user_id", signal.user_id or "")
        previous: Claim = ("user_id", signal.previous_id or "")
        if previous not in self._owners:
            previous = ("anonymous_id", signal.previous_id or "")
        here = self._owners.get(current) or self._owners.get(previous) or self._create()
        for claim in (current, previous):
            self._tie(here, claim, signal, told=True)
        return here

    def _create(self) -> Person:
        person = Person(age=len(self.new))
        self.new.append(person)
        return person

    def _note(self, person: Person, claim: Claim, signal: Signal, *, owns: bool) -> None:
        if owns:
            self._owners[claim] = person
        else:
            person.root().shares.add(claim)
        person.root().held[claim[0]] += 1
        self.identifiers.append(NewIdentifier(claim, person, owns, signal.time))

    def _note_also(self, here: Person, claim: Claim, signal: Signal) -> None:
        """Note for a profile what another profile of its person is known by: should a person take the two apart, each
        keeps what it stated itself."""
        if (claim, here) not in self._also:
            self._also.add((claim, here))
            self.identifiers.append(NewIdentifier(claim, here, False, signal.time))

    def _tie(self, here: Person, claim: Claim, signal: Signal, *, told: bool = False) -> None:
        """Have a claim belong to the same person as `here`, if it may."""
        owner = self._owners.get(claim)
        full = here.root().held[claim[0]] >= VALUES[claim[0]]
        if owner is None:
            if full:
                self.refused[claim, "values"] += 1
            else:
                self._note(here, claim, signal, owns=True)
        elif owner.root() is not here.root():
            refusal = self._refusal(here.root(), owner.root(), claim, told=told)
            if refusal is None:
                self._merge(here, owner, claim, signal)
            elif claim[0] not in CONTACTS and not (claim[0] in MATCHES and refusal == "shared"):
                if refusal != "shared":
                    self.refused[claim, refusal] += 1
            else:
                noted = claim in here.root().shares
                if refusal == "apart" or not noted:
                    self.refused[claim, refusal] += 1
                if not (noted or full):
                    self._note(here, claim, signal, owns=False)
        elif owner is not here and claim[0] in CONTACTS | MATCHES:
            self._note_also(here, claim, signal)

    def _refusal(self, one: Person, other: Person, claim: Claim, *, told: bool) -> TieRefusal | None:
        """Why two roots are not merged on the word of this claim; None when they are. `told`: by an alias."""
        if other in one.apart:
            return "apart"
        if one.held["user_id"] and other.held["user_id"] and not told:
            return "shared"
        if claim[0] == "phone" and (mine := one.names) and (theirs := other.names) and not mine & theirs:
            return "names"
        if self.ties[claim] >= TIES.get(claim[0], MEMBERS):
            return "hub"
        return too_large(one, other)

    def _merge(self, here: Person, owner: Person, claim: Claim, signal: Signal) -> None:
        self.ties[claim] += 1
        self.tied[claim] += 1
        self.links.append(merge(here, owner, signal.type, claim, signal.message_id))


def too_large(one: Person, other: Person) -> TieRefusal | None:
    """Why these two roots would be too much for one person, if they would."""
    if one.members + other.members > MEMBERS:
        return "members"
    if any(one.held[kind] + other.held[kind] > most for kind, most in VALUES.items()):
        return "values"
    return None


def merge(here: Person, there: Person, reason: str, claim: Claim | None = None, message_id: str | None = None) -> Link:
    """One person out of two, by two of their profiles: who has a user id speaks, else the older profile."""
    one, other = here.root(), there.root()
    first = _rank(one) <= _rank(other)
    parent, child = (one, other) if first else (other, one)
    ends = (here, there) if first else (there, here)
    child.merged_into = parent
    parent.members += child.members
    parent.held += child.held
    parent.shares |= child.shares
    for stranger in child.apart:
        stranger.apart.add(parent)
    parent.apart |= child.apart
    return Link(child, parent, ends, reason, claim, message_id)


def _rank(person: Person) -> tuple[bool, bool, int]:
    return (not person.held["user_id"], person.id == 0, person.id or person.age)
