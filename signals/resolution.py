"""Who the signals of a batch are of, resolved in memory: what their identifiers tie together, find new and are refused.

The rules are told in signals/identity.py, whose persons these are; signals/belonging.py reads and writes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from signals.identity import (
    AHEAD,
    ALIAS,
    CONTACTS,
    LENT,
    MATCHES,
    MEMBERS,
    STRENGTH,
    TIES,
    VALUES,
    Claim,
    Link,
    Person,
    TieRefusal,
    are_two,
    merge,
    too_large,
)
from signals.signal import Signal


@dataclass(frozen=True, slots=True)
class NewIdentifier:
    """An identifier row to write, first stated at `at`. Not `owns`: the profile shares it with its owner, who may be of
    the same person; then the row may be there already. `presumed`: a user id that an alias named ahead."""

    claim: Claim
    person: Person
    owns: bool
    at: datetime
    presumed: bool = False


class Resolution:
    """Resolves signals one after the other in memory, so that a batch means what its events mean one by one.

    `known` holds the owner of every identifier of the batch that is stored, `ties` how many merges each has made,
    `hubs` what proved to be many people's when the batch was resolved before: it ties nobody from the beginning;
    `ahead` are the stored user ids that are only presumed. The outcome is `new`, `identifiers`, `presumed` (further
    identifiers), `taken_up` (presumed ones that have come up), `links`, `tied` (merges by each claim, also counted in
    `ties`) and `refused`, which signals/belonging.py writes.
    """

    def __init__(
        self,
        known: Mapping[Claim, Person],
        ties: Mapping[Claim, int],
        hubs: Collection[Claim] = (),
        ahead: Collection[Claim] = (),
    ) -> None:
        self._owners: dict[Claim, Person] = dict(known)
        self.ties: Counter[Claim] = Counter(ties)
        self.new: list[Person] = []
        self.identifiers: list[NewIdentifier] = []
        self.presumed: dict[Claim, NewIdentifier] = {}
        self.taken_up: list[NewIdentifier] = []
        self.links: list[Link] = []
        self.tied: Counter[Claim] = Counter()
        for claim in hubs:
            self.tied[claim] = TIES[claim[0]] - self.ties[claim]
            self.ties[claim] = TIES[claim[0]]
        self.refused: Counter[tuple[Claim, TieRefusal]] = Counter()
        self._ahead: set[Claim] = set(ahead)
        self._also: set[tuple[Claim, Person]] = set()

    @property
    def late_hubs(self) -> set[Claim]:
        """Claims that were found to be hubs only after they had tied people of this batch."""
        hubs = {claim for claim, reason in self.refused if reason == "hub"}
        return {link.claim for link in self.links if link.claim in hubs}

    def person(self, signal: Signal, named: tuple[Claim, ...]) -> Person:
        """The profile whose identifier this signal came by, after the ties that the signal makes."""
        if signal.type == ALIAS:
            return self._alias(signal)
        by = self._strongest(named)
        here = self._here(by, named, signal)
        for claim in named:
            if claim[0] == "name":
                self._call(here, claim, signal)
        for claim in named:
            if claim[0] != "name":
                self._tie(here, claim, signal, by)
        return here

    def _call(self, here: Person, claim: Claim, signal: Signal) -> None:
        """Note a name: it ties nobody, but says of a shared phone that its people are two."""
        root = here.root()
        if claim in root.shares:
            if root.members > 1:
                self._note_also(here, claim, signal)
        elif root.held["name"] < VALUES["name"]:
            self._note(here, claim, signal, owns=False)

    def _here(self, by: Claim, named: tuple[Claim, ...], signal: Signal) -> Person:
        """Whose the strongest claim is. A new one belongs to a device of which nobody is known yet, or to a new profile
        which the other claims then tie to theirs, as what an alias said ties one that was presumed."""
        owner, is_presumed = self._owners.get(by), by in self._ahead or by in self.presumed
        if owner is not None and not is_presumed:
            return owner
        found = (self._owners.get(claim) for claim in named if claim[0] == "anonymous_id")
        device = next((one for one in found if one is not None and one.root().is_device), None)
        here = device or self._create()
        if owner is not None:
            self._take_up(here, owner, by, signal)
        return here

    def _strongest(self, named: tuple[Claim, ...]) -> Claim:
        """The claim that says whose a signal is; of a phone whose people have other names, the two together, and of a
        card or phone that others use too, the next claim."""
        first = named[0]
        owner = self._owners.get(first)
        if first[0] not in LENT or owner is None:
            return first
        if first[0] == "phone" and (theirs := owner.root().names):
            stated = {claim for claim in named if claim[0] == "name"}
            if stated and not stated & theirs:
                return next((claim for claim in named if claim[0] == "name_phone"), first)
        other = next((claim for claim in named if claim[0] in STRENGTH and claim[0] != first[0]), None)
        return other if other is not None and self._is_lent(first, owner.root(), other) else first

    def _is_lent(self, first: Claim, mine: Person, other: Claim) -> bool:
        """Whether a card or phone of `mine` is others' too, so that the other claim says whose the signal is: of the
        two, that is shared whose person has more of the other's kind."""
        owner = self._owners.get(other)
        is_device = other[0] == "anonymous_id"
        if owner is None:
            return self._is_hub(first) or (not is_device and mine.held[other[0]] > 0)
        theirs = owner.root()
        if theirs is mine:  # Of two profiles that one of the claims tied, the signal came by the other.
            return self.ties[first] >= max(1, self.ties[other])
        if other in mine.shares or self._is_hub(other):
            return False
        if first in theirs.shares or self._is_hub(first):
            return True
        if (mine.held["user_id"] and theirs.held["user_id"]) or (theirs.is_device and not are_two(mine, theirs)):
            return False
        known = max(mine.held[kind] for kind in CONTACTS - {first[0]}) if is_device else mine.held[other[0]]
        return known > theirs.held[first[0]]

    def _is_hub(self, claim: Claim) -> bool:
        return self.ties[claim] >= TIES.get(claim[0], MEMBERS)

    def _alias(self, signal: Signal) -> Person:
        """An explicit statement that two identifiers are one person; it may also join two user ids."""
        current: Claim = ("user_id", signal.user_id or "")
        number: Claim = ("user_id", signal.previous_id or "")
        device: Claim = ("anonymous_id", signal.previous_id or "")
        previous = number if number in self._owners else device
        is_known = current in self._owners
        here = self._here(current, (current,), signal) if is_known else self._owners.get(previous) or self._create()
        for claim in (current, previous):
            self._tie(here, claim, signal, told=True)
        owner = self._owners.get(device)
        if number not in self._owners and owner is not None and owner.root() is here.root():
            self._owners[number] = here
            self.presumed[number] = NewIdentifier(number, here, True, signal.time, presumed=True)
        return here

    def _take_up(self, here: Person, told_of: Person, number: Claim, signal: Signal) -> None:
        """A user id comes up that an alias had named ahead, as one of `told_of`: merge its profile with theirs."""
        self._note(here, number, signal, owns=True)
        if self.presumed.pop(number, None) is None:
            self._ahead.remove(number)
            self.taken_up.append(self.identifiers.pop())
        refusal = self._refusal(here.root(), told_of.root(), number, by_phone=False, told=True)
        if refusal is None:
            self._merge(here, told_of, number, signal, AHEAD)
        else:
            self.refused[number, refusal] += 1

    def _create(self) -> Person:
        person = Person(age=len(self.new))
        self.new.append(person)
        return person

    def _note(self, person: Person, claim: Claim, signal: Signal, *, owns: bool) -> None:
        if owns:
            self._owners[claim] = person
        else:
            person.root().shares[claim] = self._owners.get(claim)
        person.root().held[claim[0]] += 1
        self.identifiers.append(NewIdentifier(claim, person, owns, signal.time))

    def _note_also(self, here: Person, claim: Claim, signal: Signal) -> None:
        """Note for a profile what another profile of its person is known by: should a person take the two apart, each
        keeps what it stated itself."""
        if (claim, here) not in self._also:
            self._also.add((claim, here))
            self.identifiers.append(NewIdentifier(claim, here, False, signal.time))

    def _tie(self, here: Person, claim: Claim, signal: Signal, by: Claim | None = None, *, told: bool = False) -> None:
        """Have a claim belong to the same person as `here`, whose the signal is `by` its strongest, if it may."""
        owner, by = self._owners.get(claim), by or claim
        full = here.root().held[claim[0]] >= VALUES[claim[0]]
        if owner is None:
            if full:
                self.refused[claim, "values"] += 1
            else:
                self._note(here, claim, signal, owns=True)
        elif owner.root() is not here.root():
            by_phone = "phone" in (claim[0], by[0])
            refusal = self._refusal(here.root(), owner.root(), claim, by_phone=by_phone, told=told)
            if refusal is None:
                self._merge(here, owner, claim, signal, signal.type)
            elif claim[0] not in CONTACTS and not (claim[0] in MATCHES and refusal == "shared"):
                if refusal != "shared":
                    self.refused[by if refusal == "names" else claim, refusal] += 1
            else:
                noted = claim in here.root().shares
                if refusal == "apart" or not noted:
                    self.refused[claim, refusal] += 1
                if not (noted or full):
                    self._note(here, claim, signal, owns=False)
        elif owner is not here and claim[0] in CONTACTS | MATCHES:
            self._note_also(here, claim, signal)

    def _refusal(self, one: Person, other: Person, claim: Claim, *, by_phone: bool, told: bool) -> TieRefusal | None:
        """Why two roots are not merged on the word of this claim; None when they are. `told`: by an alias."""
        if other in one.apart:
            return "apart"
        if one.held["user_id"] and other.held["user_id"] and not told:
            return "shared"
        if by_phone and are_two(one, other):
            return "names"
        if self._is_hub(claim):
            return "hub"
        return too_large(one, other)

    def _merge(self, here: Person, owner: Person, claim: Claim, signal: Signal, reason: str) -> None:
        self.ties[claim] += 1
        self.tied[claim] += 1
        self.links.append(merge(here, owner, reason, claim, signal.message_id))
