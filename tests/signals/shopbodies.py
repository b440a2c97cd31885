"""What shops post, in the shape of their public API documentation; the people and goods are made up."""

from __future__ import annotations

import copy
from typing import Any

SHOPIFY_ORDER: dict[str, Any] = {
    "id": 5304182735103, "admin_graphql_api_id": "gid://shopify/Order/5304182735103", "name": "#1042",
    "order_number": 1042, "email": "ida@example.com", "phone": None, "test": False, "confirmed": True,
    "created_at": "2026-03-01T09:30:00+01:00", "updated_at": "2026-03-01T09:30:00+01:00", "cancelled_at": None,
    "cancel_reason": None, "currency": "EUR", "presentment_currency": "EUR", "taxes_included": True,
    "financial_status": "paid", "fulfillment_status": None, "total_price": "104.90", "subtotal_price": "100.00",
    "total_line_items_price": "110.00", "total_discounts": "10.00", "total_tax": "17.48",
    "total_shipping_price_set": {"shop_money": {"amount": "4.90", "currency_code": "EUR"}},
    "discount_codes": [{"code": "SPRING", "amount": "10.00", "type": "fixed_amount"}],
    "customer": {
        "id": 7209846112447, "email": "ida@example.com", "first_name": "Ida", "last_name": "Berg", "phone": None,
        "state": "enabled", "default_address": {"city": "Linz", "country_code": "AT"},
    },
    "billing_address": {
        "first_name": "Ida", "last_name": "Berg", "address1": "Hauptplatz 7", "address2": "Top 3", "city": "Linz",
        "zip": "4020", "country": "Austria", "country_code": "AT", "phone": None,
    },
    "line_items": [
        {
            "id": 13840026632383, "product_id": 8301188350143, "variant_id": 45128804991167, "sku": "RUN-42",
            "title": "Road Runner", "variant_title": "42", "vendor": "Strider", "quantity": 3, "price": "30.00",
            "discount_allocations": [{"amount": "10.00", "discount_application_index": 0}], "tax_lines": [],
        },
        {
            "id": 13840026665151, "product_id": 8301188382911, "variant_id": 45128805023935, "sku": None,
            "title": "Wool Socks", "variant_title": None, "vendor": "Strider", "quantity": 2, "price": "10.00",
            "discount_allocations": [], "tax_lines": [],
        },
    ],
    "refunds": [],
}  # fmt: skip
SHOPIFY_REFUND: dict[str, Any] = {
    "id": 929361462463, "order_id": 5304182735103, "created_at": "2026-03-01T11:00:00+01:00", "note": "too small",
    "restock": True,
    "refund_line_items": [
        {
            "id": 391052558527, "line_item_id": 13840026632383, "quantity": 1, "subtotal": 26.67, "total_tax": 0.0,
            "line_item": {"id": 13840026632383, "sku": "RUN-42", "variant_id": 45128804991167, "title": "Road Runner"},
        }
    ],
    "transactions": [
        {"id": 6812, "kind": "refund", "status": "success", "amount": "26.67", "currency": "EUR"},
        {"id": 6811, "kind": "refund", "status": "failure", "amount": "26.67", "currency": "EUR"},
    ],
}  # fmt: skip
SHOPIFY_CUSTOMER: dict[str, Any] = {
    "id": 7209846112447, "email": "ida@example.com", "first_name": "Ida", "last_name": "Berg",
    "phone": "+436601112223", "created_at": "2026-01-05T10:00:00+01:00", "updated_at": "2026-03-01T12:00:00+01:00",
    "default_address": {"address1": "Hauptplatz 7", "city": "Linz", "zip": "4020", "country_code": "AT"},
    "email_marketing_consent": {
        "state": "subscribed", "opt_in_level": "single_opt_in", "consent_updated_at": "2026-03-01T11:59:00+01:00",
    },
}  # fmt: skip
SHOPIFY_PRODUCT: dict[str, Any] = {
    "id": 8301188350143, "title": "Road Runner", "vendor": "Strider", "product_type": "Running Shoes",
    "handle": "road-runner", "updated_at": "2026-03-01T08:00:00+01:00", "status": "active",
    "image": {"src": "https://cdn.example.com/runner.jpg"},
    "variants": [
        {"id": 45128804991167, "title": "42", "sku": "RUN-42", "price": "30.00", "inventory_management": "shopify",
         "inventory_quantity": 4},
        {"id": 45128804991168, "title": "43", "sku": "RUN-43", "price": "32.50", "inventory_management": None,
         "inventory_quantity": -2},
    ],
}  # fmt: skip
WOO_ORDER: dict[str, Any] = {
    "id": 727, "parent_id": 0, "number": "727", "status": "processing", "currency": "EUR", "version": "8.6.1",
    "date_created_gmt": "2026-03-01T08:30:00", "date_modified_gmt": "2026-03-01T08:30:00", "customer_id": 26,
    "total": "54.80", "total_tax": "9.13", "shipping_total": "4.00", "discount_total": "5.00",
    "billing": {
        "first_name": "Jon", "last_name": "Maier", "address_1": "Ring 1", "address_2": "", "city": "Graz",
        "postcode": "8010", "country": "AT", "email": "jon@example.com", "phone": "+43 660 555 66 77",
    },
    "line_items": [
        {"id": 315, "name": "Hiking Poles", "product_id": 93, "variation_id": 0, "quantity": 2, "sku": "POLE",
         "subtotal": "40.00", "total": "35.00", "total_tax": "7.00", "price": 17.5},
        {"id": 316, "name": "Map", "product_id": 94, "variation_id": 188, "quantity": 1, "sku": "",
         "subtotal": "7.33", "total": "7.33", "total_tax": "1.47", "price": 7.33},
    ],
    "coupon_lines": [{"id": 1, "code": "five", "discount": "5.00"}],
    "refunds": [],
}  # fmt: skip
WOO_CUSTOMER: dict[str, Any] = {
    "id": 26, "date_created_gmt": "2026-02-01T08:00:00", "date_modified_gmt": "2026-02-02T08:00:00",
    "email": "jon@example.com", "first_name": "Jon", "last_name": "Maier", "username": "jon", "role": "customer",
    "billing": {"first_name": "", "last_name": "", "city": "Graz", "country": "AT", "email": "", "phone": ""},
}  # fmt: skip
WOO_PRODUCT: dict[str, Any] = {
    "id": 93, "name": "Hiking Poles", "status": "publish", "type": "simple", "sku": "POLE", "price": "20.00",
    "regular_price": "24.00", "sale_price": "20.00", "stock_status": "instock", "manage_stock": True,
    "stock_quantity": 12, "parent_id": 0, "permalink": "https://shop.example.com/poles",
    "date_modified_gmt": "2026-03-01T07:00:00", "categories": [{"id": 9, "name": "Hiking", "slug": "hiking"}],
    "images": [{"id": 7, "src": "https://shop.example.com/poles.jpg"}],
}  # fmt: skip


def like(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A body of its own with these changes."""
    return copy.deepcopy(body) | changes
