"""Which product stands behind an offer that leaves it open: picked from its pool by what is known of the person.

What may be picked is in stock by facts that are fresh, is not owned and was not refused. What speaks for a product are
purchases and the cart, never of a sensitive category; the first thing that speaks for any product decides, the newest
first. Among what it speaks for, the product that the mail showed last stays; else the most bought one goes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from render.facts import DAY_MS
from render.pick import Pick, PoolProduct
from render.relations import LEAST_PEOPLE, Relations
from signals.moments import ms_of, seconds_of

if TYPE_CHECKING:
    from render.eligibility import Situation
    from render.plan import Offer


class Picked(NamedTuple):
    """What was picked. `why` is the code of what keeps an offer without a product off, such as `nothing goes with it`.

    since_ms: the purchase that spoke for it, Unix ms; None where that was the cart, or nothing of the person's. people:
    how many bought the product, or for also-bought both, in the counted time.
    """

    entry: PoolProduct | None
    why: str = ""
    since_ms: int | None = None
    people: int = 0


class Owned(NamedTuple):
    """The best version of a line that a person has, its price now if that is known, and when it was bought."""

    tier: int
    price_cents: int
    since_ms: int


def picked(at: Situation, offer: Offer) -> Picked:
    """The product for an offer that picks one, or why there is none."""
    pick, relations = offer.pick, at.facts.relations
    if pick is None:
        raise ValueError(f"the offer {offer.id} picks no product")
    if pick.how == "upgrade":
        return _upgrade(at, offer, pick)
    if relations is None:
        return Picked(None, "relations unknown")
    if pick.how == "complement":
        return _complement(at, offer, pick, relations)
    return _also_bought(at, offer, pick, relations) if pick.how == "also-bought" else _popular(at, offer, relations)


def _open(at: Situation, offer: Offer) -> list[PoolProduct]:
    """The products of the pool that may be shown to the person now, in its order."""
    pool = offer.pick.pool if offer.pick is not None else ()
    return [entry for entry in pool if at.is_sold(entry.id) and at.is_open_to(entry)]


def _first(at: Situation, offer: Offer, found: list[PoolProduct]) -> PoolProduct:
    """The one shown last where it is among them; else the first."""
    last = at.facts.last.product_of(offer.id) if at.facts.last is not None else None
    return next((entry for entry in found if entry.id == last), found[0])


def _complement(at: Situation, offer: Offer, pick: Pick, relations: Relations) -> Picked:
    """What goes with the cart or with the newest purchase that anything here goes with.

    What was bought together with it, or since, needs no telling.
    """
    by_category: dict[int, list[PoolProduct]] = {}
    for entry in sorted(_open(at, offer), key=lambda entry: -relations.buyers(entry.id)):
        by_category.setdefault(entry.category, []).append(entry)
    if not by_category:
        return Picked(None, "nothing to pick")
    in_cart = {line.category for line in at.state.cart}
    for category, since_ms in _anchors(at, pick):
        for other in relations.complements(category):
            bought = at.state.categories.get(other)
            is_met = other in in_cart or (
                bought is not None and since_ms is not None and bought.last_s >= seconds_of(since_ms)
            )
            if other in by_category and not is_met:
                entry = _first(at, offer, by_category[other])
                return Picked(entry, since_ms=since_ms, people=relations.buyers(entry.id))
    return Picked(None, "nothing goes with it")


def _anchors(at: Situation, pick: Pick) -> Iterator[tuple[int, int | None]]:
    """Categories that speak for others: those in the cart, then what was bought of late with its instant."""
    yield from ((line.category, None) for line in reversed(at.plain.cart) if line.category)
    oldest = seconds_of(at.now_ms - pick.within_days * DAY_MS)
    bought = [(stats.last_s, category) for category, stats in at.plain.categories.items() if stats.last_s >= oldest]
    for last_s, category in sorted(bought, reverse=True):
        yield category, ms_of(last_s)


def _also_bought(at: Situation, offer: Offer, pick: Pick, relations: Relations) -> Picked:
    """What most people bought who bought what lies in the cart, or else the newest purchase that tells of anything."""
    found = _open(at, offer)
    if not found:
        return Picked(None, "nothing to pick")
    oldest = at.now_ms - pick.within_days * DAY_MS
    recent = sorted(at.plain.recent, key=lambda line: -line.time_ms)
    anchors: list[tuple[str, int | None]] = [(line.product, None) for line in reversed(at.plain.cart)]
    anchors += [(line.product, line.time_ms) for line in recent if line.time_ms >= oldest]
    in_cart = {line.product for line in at.state.cart}
    for product, since_ms in anchors:
        people = relations.bought_with(product)
        told = [entry for entry in found if people.get(entry.id, 0) >= LEAST_PEOPLE and entry.id not in in_cart]
        if told:
            most = sorted(told, key=lambda entry: -people[entry.id])
            entry = _first(at, offer, most)
            return Picked(entry, since_ms=since_ms, people=people[entry.id])
    return Picked(None, "too few bought both")


def _popular(at: Situation, offer: Offer, relations: Relations) -> Picked:
    """What most people bought."""
    found = _open(at, offer)
    told = [entry for entry in found if relations.buyers(entry.id) >= LEAST_PEOPLE]
    if not told:
        return Picked(None, "too few bought it" if found else "nothing to pick")
    entry = _first(at, offer, sorted(told, key=lambda entry: -relations.buyers(entry.id)))
    return Picked(entry, people=relations.buyers(entry.id))


def _upgrade(at: Situation, offer: Offer, pick: Pick) -> Picked:
    """The next better and dearer version of a line that the person owns a version of; the newest purchase first."""
    found = _open(at, offer)
    owned = _owned(at, pick)
    if not owned:
        return Picked(None, "owns no version")
    is_best, is_unsure = True, False
    for line, has in sorted(owned.items(), key=lambda item: -item[1].since_ms):
        better = [entry for entry in pick.pool if entry.line == line and entry.tier > has.tier]
        is_best = is_best and not better
        if better and _is_unsure(at, line, pick):
            is_unsure = True
            continue
        dearer = [
            entry
            for entry in sorted(better, key=lambda entry: entry.tier)
            if entry in found and at.facts.products[entry.id].price_cents > has.price_cents
        ]
        if dearer:
            return Picked(_first(at, offer, dearer), since_ms=has.since_ms)
    if is_best:
        return Picked(None, "owns the best version")
    return Picked(None, "version unknown" if is_unsure else "no better version")


def _owned(at: Situation, pick: Pick) -> dict[str, Owned]:
    """Line -> the best version that the person is known to have."""
    bought = {line.product: line.time_ms for line in sorted(at.plain.recent, key=lambda line: line.time_ms)}
    owned: dict[str, Owned] = {}
    for entry in sorted(pick.pool, key=lambda entry: entry.tier):
        if at.has(entry.id, -1):
            known = at.facts.products.get(entry.id)
            since_ms = max(bought.get(entry.id, 0), owned[entry.line].since_ms if entry.line in owned else 0)
            owned[entry.line] = Owned(entry.tier, known.price_cents if known is not None else 0, since_ms)
    return owned


def _is_unsure(at: Situation, line: str, pick: Pick) -> bool:
    """Whether the person may own a version that is not known by name any more.

    The state names the products of the latest order lines only; of a category it counts all orders. Where there were
    more orders of the line's category than are named, one of them may have been the best version.
    """
    for category in {entry.category for entry in pick.pool if entry.line == line}:
        stats = at.state.categories.get(category)
        named = {purchase.time_ms for purchase in at.state.recent if purchase.category == category}
        if stats is not None and stats.n > len(named):
            return True
    return False


UNPICKED: Final = (
    "relations unknown", "nothing to pick", "nothing goes with it", "too few bought both", "too few bought it",
    "owns no version", "owns the best version", "version unknown", "no better version",
)  # fmt: skip
"""Every reason for an offer to stay without a product."""
