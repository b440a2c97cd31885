"""The fields a creative may bind: what one decision says about the offer, its product, the person and the brand.

Flat names with a root, plain values: texts, and whole numbers that are minor units of `product.currency` (cents) where
the name says price or saving. A name without a value is absent, so a creative's `default` filter can speak instead.

| field | what |
|---|---|
| `offer.<name>` | the offer's own texts and numbers, as the manager wrote them |
| `offer.price_cents` | the manager's, or the product's less `offer.percent` or `offer.amount_off_cents`, or in a sale |
| `offer.was_cents`, `offer.saving_cents` | what it costs without the offer, or without its sale, and what is saved |
| `offer.price`, `offer.was`, `offer.saving`, `product.price` | the same as people of the locale write money |
| `offer.units`, `offer.each` | of an offer for several of one product: how many, and the price of each, rounded up |
| `product.name`, `.category`, `.picture`, `.price_cents`, `.currency` | of the offer's product |
| `offer.ends_ms` | when the offer ends, Unix ms, if it does: what a countdown reads |
| `products.<n>.<name>` | of up to four products of an offer with several: as of `product`, and `offer_cents` |
| `profile.timezone` | trait `timezone`, where the offer ends at an hour |
| `profile.first_name` | trait `first_name`, if the person gave one |
| `profile.bound` | the offer's texts that name something of the person's, by their names: see `render.binding` |
| `brand.name` | the brand |

The manager's texts may name fields of `product`, `profile` and `brand` themselves; here they are final.
Prices come from the product feed alone and only while it is fresh; the default gets `offer.*` and `brand.*` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from render.binding import bind_texts
from render.money import grouped, money
from render.plan import Offer, Plan
from signals.productfacts import ProductFacts
from signals.state import ProfileState

Fields = dict[str, str | int]
NO_FIELDS: Final[Fields] = {}
MAX_NAME: Final = 60
"""Characters of a first name that are shown; longer ones are no name."""


def default_fields(plan: Plan, offer: Offer) -> Fields:
    """What a slot's default may say: nothing about the person, no product, no price."""
    return bind_texts(_own_fields(plan, offer), plan.locale)


def _own_fields(plan: Plan, offer: Offer) -> Fields:
    fields: Fields = {f"offer.{name}": value for name, value in offer.fields.items()}
    if plan.brand:
        fields["brand.name"] = plan.brand
    return fields


def offer_fields(
    plan: Plan,
    offer: Offer,
    product: ProductFacts | None,
    state: ProfileState,
    locale: str,
    price_known: bool,
    beside: Sequence[ProductFacts] = (),
    known: Fields = NO_FIELDS,
) -> Fields:
    """What an offer's creative may bind. `price_known`: the product facts are fresh enough for a price.

    `beside` are the products that an offer of several shows now, `known` what an open knows besides (`render.saying`).
    """
    fields = _own_fields(plan, offer) | known
    category = offer.category
    if product is not None:
        category = product.category or category
        fields["product.name"] = product.title
        if product.image:
            fields["product.picture"] = product.image
        if price_known:
            fields |= prices(offer, product, locale)
    if category is not None and (words := plan.category_words.get(category)):
        fields["product.category"] = words
    name = state.traits.get("first_name")
    if isinstance(name, str) and 0 < len(name.strip()) <= MAX_NAME:
        fields["profile.first_name"] = name.strip()
    if offer.ends_ms is not None:
        fields["offer.ends_ms"] = offer.ends_ms
        zone = state.traits.get("timezone")
        if isinstance(zone, str) and 0 < len(zone) <= MAX_NAME:
            fields["profile.timezone"] = zone
    if beside:
        fields |= cells(plan.category_words, offer, beside, locale)
    return bind_texts(fields, locale)


