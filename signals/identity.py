"""Identity: which profile a signal belongs to, by identifiers that match exactly; merges as links.

A signal claims identifiers (user id, loyalty id, e-mail, phone, anonymous id: in that order of strength). Claims of one
signal denote one person, so profiles that they name are merged, with one exception: two profiles that each have a user
id are two people who share something (a family's address, a shop's tablet), and only an explicit `alias` or a person
merges them. That both state one name with it (signals/matching.py) is a suggestion to that person and no more:
anybody may type a stranger's name and address into a form.
Then the signal goes to its strongest claim, an address is noted for both, and the lookup of a shared identifier keeps
naming the profile that had it first. A card or phone is lent: what a call names with it that is not yet theirs says
whose the signal is, and the card or phone ties the two, so that it is counted and can be undone.

A merge ties two profiles that each keep what is theirs: identifiers and signals stay with the profile whose identifier
they came by, never with the person as a whole. So a merge can be undone exactly (signals/separation.py). A value that
ties more people than its kind may is a hub, such as a shop's own phone number: it ties nobody, and what it tied is
taken apart again.

An `alias` may name somebody before anybody came up under that id, and says not whether it is a device's or a customer
number: so it is noted as both. As a number it is presumed until a call comes under it, whose profile has it then and is
merged on the word of the alias, as it would have been had it been there first.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from base.errors import InvalidInput
from signals.homes import is_household
from signals.matching import MatchType, match_keys
from signals.nobody import names_nobody
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

LENT: Final[frozenset[ClaimType]] = frozenset(("loyalty_id", "phone"))
"""Kinds that several people use, which take in no further address but tie it."""

MATCHES: Final[frozenset[ClaimType]] = frozenset(("name_address", "name_email", "name_phone"))
"""Kinds of claims that are noted for both where two user ids state one value: the two may be merged by a person."""

ALIAS: Final = "alias"
"""The call that says of two ids that they are one person's."""
AHEAD: Final = "alias ahead"
"""The reason of a merge with somebody who came up only after an alias had named them."""

TieRefusal = Literal["hub", "shared", "names", "apart", "values", "members"]
"""Why two profiles were not merged: the value is a hub; both have user ids; a phone, and their names differ; a person
said they are two; too many identifiers of a kind; too many profiles."""

NOBODY: Final = "names nobody: it is what systems send where they know no one. Say who it is, or leave it out"
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
    """The identifiers a signal names, strongest first. Raises InvalidInput naming a field or trait that cannot be one,
    or that names nobody (signals/nobody.py).

    A browser's word counts for the anonymous id alone. What `alias` calls previous is not here: see `Resolution`. What
    another call than `identify` says along of a person, in its context, is left out where it cannot be one: an order
    is not lost for a phone number "n/a".
    """
    anonymous: tuple[Claim, ...] = (("anonymous_id", signal.anonymous_id),) if signal.anonymous_id else ()
    _refuse_nobody("anonymous_id", signal.anonymous_id, "anonymousId")
    if not sender.is_server:
        return anonymous
    _refuse_nobody("user_id", signal.user_id, "userId")
    _refuse_nobody("user_id", signal.previous_id, "previousId")
    if is_household(signal.raw):
        _refuse_nobody("household", str(signal.raw.get("groupId") or "").strip(), "groupId")
    user: tuple[Claim, ...] = (("user_id", signal.user_id),) if signal.user_id else ()
    traits = signal.raw.get("traits") if signal.type == "identify" else (signal.raw.get("context") or {}).get("traits")
    if not isinstance(traits, dict):
        return user + anonymous
    contacts = tuple(_contacts(traits, is_stated=signal.type == "identify", is_new=True))
    return user + contacts + anonymous + _keys(traits, contacts)


def claimed(call: Mapping[str, Any]) -> set[Claim]:
    """Every identifier that a stored call may have claimed, whoever sent it."""
    fields: tuple[tuple[IdentifierType, str], ...] = (
        ("user_id", "userId"),
        ("anonymous_id", "anonymousId"),
        ("user_id", "previousId"),
        ("anonymous_id", "previousId"),
    )
    found: set[Claim] = {(kind, str(call[name]).strip()) for kind, name in fields if call.get(name) is not None}
    for traits in (call.get("traits"), (call.get("context") or {}).get("traits")):
        if isinstance(traits, dict):
            contacts = tuple(_contacts(traits, is_stated=False, is_new=False))
            found.update(contacts, _keys(traits, contacts))
    return found


def _keys(traits: Mapping[str, Any], contacts: tuple[Claim, ...]) -> tuple[Claim, ...]:
    told: dict[ClaimType, str] = dict(contacts)
    return tuple(match_keys(traits, told.get("email"), told.get("phone")))


def _refuse_nobody(kind: str, value: str | None, path: str) -> None:
    if value and names_nobody(kind, value):
        raise InvalidInput(path, NOBODY)


def _contacts(traits: Mapping[str, Any], *, is_stated: bool, is_new: bool) -> Iterator[Claim]:
    """The contacts that traits name. One that names nobody is none where `is_new`: calls were stored with such."""
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
                spelt = normalised(kind, value, f"traits.{name}")
                if is_new:
                    _refuse_nobody(kind, spelt, f"traits.{name}")
            except InvalidInput:
                if is_stated:
                    raise
                continue
            yield kind, spelt


@dataclass(slots=True, eq=False)
class Person:
    """A profile while a batch is resolved; after a merge, `root` is the one that speaks for it. `id` 0 until inserted.

    `age` orders the new ones. Of a root are said: how many profiles it speaks for, how many identifiers of each kind
    they have, which of them they share, each with its owner if that is a person of the batch, and from whom somebody
    has kept it apart.
    """

    id: int = 0
    age: int = 0
    merged_into: Person | None = None
    members: int = 1
    held: Counter[ClaimType] = field(default_factory=Counter)
    shares: dict[Claim, Person | None] = field(default_factory=dict)
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


def are_two(one: Person, other: Person) -> bool:
    """Whether both of these roots go by names, and by no common one."""
    return bool(one.names and other.names) and not one.names & other.names


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
    shares = parent.shares | child.shares
    owned = {claim for claim, owner in shares.items() if owner is not None and owner.root() is parent}
    twice = owned | (parent.shares.keys() & child.shares.keys())
    parent.held = parent.held + child.held - Counter(kind for kind, _ in twice)
    parent.shares = {claim: owner for claim, owner in shares.items() if claim not in owned}
    for stranger in child.apart:
        stranger.apart.add(parent)
    parent.apart |= child.apart
    return Link(child, parent, ends, reason, claim, message_id)


def _rank(person: Person) -> tuple[bool, bool, int]:
    return (not person.held["user_id"], person.id == 0, person.id or person.age)
