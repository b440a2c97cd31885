"""Incentives that a creative's parts may tell of: free delivery, the dearer version beside, the cheapest to begin with.

| field | what |
|---|---|
| `brand.free_delivery` | from which value of the cart delivery is free: the offer's number `free_delivery_cents` |
| `profile.cart` | what lies in the cart, as money |
| `profile.to_free_delivery` | what is missing to free delivery, as money; absent once nothing is |
| `profile.has_free_delivery` | `yes` where nothing is missing |
| `product.stretch_name`, `.stretch_price` | the next better version that is dearer, and its price |
| `product.stretch_more` | how much more that is |
| `product.entry_name`, `.entry_price` | the cheapest version, where it is cheaper than the product |

Versions are those of the product's line; they are in stock by facts that are fresh. Fields of `profile` are the
person's, so pictures that show them are kept under the person's key; with an empty cart there are none. A cart that
holds anything of a sensitive category, or of an unknown price, has no value that could be told.
"""

from __future__ import annotations

from render.eligibility import Situation
from render.fields import Fields, offer_price
from render.money import money
from render.pick import PoolProduct
from render.plan import Offer
from signals import measures
from signals.currencies import exponent
from signals.productfacts import ProductFacts

FREE_DELIVERY = "free_delivery_cents"


def tactics(at: Situation, offer: Offer, product: ProductFacts | None, locale: str) -> Fields:
    """The fields of the table for an offer that asks for them; none for any other."""
    fields: Fields = {}
    threshold = offer.fields.get(FREE_DELIVERY)
    if isinstance(threshold, int) and threshold > 0:
        fields |= _delivery(at, threshold, locale)
    versions = offer.versions or (offer.pick.pool if offer.pick is not None else ())
    if versions and product is not None and at.is_sold(product.id):
        fields |= _versions(at, offer, versions, product, locale)
    return fields


def _delivery(at: Situation, threshold: int, locale: str) -> Fields:
    currency = at.plan.currency
    fields: Fields = {"brand.free_delivery": money(threshold, currency, locale)}
    value = _cart_value(at)
    if value is None:
        return fields
    fields["profile.cart"] = money(value, currency, locale)
    if value >= threshold:
        return fields | {"profile.has_free_delivery": "yes"}
    return fields | {"profile.to_free_delivery": money(threshold - value, currency, locale)}


def _cart_value(at: Situation) -> int | None:
    """What lies in the cart, in minor units of the plan's currency; None where it is empty or may not be told."""
    cart = at.state.cart
    if not cart or len(at.plain.cart) < len(cart) or any(line.cents is None for line in cart):
        return None
    hundredths = sum(measures.worth(line) for line in cart)
    # Carts are told in hundredths of whatever currency; a yen has none.
    return int(hundredths * 10 ** exponent(at.plan.currency) // 100)


def _versions(
    at: Situation, offer: Offer, versions: tuple[PoolProduct, ...], product: ProductFacts, locale: str
) -> Fields:
    line = next((entry.line for entry in versions if entry.id == product.id), "")
    tiers = {entry.id: entry.tier for entry in versions if line and entry.line == line}
    others = [
        facts
        for name in tiers
        if name != product.id and at.is_sold(name) and at.is_open_to(facts := at.facts.products[name])
        if facts.currency == product.currency
    ]
    fields: Fields = {}
    price = offer_price(offer, product.price_cents)
    price = product.price_cents if price is None else price
    better = [one for one in others if tiers[one.id] > tiers[product.id] and one.price_cents > price]
    if better:
        next_one = min(better, key=lambda one: (tiers[one.id], one.price_cents))
        fields["product.stretch_name"] = next_one.title
        fields["product.stretch_price"] = money(next_one.price_cents, next_one.currency, locale)
        fields["product.stretch_more"] = money(next_one.price_cents - price, next_one.currency, locale)
    cheaper = [one for one in others if one.price_cents < price]
    if cheaper:
        cheapest = min(cheaper, key=lambda one: (one.price_cents, one.id))
        fields["product.entry_name"] = cheapest.title
        fields["product.entry_price"] = money(cheapest.price_cents, cheapest.currency, locale)
    return fields
