"""The profit guard: customers who lose money in four ways, left out or offered nothing more, and what that saves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from base.blobs import blobs_from
from campaigns import goals, worth
from campaigns.erasure import erase_person
from campaigns.guardreport import GuardReport, guard_report
from campaigns.worth import WorthTerms, worths
from signals import exchange
from signals.exchange import Given
from tests.campaigns.shop import MANAGER, Shop
from tests.damage import damaged_signal
from tests.workers.customers import order
from tests.workers.opens import Opens
from tests.workers.test_paths import hero, said, shown
from workers.scoring import Scorer

DAY = timedelta(days=1)
TERMS = WorthTerms(margin=0.35, contact_cents=600, return_cents=1500)
NAMES = ("service", "returns", "discount", "spending", "good")


def lives(shop: Shop) -> list[dict[str, Any]]:
    """A year of five customers; each of the first four trips one flag, the last buys as much as they do."""
    calls: list[dict[str, Any]] = []
    for name in NAMES:
        for quarter in range(4):
            at = shop.now - (350 - 91 * quarter) * DAY
            kinds = ("Shoes", "Socks") if quarter < 2 or name != "spending" else ("Shoes", "Socks", "Gels", "Tents")
            price = 100 / len(kinds)
            sold = order(name, at, price, *kinds)
            if name == "discount":
                sold["properties"] |= {"discount": 60, "coupon": "ALWAYS"}
            calls.append(sold)
            if name == "returns" and quarter:
                number = sold["properties"]["order_id"]
                calls.append(said(name, "Order Refunded", order_id=number) | {"timestamp": (at + DAY).isoformat()})
    for number in range(30):
        at = shop.now - (number + 1) * DAY
        told = said("service", "Call Note Added", text="Again.") if number % 2 else said("service", "Complaint Opened")
        calls.append(told | {"timestamp": at.isoformat()})
    return [*calls, said("service", "Complaint Closed") | {"timestamp": (shop.now - DAY / 2).isoformat()}]


def scored(shop: Shop, terms: WorthTerms = TERMS) -> dict[str, list[str]]:
    """Say what things cost and run the scores; the flags of each customer."""
    with shop.sessions.begin() as session:
        worth.set_terms(session, terms, shop.now, MANAGER)
    Scorer(shop.intake, blobs_from(shop.settings), shop.clock).run(shop.now, "test")
    names = {number: name for name, number in shop.known().items()}
    with shop.sessions.begin() as session:
        assert worth.terms(session) == terms
        return {names[one.root]: sorted(one.flags(terms)) for one in worths(session, list(names), shop.now)}


def after_erasures(opens: Opens, *names: str) -> GuardReport:
    """What the guard did, once these customers are erased."""
    for name in names:
        erase_person(opens.shop.intake, opens.shop.blobs, opens.shop.profile(name), opens.shop.now, MANAGER)
    with opens.shop.sessions.begin() as session:
        return guard_report(session, opens.campaign)


def test_it_reckons_the_year_in_the_own_currency_at_each_orders_own_rate(opens: Opens) -> None:
    shop = opens.shop
    people = shop.people("ann", "bob", "cleo")
    with shop.sessions.begin() as session:
        exchange.set_own(session, "EUR", shop.now)
        early, late = ((shop.now - days * DAY).date().isoformat() for days in (300, 50))
        rows = ["currency,day,rate", f"USD,{early},0.5", f"USD,{late},0.8"]
        exchange.give(session, list(exchange.read_rates(rows, "EUR", Given())), "EUR", Given())
    first, second = shop.now - 250 * DAY, shop.now - 40 * DAY
    back = {"timestamp": (shop.now - DAY).isoformat()}
    shop.send(
        order("ann", first, 100, "Shoes", currency="usd", discount=10),
        order("ann", second, 100, "Shoes", currency="USD"),
        said("ann", "Order Refunded", order_id=f"ann-{first.isoformat()}", total=60) | back,
        said("ann", "Order Refunded", order_id=f"ann-{second.isoformat()}", total=40, currency="EUR") | back,
        order("bob", first, 100, "Shoes", currency="CHF", discount=10),
        order("bob", second, 100, "Shoes", currency="EUR"),
        said("bob", "Order Refunded", order_id=f"bob-{second.isoformat()}", total=100, currency="CHF") | back,
        order("cleo", first, 100, "Shoes", discount=10),
        said("cleo", "Order Refunded", order_id=f"cleo-{first.isoformat()}") | back,
    )
    with shop.sessions.begin() as session:
        found = {one.root: one for one in worths(session, people, shop.now)}
    ann, bob, cleo = (found[person] for person in people)
    assert (ann.orders, ann.sold, ann.discount, ann.back) == (2, 5_000 + 8_000, 500, 3_000 + 4_000)
    assert (ann.early, ann.late) == (5_000, 8_000)
    assert (bob.orders, bob.sold, bob.discount, bob.discounted, bob.back) == (2, 10_000, 0, 1, 0)
    assert (cleo.sold, cleo.discount, cleo.back) == (10_000, 1_000, 10_000)


@pytest.mark.feature("CM-07", "SU-13")
def test_it_leaves_out_who_trips_a_flag_with_that_reason_and_tells_the_loss_avoided(opens: Opens) -> None:
    shop = opens.shop
    shop.people(*NAMES)
    shop.send(*lives(shop))
    assert scored(shop) == {name: [name] if name != "good" else [] for name in NAMES}
    offer = shop.offer("cross-sell")
    mails = opens.send_campaign(slots=hero(opens, offer), guard="audience")
    assert set(mails) == {"good"}
    names = {number: name for name, number in shop.known().items()}
    told = {names[row.profile_id]: row.reason for row in shop.ledger(opens.campaign)}
    assert told == {name: f"flag_{name}" for name in NAMES if name != "good"} | {"good": None}
    assert shown(opens, mails["good"]) == offer
    with shop.sessions.begin() as session:
        goals.name_goal(session, opens.campaign, "orders", 28, shop.now, MANAGER)
        report = guard_report(session, opens.campaign)
    # By hand, from the raw rows, in cents: 35 % of the full price, 6.00 a contact, 15.00 a return.
    lost = {
        "service": 30 * 600 - 0.35 * 40_000,
        "returns": 3 * 1500 - 0.35 * 10_000,
        "discount": 4 * 6_000 - 0.35 * (40_000 + 4 * 6_000),
        "spending": -0.35 * 40_000,
    }
    assert {line.flag: (line.left_out, line.withheld) for line in report.lines} == dict.fromkeys(lost, (1, 0))
    assert {line.flag: line.lost for line in report.lines} == {
        flag: max(0, round(cents)) for flag, cents in lost.items()
    }
    assert report.avoided == sum(round(max(0, cents) * 28 / 364) for cents in lost.values()) > 0
    assert after_erasures(opens, "service", "discount") == report


def test_a_damaged_refund_keeps_nobody_from_their_scores_the_report_and_an_erasure(opens: Opens) -> None:
    shop = opens.shop
    shop.people(*NAMES)
    shop.send(*lives(shop))
    scored(shop)
    opens.send_campaign(slots=hero(opens, shop.offer("cross-sell")), guard="audience")
    returns = shop.profile("returns")
    with damaged_signal(shop.sessions, returns):
        shop.clock.advance(timedelta(days=1))
        scored(shop)
        newest = opens.rows("SELECT profile_id, max(as_of) AS at FROM profile_score GROUP BY 1")
        assert {row.at for row in newest if row.profile_id != returns} == {shop.now}
        with shop.sessions.begin() as session:
            report = guard_report(session, opens.campaign)
        assert {line.flag: line.left_out for line in report.lines} == {name: 1 for name in NAMES if name != "good"}
        assert after_erasures(opens, "returns").lines == report.lines
        assert opens.rows(f"SELECT 1 FROM event WHERE profile_id = {returns}") == []


@pytest.mark.feature("CM-07", "SU-13")
def test_it_offers_who_trips_a_flag_nothing_more_at_the_open(opens: Opens) -> None:
    shop = opens.shop
    shop.people(*NAMES)
    shop.send(*lives(shop))
    replacement, more = shop.offer("replacement"), shop.offer("cross-sell", priority=2)
    mails = opens.send_campaign(slots=hero(opens, more, replacement), guard="offers")
    # Flagged after the mail left: the very next open knows.
    assert {shown(opens, mail) for mail in mails.values()} == {more}
    scored(shop)
    told = {name: shown(opens, mail) for name, mail in mails.items()}
    assert told == dict.fromkeys(NAMES, replacement) | {"good": more}
    opens.record()
    with shop.sessions.begin() as session:
        report = guard_report(session, opens.campaign)
    assert [(line.flag, line.left_out, line.withheld) for line in report.lines] == [
        (name, 0, 1) for name in NAMES if name != "good"
    ]
    assert after_erasures(opens, "returns", "discount") == report


def test_it_flags_nobody_who_pays_for_what_they_cost(opens: Opens) -> None:
    shop = opens.shop
    shop.people(*NAMES)
    shop.send(*lives(shop))
    free = WorthTerms(margin=1.0, contact_cents=0, return_cents=0)
    assert scored(shop, free) == {name: ["spending"] if name == "spending" else [] for name in NAMES}


def test_it_takes_a_line_without_a_price_for_its_part_of_the_order_and_no_number_for_not_told(opens: Opens) -> None:
    shop = opens.shop
    shop.people("odd")
    at = shop.now - 10 * DAY
    sold = order("odd", at, 10, "Shoes", "Socks", discount="ten", coupon=None)
    number = sold["properties"]["order_id"]
    part = {"order_id": number, "products": [{"product_id": "p-Shoes", "quantity": 1}]}
    shop.send(sold, said("odd", "Order Refunded", **part))
    with shop.sessions.begin() as session:
        [found] = worths(session, [shop.profile("odd")], shop.now + DAY)
    assert (found.sold, found.discount, found.discounted, found.returned, found.back) == (2000, 0, 0, 1, 1000)


def test_it_takes_no_order_for_returned_that_is_placed_after_all(opens: Opens) -> None:
    shop = opens.shop
    shop.people("late")
    at = shop.now - 10 * DAY
    sold = order("late", at, 10, "Shoes")
    number = sold["properties"]["order_id"]
    gone = said("late", "Order Cancelled", order_id=number) | {"timestamp": (at + DAY).isoformat()}
    stands, again = (said("late", "Order Updated", order_id=number, order_status="placed") for _ in range(2))
    gone_at = {"timestamp": gone["timestamp"]}
    returns = []
    for calls in ([sold, gone], [stands | gone_at], [again | {"timestamp": (at + 2 * DAY).isoformat()}]):
        shop.send(*calls)
        with shop.sessions.begin() as session:
            [found] = worths(session, [shop.profile("late")], shop.now + DAY)
        returns.append((found.sold, found.returned, found.back))
    assert returns == [(1000, 1, 1000), (1000, 1, 1000), (1000, 0, 0)]


def test_it_counts_what_each_return_of_an_order_costs_and_flags_by_the_share_of_orders(opens: Opens) -> None:
    shop = opens.shop
    shop.people("twice")
    at = shop.now - 10 * DAY
    for number in range(4):
        shop.send(order("twice", at + number * DAY, 100, "Shoes", "Socks", "Gels"))
    for kind in ("Shoes", "Socks"):
        goods = {"order_id": f"twice-{at.isoformat()}", "products": [{"product_id": f"p-{kind}"}]}
        shop.send(said("twice", "Order Refunded", **goods))
    with shop.sessions.begin() as session:
        [found] = worths(session, [shop.profile("twice")], shop.now + DAY)
    assert (found.orders, found.orders_back, found.returned, found.back) == (4, 1, 2, 20_000)
    # By hand: what stayed paid, less 65 % of the goods that stayed and 15.00 a return.
    assert found.profit(TERMS) == 100_000 - 65_000 - 2 * 1_500
    dear = WorthTerms(margin=0.35, return_cents=100_000)
    assert found.profit(dear) < 0
    assert "returns" not in found.flags(dear), "one order of four came back"


def test_it_takes_back_what_states_take_back_and_looks_at_nothing_later(opens: Opens) -> None:
    shop = opens.shop
    shop.people(
        "pair", "other", "franc", "less", "raised", "goodwill", "fee", "half", "dollars", "money", "traded", "emptied"
    )
    at = shop.now - 10 * DAY
    shoes = {"product_id": "p-Shoes", "category": "Shoes", "price": 10, "quantity": 3}
    gels = {"product_id": "p-Gels", "category": "Gels", "price": 10, "quantity": 1}
    bought: dict[str, dict[str, Any]] = {name: {"total": 15, "discount": 15} for name in ("half", "emptied")}
    changes: dict[str, tuple[str, dict[str, Any], tuple[int, int, int]]] = {
        "pair": ("Order Refunded", {"product_id": "p-Shoes", "quantity": 2}, (3000, 1, 2000)),
        "other": ("Order Refunded", {"products": [{"product_id": "p-Hat", "price": 30, "quantity": 1}]}, (3000, 0, 0)),
        "franc": ("Order Refunded", {"total": 5, "currency": "CHF"}, (3000, 0, 0)),
        "goodwill": ("Order Refunded", {"total": 5}, (3000, 0, 500)),
        "fee": ("Order Refunded", {"total": 25, "products": [shoes]}, (3000, 1, 2500)),
        "less": ("Order Updated", {"total": 20, "products": [shoes | {"quantity": 2}]}, (2000, 0, 0)),
        "half": ("Order Refunded", {"products": [shoes | {"quantity": 1}], "total": 5}, (1500, 1, 500)),
        "dollars": (
            "Order Updated",
            {"total": 20, "products": [shoes, gels], "currency": "USD", "discount": 10, "coupon": "TEN"},
            (1000, 0, 0),
        ),
        "money": ("Order Updated", {"total": 20, "discount": 10}, (2000, 0, 0)),
        "emptied": ("Order Updated", {"products": []}, (0, 0, 0)),
        "traded": ("Order Updated", {"total": 30, "currency": "USD"}, (1500, 0, 0)),
        "raised": ("Order Updated", {"products": [shoes | {"quantity": 5}]}, (5000, 0, 0)),
    }
    with shop.sessions.begin() as session:
        exchange.set_own(session, "EUR", shop.now)
        rows = ["currency,day,rate", f"USD,{(at - DAY).date().isoformat()},0.5"]
        exchange.give(session, list(exchange.read_rates(rows, "EUR", Given())), "EUR", Given())
    for name, (event, change, _) in changes.items():
        sold = order(name, at, 30, "Shoes", **({"currency": "EUR", "products": [shoes]} | bought.get(name, {})))
        later = {"timestamp": (at + 2 * DAY).isoformat()}
        shop.send(sold, said(name, event, order_id=sold["properties"]["order_id"], **change) | later)
    people = {shop.profile(name): name for name in changes}
    for moment, expected in (
        (shop.now, {name: told for name, (_, _, told) in changes.items()}),
        (at + DAY, dict.fromkeys(changes, (3000, 0, 0)) | dict.fromkeys(bought, (1500, 0, 0))),
    ):
        with shop.sessions.begin() as session:
            found = list(worths(session, list(people), moment))
            assert {people[one.root]: (one.sold, one.returned, one.back) for one in found} == expected
        if moment == shop.now:
            earned = {people[one.root]: one.profit(TERMS) for one in found}
            assert {(one.late_kinds, one.discounted) for one in found if people[one.root] == "dollars"} == {(2, 1)}
            assert {one.discounted for one in found if people[one.root] == "money"} == {1}
    # By hand: what stayed paid, less 65 % of the goods that stayed and 15.00 a return.
    assert earned == {
        "pair": 1000 - 650 - 1500, "other": 1050, "franc": 1050, "goodwill": 3000 - 500 - 1950, "fee": 500 - 1500,
        "less": 700, "raised": 1750, "half": 1500 - 500 - 1300 - 1500, "dollars": 1000 - 975,
        "money": 2000 - 1950, "traded": 525, "emptied": 0,
    }  # fmt: skip
