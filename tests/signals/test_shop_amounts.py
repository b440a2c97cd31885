"""What shops say came back of an order, and what a product cost before."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest

from signals.shopreading import lines
from tests.signals.shopbodies import SHOPIFY_ORDER, SHOPIFY_PRODUCT, SHOPIFY_REFUND, WOO_PRODUCT, like
from tests.signals.shopcalls import Shops


@pytest.mark.parametrize("turn", [1, -1])
def test_a_refund_counts_once_its_payments_are_settled(shops: Shops, turn: int) -> None:
    """By the order's next change, which repeats it; one that failed paid nothing back, and a refund of none did."""
    once, again = SHOPIFY_REFUND["transactions"]
    shops.told("shopify", "orders/create", SHOPIFY_ORDER)
    for payments in (
        [again],
        [again | {"status": "pending"}],
        [once | {"status": "error"}, again],
        [again, once | {"status": "pending"}],
    ):
        shops.told("shopify", "refunds/create", like(SHOPIFY_REFUND, transactions=payments))
        assert shops.state("7209846112447").order_cents == 10490, payments
    assert "Order Refunded" not in dict(shops.events())
    settled = [like(SHOPIFY_REFUND, transactions=[again, once]), like(SHOPIFY_REFUND, transactions=[again])]
    for number, refund in enumerate(settled[::turn]):
        later = like(SHOPIFY_ORDER, updated_at=f"2026-03-01T11:00:0{number}+01:00", refunds=[refund])
        shops.told("shopify", "orders/updated", later)
    assert shops.state("7209846112447").order_cents == 10490 - 2667
    bare = like(SHOPIFY_REFUND, id=2)
    del bare["transactions"]
    for number, refund in enumerate((like(SHOPIFY_REFUND, id=1, transactions=[]), bare), 1):
        shops.told("shopify", "refunds/create", refund)
        assert shops.state("7209846112447").order_cents == 10490 - 2667 * (number + 1)


def test_goods_that_are_not_restocked_stay_with_who_was_paid_for_them(shops: Shops) -> None:
    shops.told("shopify", "orders/create", SHOPIFY_ORDER)
    before = shops.state("7209846112447").recent
    for number, restocked in enumerate(("no_restock", "return"), 1):
        back = like(SHOPIFY_REFUND, id=number)
        back["refund_line_items"][0]["restock_type"] = restocked
        shops.told("shopify", "refunds/create", back)
        state = shops.state("7209846112447")
        assert state.order_cents == 10490 - 2667 * number
        assert (state.recent == before) == (restocked == "no_restock")


def test_a_price_below_the_former_one_is_a_sale_until_it_is_told_without(shops: Shops) -> None:
    cut = like(SHOPIFY_PRODUCT, updated_at="2026-03-01T08:10:00+01:00")
    for variant, former in zip(cut["variants"], ("45.00", "0.00"), strict=True):
        variant["compare_at_price"] = former
    ended = like(SHOPIFY_PRODUCT, updated_at="2026-03-01T08:20:00+01:00")
    ended["variants"][0] |= {"price": "45.00", "compare_at_price": None}
    variable = like(WOO_PRODUCT, regular_price="", date_modified_gmt="2026-03-01T07:30:00")
    seen = "SELECT id, price_cents, sale_cents FROM product ORDER BY id"
    shops.told("woocommerce", "product.updated", WOO_PRODUCT)
    shops.told("shopify", "products/update", cut)
    assert shops.desk.rows(seen) == [("POLE", 2400, 2000), ("RUN-42", 4500, 3000), ("RUN-43", 3250, None)]
    shops.told("woocommerce", "product.updated", variable)
    shops.told("shopify", "products/update", ended)
    assert shops.desk.rows(seen) == [("POLE", 2000, None), ("RUN-42", 4500, None), ("RUN-43", 3250, None)]
    unread = like(variable, id=94, sku="B", regular_price="dear")
    assert shops.told("woocommerce", "product.updated", unread) == "unreadable"


def test_lines_of_parts_of_units_come_to_what_was_paid_to_the_cent() -> None:
    """1.25 for 38.57 was 0.5 at 30.85 and 0.75 at 30.86: both half a cent more, and both rounded up."""
    for quantity, paid in (("1.25", "38.57"), ("2.5", "0.03"), ("0.333", "10.00"), ("1.5", "20000.01"), ("3", "10.00")):
        told = [*lines({}, Decimal(quantity), Decimal(paid))]
        cents = [
            (Decimal(str(one["price"])) * 100 * Decimal(str(one["quantity"]))).to_integral_value(ROUND_HALF_UP)
            for one in told
        ]
        assert sum(cents) == Decimal(paid) * 100, (quantity, paid)
        assert sum(Decimal(str(one["quantity"])) for one in told) == Decimal(quantity)
