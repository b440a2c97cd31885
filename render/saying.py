"""What an offer says to a person at one instant: the fields of `render.fields`, and those that only an open knows.

Beside those of `render.tactics` they are

| field | what |
|---|---|
| `product.buyers` | people who bought the product in the counted time, as people of the locale write numbers |
| `product.also_bought` | of a product picked as also bought: people who bought it and what spoke for it |

A count is there only where at least `LEAST_PEOPLE` stand behind it and where it is recent; a text that reads one can
leave itself out where it is absent: `{% if product.buyers %}bought by {{ product.buyers }} people{% endif %}`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from render.eligibility import Situation
from render.fields import Fields, offer_fields
from render.money import grouped
from render.plan import Offer
from render.relations import LEAST_PEOPLE
from render.tactics import tactics
from signals.productfacts import ProductFacts


def fields_at(at: Situation, offer: Offer, beside: Sequence[ProductFacts]) -> Fields:
    """What the offer's creative may bind now. `offer` is as `Situation.offer` gives it, `beside` its products.

    Of several products the first that is shown is the one that `product.*` tells of.
    """
    if beside and offer.product not in (None, beside[0].id):
        offer = replace(offer, product=beside[0].id)
    product = at.facts.products.get(offer.product) if offer.product is not None else None
    fresh, locale = product is not None and at.is_fresh(product), at.facts.locale or at.plan.locale
    known = _counts(at, offer, locale) | tactics(at, offer, product, locale)
    return offer_fields(at.plan, offer, product, at.plain, locale, fresh, beside, known)


def _counts(at: Situation, offer: Offer, locale: str) -> Fields:
    """How many people bought what is shown, where that may be told."""
    relations = at.facts.relations
    if relations is None or offer.product is None or not relations.tells_at(at.now_ms):
        return {}
    counts = {"buyers": relations.buyers(offer.product)}
    chosen = at.picked(offer)
    if chosen is not None and offer.pick is not None and offer.pick.how == "also-bought":
        counts["also_bought"] = chosen.people
    return {f"product.{name}": grouped(people, locale) for name, people in counts.items() if people >= LEAST_PEOPLE}
