"""Whose the events of a batch are: what their identifiers tie together, written, and their roots, locked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from signals import belonging, folding
from signals.belonging import Lost
from signals.folding import Root
from signals.identity import ALIAS, Claim
from signals.reading import Item
from signals.resolution import Resolution
from signals.separation import HubFound, made_by
from signals.sources import Sender


@dataclass(frozen=True, slots=True)
class Whose:
    """The locked roots of a batch; which were made just now, and which other roots were merged into."""

    roots: dict[int, Root]
    created: set[int]
    merged: set[int]

    @property
    def unsettled(self) -> set[int]:
        """Roots that have no state yet that says who they are now, whatever is kept of what they did."""
        return (self.created & self.roots.keys()) | self.merged

    def must_fold_again(self, root: int) -> bool:
        """Whether new events cannot be folded onto what is stored: a merge, or a state that was lost."""
        return root in self.merged or (self.roots[root].state is None and root not in self.created)


def resolve(session: Session, sender: Sender, items: Sequence[Item], hash_key: bytes, now: datetime) -> Whose:
    """Give each item its person, write what that ties together, and lock the roots."""
    wanted: dict[Claim, None] = {}
    for item in items:
        wanted.update(dict.fromkeys(item.claims))
        if item.signal.previous_id is not None:
            wanted.update({("user_id", item.signal.previous_id): None, ("anonymous_id", item.signal.previous_id): None})
    ties = any(len(item.claims) > 1 or item.signal.type == ALIAS for item in items)
    resolution = _resolved(session, wanted, items, hash_key, ties=ties)
    late: set[Claim] = set()
    while not resolution.late_hubs <= late:
        late |= resolution.late_hubs
        resolution = _resolved(session, wanted, items, hash_key, ties=ties, hubs=late)
    hubs = [claim for claim, reason in resolution.refused if reason == "hub"]
    if hubs and (made := made_by(session, hubs, hash_key)):
        raise HubFound(made)
    belonging.write(session, resolution, sender, hash_key, now)
    created = {person.id for person in resolution.new}
    touched = {item.person.root().id for item in items}
    joined = {link.child.id for link in resolution.links}
    belonging.lock(session, sorted((touched | joined) - created))
    belonging.check_ties(session, resolution.links)
    belonging.link(session, resolution.links, hash_key, now, source=sender.id)
    belonging.restate(session, _stated(items), hash_key)
    roots = folding.load(session, touched)
    named = {item.person for item in items} | {end for link in resolution.links for end in link.ends}
    if any(person.id not in roots[person.root().id].members for person in named):
        raise Lost  # A merge was undone since the identifiers were read.
    for root in roots.values():
        root.fresh = created.intersection(root.members)
    return Whose(roots, created, {link.parent.root().id for link in resolution.links})


def _stated(items: Iterable[Item]) -> dict[tuple[Claim, int], list[datetime]]:
    """When these events state which address or phone of which profile."""
    found: dict[tuple[Claim, int], list[datetime]] = {}
    for item in items:
        if item.known is None and item.signal.type == "identify":
            for claim in item.claims:
                if claim[0] in ("email", "phone"):
                    found.setdefault((claim, item.person.id), []).append(item.signal.time)
    return found


def _resolved(
    session: Session,
    wanted: Iterable[Claim],
    items: Sequence[Item],
    hash_key: bytes,
    *,
    ties: bool,
    hubs: Collection[Claim] = (),
) -> Resolution:
    """The batch resolved in memory; each item has its person then."""
    known = belonging.find(session, wanted, hash_key, ties=ties)
    resolution = Resolution(known.owners, known.ties, hubs, known.ahead)
    for item in items:
        item.person = item.known or resolution.person(item.signal, item.claims)
    return resolution