def cells(words: Mapping[int, str], offer: Offer, products: Sequence[ProductFacts], locale: str) -> Fields:
    """What the cells of a grid may bind, and of a bundle its price as a whole. The facts of all products are fresh.

    `words` are the words for categories.
    """
    fields: Fields = {}
    for number, product in enumerate(products):
        own: dict[str, str | int | None] = {
            "name": product.title,
            "picture": product.image or None,
            "category": words.get(product.category),
            "currency": product.currency,
            "price_cents": product.price_cents,
            "price": money(product.price_cents, product.currency, locale),
            "offer_cents": _cell_price(offer, product),
        }
        fields |= {f"products.{number}.{name}": value for name, value in own.items() if value is not None}
    currencies = {product.currency for product in products}
    if offer.kind == "bundle" and len(currencies) == 1:
        full, former = (sum(cents) for cents in zip(*map(_full_and_former, products), strict=True))
        fields |= _amounts(offer, full, former, products[0].currency, locale)
    return fields


def _cell_price(offer: Offer, product: ProductFacts) -> int:
    """What one of several products costs under an offer: a price of its own is no price for each of them."""
    percent = offer.fields.get("percent")
    if offer.kind == "bundle" or "price_cents" in offer.fields or not isinstance(percent, int):
        return product.price_cents
    return (product.price_cents * (100 - percent) + 50) // 100 if 0 <= percent <= 100 else product.price_cents


def prices(offer: Offer, product: ProductFacts, locale: str) -> Fields:
    """What a creative may bind of the price of an offer's first product, as it is now (`ProductFacts.priced`)."""
    currency = product.currency
    fields: Fields = {
        "product.currency": currency,
        "product.price_cents": product.price_cents,
        "product.price": money(product.price_cents, currency, locale),
    }
    if offer.kind == "bundle" and offer.products:
        return fields  # The price of a bundle is that of all its products.
    if offer.units is not None:
        return fields | _units(offer, offer.units, product, locale)
    return fields | _amounts(offer, *_full_and_former(product), currency, locale)


def _full_and_former(product: ProductFacts) -> tuple[int, int]:
    """What a product costs without an offer, and what it costs without its sale either."""
    return product.price_cents, product.price_cents if product.former_cents is None else product.former_cents


def _units(offer: Offer, units: int, product: ProductFacts, locale: str) -> Fields:
    """The price of several of a product, whole and for each of them; a cent that does not divide is on the price."""
    full, former = (units * cents for cents in _full_and_former(product))
    currency = product.currency
    amounts = _amounts(offer, full, former, currency, locale)
    price = amounts.get("offer.price_cents", full)
    plain: Fields = {"offer.price_cents": full, "offer.price": money(full, currency, locale)}
    each = -(-int(price) // units)
    return plain | amounts | {"offer.units": grouped(units, locale), "offer.each": money(each, currency, locale)}


def _amounts(offer: Offer, full: int, former: int, currency: str, locale: str) -> Fields:
    """The price under an offer of what costs `full` without it, and what is saved, as numbers and as text.

    An offer that names no price of its own shows what a sale does: `former` is what it costs without the sale.
    """
    price = offer_price(offer, full)
    if price is None and former > full:
        price, full = full, former
    if price is None:
        return {}
    amounts = {"price": price}
    if full > price:
        amounts |= {"was": full, "saving": full - price}
    fields: Fields = {}
    for name, cents in amounts.items():
        fields[f"offer.{name}_cents"] = cents
        fields[f"offer.{name}"] = money(cents, currency, locale)
    return fields


def offer_price(offer: Offer, price_cents: int) -> int | None:
    """The price under an offer in minor units, never below 0; None where the offer names no price.

    A percentage is taken off exactly and rounded half up to the minor unit, in whole numbers, so no cent is lost to
    binary fractions.
    """
    price, percent, off = (offer.fields.get(name) for name in ("price_cents", "percent", "amount_off_cents"))
    if isinstance(price, int):
        return max(0, price)
    if isinstance(percent, int) and 0 <= percent <= 100:
        return (price_cents * (100 - percent) + 50) // 100
    if isinstance(off, int):
        return max(0, price_cents - off)
    return None
