"""What an offer's products cost now, and whether they can be had: by facts that a feed told, and told lately."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from render.facts import Facts
from render.picking import UNPICKED
from signals.productfacts import ProductFacts

if TYPE_CHECKING:
    from render.eligibility import Situation
    from render.explanation import SlotLike
    from render.plan import Offer, Plan

WITHOUT_PRODUCT: Final = frozenset(
    {"no longer sold", "product unknown", "feed stale", "stock unknown", "out of stock", "no product in stock"}
    | set(UNPICKED)
)
"""Every reason that removes an offer for want of a product to show."""


def on_sale(facts: Facts) -> Mapping[str, ProductFacts]:
    """The products that have a sale price, whenever it counts, by id."""
    return {name: told for name, told in facts.products.items() if told.sale_cents is not None}


def priced(facts: Facts, sales: Mapping[str, ProductFacts], now_ms: int) -> Facts:
    """The facts with those products of `sales` at their sale price whose sale price counts at that moment."""
    costing = {name: told.priced(now_ms) for name, told in sales.items() if told.on_sale(now_ms)}
    return replace(facts, products={**facts.products, **costing}) if costing else facts


def is_price_turned(at: Situation, offer: Offer, since_ms: int) -> bool:
    """Whether a sale of a product that the offer reads began or ended since an instant, by facts as they are."""
    sales = [at.sales[name] for name in offer.read_products if name in at.sales] if at.sales else []
    return any(told.on_sale(since_ms) != told.on_sale(at.now_ms) for told in sales)


def unavailable(at: Situation, offer: Offer) -> str | None:
    """Why there is no product for the person; of several, each that cannot be shown is left out by itself."""
    if offer.products:
        sold = at.sold_products(offer)
        if len(sold) < offer.least_products:
            return "no product in stock"
        new = sum(not at.has(product.id, -1) for product in sold)
        return "already bought" if new < offer.least_products else None
    if offer.product is None:
        return None
    return "already bought" if _owned(at, offer, offer.product) else _missing(at, offer)


def _owned(at: Situation, offer: Offer, product: str) -> bool:
    """Whether the very product was bought: since the send for kinds that sell it again, at any kept time for others."""
    if offer.kind in ("thank-you", "service"):
        return False
    return at.has(product, at.facts.sent_at_ms if offer.kind in ("replacement", "volume") else -1)


def _missing(at: Situation, offer: Offer) -> str | None:
    """Why the offer's own product cannot be shown: it is gone, or what the offer needs of it is not there."""
    product = at.product(offer)
    if product is not None and product.gone:
        return "no longer sold"
    if not (offer.needs_stock or offer.shows_price):
        return None
    if product is None:
        return "product unknown"
    if not at.is_fresh(product):
        return "feed stale"
    if offer.needs_stock and product.stock is None:
        return "stock unknown"
    if offer.needs_stock and product.stock is not None and product.stock <= 0:
        return "out of stock"
    return None


def waiting(plan: Plan, slots: Iterable[SlotLike]) -> tuple[int, ...]:
    """The offers that lacked a product in slots, as decided or as recorded, that show their default instead."""
    defaulted = [slot for slot in slots if slot.offer in plan.default_ids]
    found = (one.offer for slot in defaulted for one in slot.candidates if one.rule in WITHOUT_PRODUCT)
    return tuple(dict.fromkeys(found))
