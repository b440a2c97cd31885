"""What stored orders say of products and categories, and what is set by hand."""

from __future__ import annotations

import msgspec
from msgspec.structs import asdict

from campaigns import relations
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.models import RelationByHand
from campaigns.parts import parts
from campaigns.relations import ByHandIn
from campaigns.views.acting import actor


class ByHand(ByHandIn, frozen=True, kw_only=True):
    """What is set by hand, as it is kept."""

    id: int


class Complement(msgspec.Struct, frozen=True):
    """A category that goes with another: `orders` held both, which made it `lift` times likelier; 0 if set by hand."""

    category: str
    other: str
    orders: int
    lift: float
    by_hand: bool


class Repurchase(msgspec.Struct, frozen=True):
    """After how many days a category is bought again; `seen` is how often that was seen, 0 where set by hand."""

    category: str
    days: int
    seen: int
    by_hand: bool


class Bought(msgspec.Struct, frozen=True):
    """A product and how many people bought it in the counted time, net of returns."""

    product: str
    title: str
    people: int


class RelationsOut(msgspec.Struct, frozen=True):
    """What opens go by. `until` ends the orders it was learnt from; null before the first lesson.

    `counted_from` begins the time in which people are counted. Lists are cut at 500 entries, the surest or largest
    first.
    """

    hash: str | None
    until: str | None
    counted_from: str | None
    orders: int
    complements: list[Complement]
    intervals: list[Repurchase]
    bought: list[Bought]
    by_hand: list[ByHand]


def _by_hand(row: RelationByHand) -> ByHand:
    return msgspec.convert(row, ByHand, from_attributes=True)


@api.get("/relations")
@allow("manager")
@served(200, RelationsOut, "relations")
def get_relations() -> RelationsOut:
    """What is bought with what, after how long again, and how many people bought what."""
    with parts().transaction() as session:
        seen = relations.seen(session, parts().blobs)
        return RelationsOut(
            hash=seen.hash,
            until=seen.until.isoformat() if seen.until is not None else None,
            counted_from=seen.counted_from.isoformat() if seen.counted_from is not None else None,
            orders=seen.orders,
            complements=[Complement(**asdict(one)) for one in seen.complements],
            intervals=[Repurchase(**asdict(one)) for one in seen.intervals],
            bought=[Bought(**asdict(one)) for one in seen.bought],
            by_hand=[_by_hand(row) for row in relations.by_hand(session)],
        )


@api.post("/relations/by-hand")
@allow("manager")
@served(201, ByHand, "relations", 409)
def set_relation_by_hand(json: ByHandIn) -> tuple[ByHand, int]:
    """Set by hand that categories go together or do not, or after how many days one is bought again; it wins."""
    with parts().transaction() as session:
        return _by_hand(relations.set_by_hand(session, parts().blobs, json, parts().now(), actor())), 201


@api.delete("/relations/by-hand/<int:relation_id>")
@allow("manager")
@served(200, Done, "relations", 404)
def remove_relation_by_hand(relation_id: int) -> Done:
    """Take back what was set by hand: what was learnt holds again."""
    with parts().transaction() as session:
        relations.remove_by_hand(session, parts().blobs, relation_id, parts().now(), actor())
    return Done()
