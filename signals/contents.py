"""What a call says about things, held against the e-commerce spec: orders, products, consent, contacts.

Only what we act on is checked; whatever else a shop sends along is kept as it is. Refusals are InvalidInput with the
path of the field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from base.errors import InvalidInput
from signals.foldevent import MAX_CENTS, MAX_ID, Kind, cents_of, product_id, trait_name
from signals.measures import MAX_QUANTITY

PRODUCTS: Final = 500
TEXT_LENGTH: Final = 200
MOST: Final = MAX_CENTS / 100

ORDER_KINDS: Final[frozenset[Kind]] = frozenset({"order", "order_update", "refund", "cancel"})
MESSAGES: Final = ("email", "sms", "push")
"""Purposes that are channels: being written to by mail, by text messages, by messages to one's devices."""

PURPOSES: Final = ("email", "tracking", "profiling", "advertising", "sms", "push")
"""What consent can be given for; advertising is being named, hashed, to advertising channels."""

REFUSABLE: Final = ("tracking", "profiling")
"""Purposes whose refusal keeps behaviour out of the intake and turns every decision into the default."""

STRONG_TRAITS: Final = ("email", "phone", "loyalty_id")
"""Traits that name a person, as `trait_name` spells them."""


def check_properties(kind: Kind, properties: Mapping[str, Any]) -> None:
    """The properties of a `track` call of this kind. Raises InvalidInput."""
    if kind in ORDER_KINDS:
        order_id(properties)
    for field in ("total", "revenue", "value"):
        amount(properties.get(field), f"properties.{field}")
    if "products" in properties:
        _check_products(properties["products"])
    if "product_id" in properties or "quantity" in properties:
        _check_product(properties, "properties")
    if kind == "refund":
        _check_refund(properties)
    if kind == "consent":
        _check_consent(properties)


def order_id(properties: Mapping[str, Any]) -> str:
    """The id of the order a call is about. Raises InvalidInput when there is none."""
    value = properties.get("order_id", properties.get("orderId"))
    if value is None:
        raise InvalidInput("properties.order_id", "must be given")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidInput("properties.order_id", "must be text or a whole number")
    if not 0 < len(str(value)) <= MAX_ID:
        raise InvalidInput("properties.order_id", f"must have 1 to {MAX_ID} characters")
    return str(value)


def amount(value: object, path: str) -> float | None:
    """A number that is not negative. Discounts are given as such, returns as events of their own."""
    if value is None:
        return None
    if isinstance(value, str):
        # The spec wants numbers; shops send "19.90" all the same, and it can mean one thing only.
        try:
            value = float(value)
        except ValueError:
            raise InvalidInput(path, "must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(path, "must be a number")
    # A whole number may be too long to become a fraction, so only fractions are asked.
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(path, "must be a number")
    if not 0 <= value <= MOST:
        raise InvalidInput(path, "must not be negative nor absurdly large")
    return float(value)


def _check_refund(properties: Mapping[str, Any]) -> None:
    """A refund of no money tells which products came back, or it tells of nothing; without a total it is of all."""
    told = next((field for field in ("total", "revenue", "value") if properties.get(field) is not None), None)
    names = properties.get("products") or product_id(properties) or properties.get("category")
    if told is not None and not names and cents_of(properties[told]) == 0:
        raise InvalidInput(f"properties.{told}", "must be more than 0 where no products are named")


def check_traits(traits: Mapping[str, Any]) -> None:
    """The traits of an `identify` call. Raises InvalidInput."""
    for field, value in strong_traits(traits):
        if isinstance(value, str):
            continue
        if trait_name(field) != "loyalty_id":
            raise InvalidInput(f"traits.{field}", "must be text")
        if type(value) is not int:
            raise InvalidInput(f"traits.{field}", "must be text or a whole number")


def strong_traits(traits: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those of the traits that name a person, however they are spelt, and what they say."""
    for field, value in traits.items():
        if value is not None and trait_name(field) in STRONG_TRAITS:
            yield field, value


def _check_products(products: object) -> None:
    if products is None:
        return
    if not isinstance(products, list):
        raise InvalidInput("properties.products", "must be a list")
    if len(products) > PRODUCTS:
        raise InvalidInput("properties.products", f"may have at most {PRODUCTS} entries")
    for index, product in enumerate(products):
        if not isinstance(product, dict):
            raise InvalidInput(f"properties.products[{index}]", "must be an object")
        # The common case costs four look-ups: an id as text, a price and, if there is one, a quantity as numbers.
        price, quantity = product.get("price"), product.get("quantity")
        if (
            type(product.get("product_id")) is str
            and (quantity is None or (type(quantity) is int and 0 <= quantity <= MAX_QUANTITY))
            and (type(price) is float or type(price) is int)
            and 0 <= price <= MOST
            and len(product["product_id"]) <= TEXT_LENGTH
            and type(product.get("category", "")) is str
        ):
            continue
        _check_product(product, f"properties.products[{index}]")


def _check_product(product: Mapping[str, Any], path: str) -> None:
    for field in ("product_id", "sku", "category", "name"):
        value = product.get(field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInput(f"{path}.{field}", "must be text")
        if len(str(value)) > TEXT_LENGTH:
            raise InvalidInput(f"{path}.{field}", f"may have at most {TEXT_LENGTH} characters")
    amount(product.get("price"), f"{path}.price")
    quantity = amount(product.get("quantity"), f"{path}.quantity")
    if quantity is not None and quantity > MAX_QUANTITY:
        raise InvalidInput(f"{path}.quantity", f"must be at most {MAX_QUANTITY}")


def _check_consent(properties: Mapping[str, Any]) -> None:
    """One purpose with `granted`, or several in `consents`; a word that could be read either way is no consent."""
    many = properties.get("consents")
    if many is None:
        said = [(properties.get("purpose"), properties.get("granted"), "properties.granted")]
    elif isinstance(many, dict):
        said = [(purpose, granted, f"properties.consents.{purpose}") for purpose, granted in many.items()]
    else:
        raise InvalidInput("properties.consents", "must be an object of purpose: true or false")
    for purpose, granted, path in said:
        if purpose not in PURPOSES:
            raise InvalidInput("properties.purpose", f"must be one of {', '.join(PURPOSES)}")
        if not isinstance(granted, bool):
            raise InvalidInput(path, "must be true or false")
