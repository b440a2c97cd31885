"""Shopify's webhooks as Segment calls: orders, refunds, customers, products.

An order is told of by many topics, in any order and more than once. Its first sight is an Order Completed at the moment
it was placed; each later content an Order Updated at the moment of that content; refunds and the cancellation, which an
order's body repeats, go by their own ids. Contents are gross of refunds, so nothing is taken back twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from base.errors import InvalidInput
from signals.shopreading import (
    Bound,
    Buyer,
    Said,
    buyer,
    identify,
    lines,
    mapping,
    mark,
    mark_of,
    moment,
    money,
    number,
    objects,
    order_of,
    prices,
    quantity,
    text,
    told,
    track,
    units,
)  # fmt: skip
from signals.shops import Shop

ORDERS: Final = frozenset({
    "orders/create", "orders/updated", "orders/paid", "orders/fulfilled", "orders/partially_fulfilled",
    "orders/cancelled",
})  # fmt: skip
CUSTOMERS: Final = frozenset({"customers/create", "customers/update"})
PRODUCTS: Final = frozenset({"products/create", "products/update"})
_UNDER_WAY: Final = ("pending", "awaiting_response")
_GRANTED: Final = {"subscribed": True, "unsubscribed": False}


def read(topic: str, body: Mapping[str, Any], shop: Shop) -> Said | None:
    """What a call says; None for a topic that is not understood. Raises InvalidInput naming the field."""
    if topic in ORDERS:
        return _order(body, shop, is_new=topic == "orders/create")
    if topic == "orders/delete":
        return Said()  # Tidying up: what was bought stays bought, unless it is cancelled.
    if topic == "refunds/create":
        return Said(bound=_refund(body, order_of(shop, body.get("order_id"), "order_id"), ""))
    if topic in CUSTOMERS:
        return _customer(body, shop)
    if topic in PRODUCTS:
        return _product(body, shop)
    if topic == "customers/redact":
        return Said(erase=f"{shop.prefix}{number(mapping(body.get('customer')).get('id'), 'customer.id')}")
    return None


def _order(body: Mapping[str, Any], shop: Shop, *, is_new: bool) -> Said:
    order, own = order_of(shop, body.get("id"), "id"), number(body.get("id"), "id")
    if body.get("test") is True:
        return Said()
    placed, updated = moment(body.get("created_at"), "created_at"), moment(body.get("updated_at"), "updated_at")
    who = _buyer(mapping(body.get("customer")), body, shop, order)
    properties = _contents(body, order)
    first, later = f"shopify-order-{own}", f"shopify-order-{own}-{updated.isoformat()}-{mark(properties)}"
    said = Said(once={first})
    said.calls += identify(who, f"{first}-buyer-{updated.isoformat()}-{mark_of(who, shop)}", updated)
    said.calls.append(track(who, "Order Completed", first, placed, properties))
    # What is not its first word comes later, within the second in which it was placed too.
    if updated > placed or not is_new:
        said.bound.append(Bound(order, "Order Updated", properties, updated, later))
    for index, refund in enumerate(objects(body.get("refunds"), "refunds")):
        said.bound += _refund(refund, order, f"refunds[{index}].")
    if body.get("cancelled_at"):
        said.bound.append(_cancelled(order, body, f"{first}-cancelled"))
    return said


def _contents(body: Mapping[str, Any], order: str) -> dict[str, Any]:
    included = body.get("taxes_included") is True
    products: list[dict[str, Any]] = []
    for index, line in enumerate(objects(body.get("line_items"), "line_items")):
        path = f"line_items[{index}]."
        pieces = quantity(line.get("quantity"), f"{path}quantity")
        if pieces:
            paid = money(line.get("price"), f"{path}price") * pieces - _discount(line, path)
            if not included:
                paid += sum(money(tax.get("price"), f"{path}tax_lines") for tax in objects(line.get("tax_lines"), path))
            products += lines(_line(line), pieces, max(paid, Decimal(0)))
    coupons = [text(one.get("code")) for one in objects(body.get("discount_codes"), "discount_codes")]
    shipping = mapping(mapping(body.get("total_shipping_price_set")).get("shop_money")).get("amount")
    properties = {
        "order_id": order,
        "order_number": text(body.get("name")) or text(body.get("order_number")),
        "total": told(money(body.get("total_price"), "total_price")),
        "tax": told(money(body.get("total_tax") or "0", "total_tax")),
        "discount": told(money(body.get("total_discounts") or "0", "total_discounts")),
        "shipping": None if shipping is None else told(money(shipping, "total_shipping_price_set")),
        "currency": text(body.get("currency"), 3).upper(),
        "coupon": ", ".join(coupons)[:200],
        "products": products,
    }
    return {name: value for name, value in properties.items() if value not in (None, "")}


def _discount(line: Mapping[str, Any], path: str) -> Decimal:
    shares = objects(line.get("discount_allocations"), f"{path}discount_allocations")
    return sum((money(one.get("amount"), f"{path}discount_allocations") for one in shares), Decimal(0))


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    named = {"product_id": _key(line), "name": text(line.get("title")), "variant": text(line.get("variant_title")),
             "brand": text(line.get("vendor"))}  # fmt: skip
    return {name: value for name, value in named.items() if value}


def _key(line: Mapping[str, Any]) -> str:
    """By which products of feeds and lines of orders find each other: the SKU, else the variant."""
    return text(line.get("sku"), 64) or text(line.get("variant_id"), 64) or text(line.get("product_id"), 64)


def _refund(refund: Mapping[str, Any], order: str, path: str) -> list[Bound]:
    """What came back by a refund: nothing while its payments are under way, or if all of them failed. It is told once,
    so it waits for the order's next change to tell that they are settled. What is not restocked is money alone.
    """
    name, at = number(refund.get("id"), f"{path}id"), moment(refund.get("created_at"), f"{path}created_at")
    products: list[dict[str, Any]] = []
    reckoned = Decimal(0)
    for line in objects(refund.get("refund_line_items"), f"{path}refund_line_items"):
        pieces = quantity(line.get("quantity"), f"{path}refund_line_items.quantity")
        back = money(line.get("subtotal") or 0, f"{path}subtotal") + money(line.get("total_tax") or 0, f"{path}tax")
        reckoned += back
        if pieces and line.get("restock_type") != "no_restock":
            products.append(_line(mapping(line.get("line_item"))) | {"quantity": units(pieces)})
    payments = [
        one for one in objects(refund.get("transactions"), f"{path}transactions") if one.get("kind") == "refund"
    ]
    paid = [
        money(one.get("amount"), f"{path}transactions.amount")
        for one in payments
        if one.get("status") in (None, "success")
    ]
    is_unsettled = any(one.get("status") in _UNDER_WAY for one in payments) or bool(payments and not paid)
    total = sum(paid, Decimal(0)) if paid else reckoned
    if is_unsettled or not (products or total):
        return []
    properties: dict[str, Any] = {"order_id": order, "refund_id": name, "products": products}
    if total:
        properties["total"] = told(total)
    if not products:
        del properties["products"]
    return [Bound(order, "Order Refunded", properties, at, f"shopify-refund-{name}")]


def _cancelled(order: str, body: Mapping[str, Any], name: str) -> Bound:
    at = moment(body.get("cancelled_at"), "cancelled_at")
    properties = {"order_id": order, "reason": text(body.get("cancel_reason"))}
    return Bound(order, "Order Cancelled", properties, at, name)


def _buyer(customer: Mapping[str, Any], order: Mapping[str, Any], shop: Shop, name: str) -> Buyer:
    address = mapping(order.get("billing_address")) or mapping(customer.get("default_address"))
    traits = {
        "email": text(order.get("email")) or text(customer.get("email")),
        "phone": text(order.get("phone")) or text(customer.get("phone")),
        "firstName": text(customer.get("first_name")) or text(address.get("first_name")),
        "lastName": text(customer.get("last_name")) or text(address.get("last_name")),
        "address": _address(address),
    }
    return buyer(shop, text(customer.get("id")), traits, name)


def _address(address: Mapping[str, Any]) -> dict[str, str]:
    parts = {
        "street": f"{text(address.get('address1'))} {text(address.get('address2'))}".strip(),
        "city": text(address.get("city")),
        "postalCode": text(address.get("zip")),
        "country": text(address.get("country_code")) or text(address.get("country")),
    }
    return {name: value for name, value in parts.items() if value}


def _customer(body: Mapping[str, Any], shop: Shop) -> Said:
    customer, updated = number(body.get("id"), "id"), moment(body.get("updated_at"), "updated_at")
    who = _buyer(body, {}, shop, customer)
    name = f"shopify-customer-{customer}-{updated.isoformat()}"
    said = Said(calls=identify(who, f"{name}-{mark_of(who, shop)}", updated))
    consent = mapping(body.get("email_marketing_consent"))
    granted = _GRANTED.get(text(consent.get("state")))
    if granted is not None and consent.get("consent_updated_at"):
        at = moment(consent["consent_updated_at"], "email_marketing_consent.consent_updated_at")
        properties = {"purpose": "email", "granted": granted, "via": "Shopify"}
        stated = f"shopify-consent-{customer}-{at.isoformat()}-{granted}"
        said.calls.append(track(who, "Consent Changed", stated, at, properties))
    return said


def _product(body: Mapping[str, Any], shop: Shop) -> Said:
    return Said(items=list(_variants(body, shop)), items_at=moment(body.get("updated_at"), "updated_at"))


def _variants(body: Mapping[str, Any], shop: Shop) -> Iterator[dict[str, Any]]:
    title, variants = text(body.get("title"), 500), objects(body.get("variants"), "variants")
    if not title:
        raise InvalidInput("title", "must be given")
    for index, variant in enumerate(variants):
        named, path = text(variant.get("title")), f"variants[{index}]."
        price, former = money(variant.get("price"), f"{path}price"), variant.get("compare_at_price")
        item: dict[str, Any] = {
            "id": _key({"sku": variant.get("sku"), "variant_id": variant.get("id")}),
            "title": title if named in ("", "Default Title") else f"{title}, {named}",
            "product_type": text(body.get("product_type")),
            "brand": text(body.get("vendor")),
            "item_group_id": text(body.get("id")),
            "image_link": text(mapping(body.get("image")).get("src"), 2_000),
        }
        item |= prices(price, former, f"{path}compare_at_price", shop.currency)
        if variant.get("inventory_management") and isinstance(variant.get("inventory_quantity"), int):
            item["quantity"] = max(0, variant["inventory_quantity"])
        yield {name: value for name, value in item.items() if value != ""}
