"""WooCommerce's webhooks as Segment calls: orders with their refunds, customers, products.

WooCommerce tells of an order again whenever it changes, whole. It counts while its newest status says that it is
placed; refunds are repeated in the order's body by their own ids, as amounts without lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from signals.foldevent import STANDS
from signals.shopreading import (
    Bound,
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
)  # fmt: skip
from signals.shops import Shop

ORDERS: Final = frozenset({"order.created", "order.updated", "order.restored"})
CUSTOMERS: Final = frozenset({"customer.created", "customer.updated"})
PRODUCTS: Final = frozenset({"product.created", "product.updated", "product.restored"})
PLACED: Final = frozenset({"on-hold", "processing", "completed", "refunded"})
ENDED: Final = frozenset({"cancelled", "failed"})


def read(topic: str, body: Mapping[str, Any], shop: Shop) -> Said | None:
    """What a call says; None for a topic that is not understood. Raises InvalidInput naming the field."""
    if topic in ORDERS:
        return _order(body, shop, is_new=topic == "order.created")
    if topic == "order.deleted":
        return Said()  # Tidying up: what was bought stays bought, unless it is cancelled.
    if topic in CUSTOMERS:
        return _customer(body, shop)
    if topic in PRODUCTS:
        return _product(body, shop)
    return None


def _order(body: Mapping[str, Any], shop: Shop, *, is_new: bool) -> Said:
    order, first = order_of(shop, body.get("id"), "id"), f"woocommerce-order-{number(body.get('id'), 'id')}"
    status = text(body.get("status"))
    placed = moment(body.get("date_created_gmt"), "date_created_gmt")
    changed = moment(body.get("date_modified_gmt"), "date_modified_gmt")
    if status in ENDED:
        name = f"{first}-{status}-{changed.isoformat()}"
        return Said(bound=[Bound(order, "Order Cancelled", {"order_id": order}, changed, name)])
    if status not in PLACED:
        return Said()
    billing = mapping(body.get("billing"))
    customer = text(body.get("customer_id"))
    who = buyer(shop, "" if customer == "0" else customer, _traits(billing), order)
    properties = _contents(body, order)
    said = Said(once={first})
    said.calls += identify(who, f"{first}-buyer-{changed.isoformat()}-{mark_of(who, shop)}", changed)
    said.calls.append(track(who, "Order Completed", first, placed, properties))
    # What is not its first word comes later, within the second in which it was placed too.
    if changed > placed or not is_new:
        # A shop cancels what is not paid in time, and takes it up again when the money comes.
        stands = properties | {"order_status": STANDS}
        later = f"{first}-{changed.isoformat()}-{mark(properties)}"
        said.bound.append(Bound(order, "Order Updated", stands, changed, later))
    for index, refund in enumerate(objects(body.get("refunds"), "refunds")):
        name = number(refund.get("id"), f"refunds[{index}].id")
        back = abs(money(refund.get("total"), f"refunds[{index}].total"))
        if back:
            given: dict[str, Any] = {"order_id": order, "refund_id": name, "total": told(back)}
            said.bound.append(Bound(order, "Order Refunded", given, changed, f"woocommerce-refund-{name}"))
    return said


def _contents(body: Mapping[str, Any], order: str) -> dict[str, Any]:
    products: list[dict[str, Any]] = []
    for index, line in enumerate(objects(body.get("line_items"), "line_items")):
        path = f"line_items[{index}]."
        pieces = quantity(line.get("quantity"), f"{path}quantity")
        if pieces:
            paid = money(line.get("total"), f"{path}total") + money(line.get("total_tax") or "0", f"{path}total_tax")
            named = {"product_id": _key(line), "name": text(line.get("name"))}
            products += lines({name: value for name, value in named.items() if value}, pieces, max(paid, Decimal(0)))
    coupons = [text(one.get("code")) for one in objects(body.get("coupon_lines"), "coupon_lines")]
    properties = {
        "order_id": order,
        "order_number": text(body.get("number")),
        "total": told(money(body.get("total"), "total")),
        "tax": told(money(body.get("total_tax") or "0", "total_tax")),
        "shipping": told(money(body.get("shipping_total") or "0", "shipping_total")),
        "discount": told(money(body.get("discount_total") or "0", "discount_total")),
        "currency": text(body.get("currency"), 3).upper(),
        "coupon": ", ".join(coupons)[:200],
        "products": products,
    }
    return {name: value for name, value in properties.items() if value != ""}


def _key(line: Mapping[str, Any]) -> str:
    variation = text(line.get("variation_id"), 64)
    return text(line.get("sku"), 64) or ("" if variation == "0" else variation) or text(line.get("product_id"), 64)


def _traits(billing: Mapping[str, Any]) -> dict[str, Any]:
    address = {
        "street": f"{text(billing.get('address_1'))} {text(billing.get('address_2'))}".strip(),
        "city": text(billing.get("city")),
        "postalCode": text(billing.get("postcode")),
        "country": text(billing.get("country")),
    }
    return {
        "email": text(billing.get("email")),
        "phone": text(billing.get("phone")),
        "firstName": text(billing.get("first_name")),
        "lastName": text(billing.get("last_name")),
        "address": {name: value for name, value in address.items() if value},
    }


def _customer(body: Mapping[str, Any], shop: Shop) -> Said:
    customer = number(body.get("id"), "id")
    changed = moment(body.get("date_modified_gmt") or body.get("date_created_gmt"), "date_modified_gmt")
    traits = _traits(mapping(body.get("billing")))
    for name, field in (("email", "email"), ("firstName", "first_name"), ("lastName", "last_name")):
        traits[name] = text(body.get(field)) or traits[name]
    who = buyer(shop, customer, traits, customer)
    name = f"woocommerce-customer-{customer}-{changed.isoformat()}-{mark_of(who, shop)}"
    return Said(calls=identify(who, name, changed))


def _product(body: Mapping[str, Any], shop: Shop) -> Said:
    """A product; one without a price of its own (its variations have theirs) says nothing."""
    changed = moment(body.get("date_modified_gmt"), "date_modified_gmt")
    if text(body.get("price")) == "" or text(body.get("status")) not in ("", "publish"):
        return Said()
    categories = [text(one.get("name")) for one in objects(body.get("categories"), "categories")]
    images = [text(one.get("src"), 2_000) for one in objects(body.get("images"), "images")]
    item: dict[str, Any] = {
        "id": text(body.get("sku"), 64) or number(body.get("id"), "id"),
        "title": text(body.get("name"), 500),
        "product_type": categories[0] if categories else "",
        "item_group_id": text(body.get("parent_id")) if body.get("parent_id") else "",
        "link": text(body.get("permalink"), 2_000),
        "image_link": images[0] if images else "",
        "availability": "in_stock" if body.get("stock_status") == "instock" else "out_of_stock",
    }
    item |= prices(money(body.get("price"), "price"), body.get("regular_price"), "regular_price", shop.currency)
    if body.get("manage_stock") is True and isinstance(body.get("stock_quantity"), int):
        item["quantity"] = max(0, body["stock_quantity"])
    return Said(items=[{name: value for name, value in item.items() if value != ""}], items_at=changed)
