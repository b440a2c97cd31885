"""What depends on a product: offers and segments that name it or its category, what opens refuse because of it now, and
what is bought with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from campaigns import offers, products, relations
from campaigns.feedtrust import Trust
from campaigns.models import Campaign, Offer, Segment
from signals.catalog import Category
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.products import Product

MOST_TOGETHER: Final = 20
MOST_USES: Final = 200


@dataclass(frozen=True, slots=True)
class Use:
    """What depends on a product: `kind` is offer or segment, `how` in words, `by_product` else by its category alone.

    `needs` tells of an offer that it is not shown without fresh facts, `stock` that it is not shown when sold out.
    """

    kind: str
    id: int
    name: str
    how: str
    by_product: bool = False
    needs: bool = False
    stock: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Why the next open of some campaigns does not show an offer, or a part of it; none named: of all that have it."""

    offer: Use
    why: str
    campaigns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Complement:
    """A category that goes with the product's: orders that held both and the lift (0 where nothing is learnt of it).

    `how`: learnt, "by hand" (which wins), or "feed" where the feed alone says so.
    """

    category: Category
    orders: int
    lift: float
    how: str


@dataclass(frozen=True, slots=True)
class Together:
    """A product that people bought too, and how many bought both."""

    product: str
    title: str
    people: int


@dataclass(frozen=True, slots=True)
class Company:
    """What goes with a product. `buyers` is None where its people are not counted, `since` begins the counted time.

    `parted` are categories that were set apart from its own by hand.
    """

    complements: tuple[Complement, ...] = ()
    parted: tuple[Category, ...] = ()
    together: tuple[Together, ...] = ()
    buyers: int | None = None
    since: datetime | None = None
    until: datetime | None = None


def uses(session: Session, row: Product, category: Category | None) -> list[Use]:
    """Offers and segments that name the product or its category; archived offers do not count. Cut at MOST_USES."""
    found: list[Use] = []
    for offer in session.scalars(select(Offer).where(Offer.archived_at.is_(None)).order_by(Offer.name)):
        if (use := _of_offer(offer, row, category)) is not None:
            found.append(use)
    if category is not None:
        for segment in session.scalars(select(Segment).order_by(Segment.name)):
            if category.slug in _categories(segment.rule):
                found.append(Use("segment", segment.id, segment.name, f"asks for {category.name}"))
    found.sort(key=lambda use: not use.by_product)
    return found[:MOST_USES]


def refusals(
    session: Session, trusted: Mapping[int, Trust], found: list[Use], read: ProductFacts | None, now: datetime
) -> list[Refused]:
    """What the next open does not show because of what it reads of the product, by offer; None: it reads nothing."""
    shown = _shown_in(session, trusted)
    told = []
    for use in found:
        if read is not None and read.gone and use.by_product:
            told.append(Refused(use, "the full feed of its source no longer has it"))
            continue
        if not use.needs:
            continue
        if read is None:
            told.append(Refused(use, "nothing is known of the product in the hot store"))
            continue
        age = timedelta(milliseconds=max(0, unix_ms(now) - read.feed_ms))
        stale = tuple(one.name for one in shown.get(use.id, ()) if age > one.bound)
        if stale:
            told.append(Refused(use, "price and stock were told too long ago", stale))
        if use.stock and read.stock is None:
            told.append(Refused(use, "the feed does not say whether it is in stock"))
        elif use.stock and read.stock == 0:
            told.append(Refused(use, "it is out of stock"))
    return told


def company(session: Session, blobs: FolderBlobs, row: Product) -> Company:
    """What stored orders, the feed and people by hand say goes with a product."""
    known = relations.load(session, blobs)
    of_feed = set(row.complements)
    if known is None:
        return Company(tuple(Complement(one, 0, 0.0, "feed") for one in products.names(session, sorted(of_feed))))
    learnt, category = known.learnt, row.category_id or 0
    told = {one.other: one for one in learnt.complements.get(category, ())}
    by_hand, parted = learnt.pairs.get(category, ()), learnt.parted.get(category, ())
    going = known.complements(category)
    words = {one.id: one for one in products.names(session, [*going, *parted, *of_feed])}
    complements = [
        Complement(
            words[other], told[other].support if other in told else 0, told[other].lift if other in told else 0.0,
            "by hand" if other in by_hand else "learnt",
        )
        for other in going if other in words
    ]  # fmt: skip
    complements += [
        Complement(words[other], 0, 0.0, "feed") for other in row.complements if other in words and other not in going
    ]
    most = sorted(known.bought_with(row.id).items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_TOGETHER]
    rows = session.execute(select(Product.id, Product.title).where(Product.id.in_([name for name, _ in most])))
    titles = {one.id: one.title for one in rows}
    seen = relations.newest(session)
    is_taught = learnt.until_ms > 0
    return Company(
        tuple(complements),
        tuple(words[other] for other in parted if other in words),
        tuple(Together(name, titles.get(name, name), people) for name, people in most),
        learnt.buyers.get(row.id) if is_taught else None,
        relations.moment(learnt.counted_from_ms) if is_taught else None,
        seen.until_at if seen is not None and is_taught else None,
    )


def _of_offer(offer: Offer, row: Product, category: Category | None) -> Use | None:
    pick: Mapping[str, Any] = offer.pick or {}
    needs = offer.needs_stock or offer.shows_price
    slug = category.slug if category is not None else None
    further = offers.further_products(offer.fields)
    if offer.product == row.id and not further:
        return Use("offer", offer.id, offer.name, "shows it", True, needs, offer.needs_stock)
    if row.id in (offer.product, *further):
        return Use("offer", offer.id, offer.name, "shows it beside others", True, True, True)
    if row.id in pick.get("products", ()) or (row.line is not None and row.line in pick.get("lines", ())):
        return Use("offer", offer.id, offer.name, "may pick it", True, True, True)
    if slug is None:
        return None
    if slug in pick.get("categories", ()) and category is not None and not category.sensitive:
        return Use("offer", offer.id, offer.name, "may pick it, with its category", True, True, True)
    if slug in (offer.category, offer.purpose_category, offer.after_category):
        return Use("offer", offer.id, offer.name, "is about its category")
    if slug in _categories([offer.legal, offer.relevant, offer.beneficial]):
        return Use("offer", offer.id, offer.name, "asks for its category")
    return None


def _categories(rule: Any) -> Iterator[str]:
    """The slugs that a rule names anywhere."""
    match rule:
        case dict():
            if isinstance(rule.get("category"), str):
                yield rule["category"]
            for child in rule.values():
                yield from _categories(child)
        case list():
            for child in rule:
                yield from _categories(child)


def _shown_in(session: Session, trusted: Mapping[int, Trust]) -> Mapping[int, list[Trust]]:
    """By offer: the campaigns that may show it, as each trusts what feeds tell."""
    found: dict[int, list[Trust]] = {}
    for number, slots in session.execute(select(Campaign.id, Campaign.slots).where(Campaign.id.in_(list(trusted)))):
        for offer in {offer for slot in slots for offer in slot.get("offers", ())}:
            found.setdefault(offer, []).append(trusted[number])
    return found
