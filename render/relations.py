"""What stored orders say of products and categories: what is bought with what, after how long again, how many at once.

A worker learns it into an immutable artefact, MessagePack of `Learnt` named by the SHA-256 of its bytes, and the live
key names the one that opens read. What a manager set by hand lies in the same artefact and wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from base.errors import UNREADABLE, InvalidInput

FORMAT_VERSION: Final = 1
MAX_ARTEFACT_BYTES: Final = 32 * 1024 * 1024
MAX_CATEGORIES: Final = 10_000
MAX_PRODUCTS: Final = 20_000
"""Products with counts of their own; the most bought ones."""
LEAST_PEOPLE: Final = 20
"""People behind a count before a mail tells it: fewer say nothing, and might be known to the reader."""
LEAST_LINES: Final = 30
"""Order lines of a category before anything is said of how many units people take."""
MAX_UNITS: Final = 12
PLAUSIBLE_SHARE: Final = 0.05
"""Share of a category's order lines that must hold so many units, for so many to be offered to anybody."""
TOLD_HOURS: Final = 48
"""A count is told no longer than this after the orders it counts."""


class Together(msgspec.Struct, frozen=True, array_like=True):
    """A category that goes with another: orders that held both, and how many times likelier that made it (lift)."""

    other: int
    support: int
    lift: float


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """The days after which half of those who buy a category again have done so, and how many times that was seen."""

    days: int
    gaps: int


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """The artefact. `from_ms` to `until_ms`: the orders it was learnt from; `counted_from_ms`: those that are counted.

    complements: category -> what goes with it, the surest first. intervals: of categories that people buy again.
    units: category -> order lines with at least 1, 2 ... MAX_UNITS units. buyers: product -> people who bought it since
    `counted_from_ms`, net of returns; together: product -> {other: people who bought both}. The other three are set by
    hand: pairs that hold, pairs that do not, days between purchases.
    """

    format: int = FORMAT_VERSION
    from_ms: int = 0
    counted_from_ms: int = 0
    until_ms: int = 0
    orders: int = 0
    complements: dict[int, tuple[Together, ...]] = {}
    intervals: dict[int, Interval] = {}
    units: dict[int, tuple[int, ...]] = {}
    buyers: dict[str, int] = {}
    together: dict[str, dict[str, int]] = {}
    pairs: dict[int, tuple[int, ...]] = {}
    parted: dict[int, tuple[int, ...]] = {}
    days: dict[int, int] = {}


_NOBODY: Final[Mapping[str, int]] = {}
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Learnt).decode


class Relations:
    """A loaded artefact. What it says never changes, so threads may share it."""

    __slots__ = ("_complements", "hash", "learnt")

    def __init__(self, learnt: Learnt, digest: str) -> None:
        self.learnt = learnt
        self.hash = digest
        self._complements = {
            category: _joined(learnt, category) for category in sorted({*learnt.complements, *learnt.pairs})
        }

    @classmethod
    def load(cls, data: bytes) -> Relations:
        """Read an artefact. Raises InvalidInput naming what is wrong with it."""
        if len(data) > MAX_ARTEFACT_BYTES:
            raise InvalidInput("relations", f"are {len(data)} bytes; at most {MAX_ARTEFACT_BYTES} are loaded")
        try:
            learnt = _decode(data)
        except UNREADABLE as error:
            raise InvalidInput("relations", f"cannot be read: {error}") from error
        if learnt.format != FORMAT_VERSION:
            raise InvalidInput("relations.format", f"is {learnt.format}; this release reads {FORMAT_VERSION}")
        if len(learnt.complements) > MAX_CATEGORIES or len(learnt.buyers) > MAX_PRODUCTS:
            raise InvalidInput("relations", f"hold at most {MAX_CATEGORIES} categories and {MAX_PRODUCTS} products")
        return cls(learnt, hashlib.sha256(data).hexdigest())

    def complements(self, category: int) -> tuple[int, ...]:
        """The categories that go with one: those set by hand first, then the learnt ones, the surest first."""
        return self._complements.get(category, ())

    def interval_days(self, category: int) -> int | None:
        """Days after a purchase before which the category is not bought again; None where nobody knows."""
        by_hand = self.learnt.days.get(category)
        if by_hand is not None:
            return by_hand
        learnt = self.learnt.intervals.get(category)
        return learnt.days if learnt is not None else None

    def are_plausible(self, category: int, units: int) -> bool:
        """Whether so many units of a category at once are nothing odd."""
        lines = self.learnt.units.get(category, ())
        if not lines or lines[0] < LEAST_LINES or not 0 < units <= len(lines):
            return False
        return lines[units - 1] >= PLAUSIBLE_SHARE * lines[0]

    def buyers(self, product: str) -> int:
        """People who bought a product in the counted time; 0 where they are not counted."""
        return self.learnt.buyers.get(product, 0)

    def bought_with(self, product: str) -> Mapping[str, int]:
        """Other products -> people who bought both in the counted time."""
        return self.learnt.together.get(product, _NOBODY)

    def tells_at(self, now_ms: int) -> bool:
        """Whether the counts are recent enough to be told."""
        return now_ms - self.learnt.until_ms <= TOLD_HOURS * 3_600_000


def encode(learnt: Learnt) -> bytes:
    """The bytes of an artefact, the same for the same content."""
    ordered = {
        name: dict(sorted(value.items()))
        for name in Learnt.__struct_fields__
        if isinstance(value := getattr(learnt, name), dict)
    }
    ordered["together"] = {product: dict(sorted(others.items())) for product, others in ordered["together"].items()}
    return _encode(msgspec.structs.replace(learnt, **ordered))


def _joined(learnt: Learnt, category: int) -> tuple[int, ...]:
    by_hand, parted = learnt.pairs.get(category, ()), learnt.parted.get(category, ())
    found = (one.other for one in learnt.complements.get(category, ()) if one.other not in parted)
    return tuple(dict.fromkeys((*by_hand, *found)))
