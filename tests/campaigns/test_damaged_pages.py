"""Sealed values of one person that are damaged where they are stored: pages, programs, reports and the export show all
else."""

from __future__ import annotations

import json
import re

import pytest

from campaigns import customers
from signals import keymarks
from tests.campaigns.mailing import COSTS, bought, mailed
from tests.campaigns.shop import Shop
from tests.campaigns.test_damaged_state import HOME
from tests.campaigns.test_profit import DAY, SHOES, told
from tests.campaigns.web import Web
from tests.damage import CONTENT, flip
from tests.signals.sending import call, order

PLACES = (
    "event.body", "trait_lineage.value", "identifier.value", "consent.wording", "household_claim.why",
    "household_claim.ended_why",
)  # fmt: skip
TABS = ("", "/household", "/known", "/permissions", "/merges")


def damage(shop: Shop, profile: int, byte: int) -> None:
    """Damage whatever is sealed of a person, or put it back."""
    for place in PLACES:
        flip(shop.sessions, place, f"profile_id = {profile} AND {place.partition('.')[2]} IS NOT NULL", byte)


@pytest.fixture(autouse=True)
def marked(shop: Shop) -> None:
    """The key has left its mark, so that a number that none has is told from a key that is missing."""
    keymarks.settle(shop.sessions, shop.settings, shop.now)


@pytest.mark.parametrize("byte", [0, CONTENT], ids=["the number of its key", "what it says"])
def test_whose_values_are_damaged_can_be_looked_at_and_is_told_all_else(shop: Shop, web: Web, byte: int) -> None:
    ann, bob = shop.people("ann", "bob", city="Bonn", address=HOME)
    shop.send(order("ann", "o1", ("p1", "Shoes", 80.0)))
    refund = {"order_id": "o1", "total": 10}
    shop.send(call("track", userId="ann", event="Order Refunded", properties=refund))
    support, export = web.program("support"), f"/customers/{ann}/export"
    support.told("POST", f"/customers/{ann}/consents", {"purpose": "sms", "granted": True, "why": "told by phone"})
    for path, said in (("household", {"other": bob}), ("household/leave", {})):
        support.told("POST", f"/customers/{ann}/{path}", said | {"why": "told by phone"})
    whole = json.loads(web.desk("admin").get(export).text)
    happened = [
        (one["at"], one["kind"], one["event"]) for one in support.told("GET", f"/customers/{ann}/timeline")["entries"]
    ]
    known = support.told("GET", f"/customers/{ann}/known")["known"]

    damage(shop, ann, byte)
    for role in ("admin", "support"):
        for person in (ann, bob):
            for at in TABS:
                assert web.desk(role).get(f"/customers/{person}{at}").status_code == 200, (at, person)
                assert web.program(role).call("GET", f"/customers/{person}{at}").status_code == 200, (at, person)
        timeline = web.program(role).told("GET", f"/customers/{ann}/timeline")["entries"]
        assert [(one["at"], one["kind"], one["event"]) for one in timeline] == happened
        assert all(customers.DAMAGED in one["detail"] for one in timeline if one["kind"] in ("order", "signal"))
        assert customers.DAMAGED in web.desk(role).get(f"/customers/{ann}").text
    allowed = support.told("GET", f"/customers/{ann}/permissions")
    assert {one["masked"] for one in allowed["addresses"]} == {customers.DAMAGED}
    assert [one["granted"] for one in allowed["statements"] if one["purpose"] == "sms"] == [True]
    left = support.told("GET", f"/customers/{ann}/known")["known"]
    assert left == [
        one for one in known if one["group"] not in ("purchases", "browsing") and "rhythm" not in one["name"]
    ]

    # The copy of all that is kept says where something is missing, and has everything else.
    left_over = json.loads(web.desk("admin").get(export).text)
    for part, field in (
        ("signals", "body"), ("traits", "value"), ("identifiers", "value"), ("consents", "wording"),
        ("households", "why"),
    ):  # fmt: skip
        assert left_over[part], part
        for before, after in zip(whole[part], left_over[part], strict=True):
            missing = after.pop("damaged", [])
            assert (field in missing) == (before[field] is not None)
            assert after == before | dict.fromkeys(missing), part
    assert [one for one in left_over["households"] if one["ended_why"]] == []
    assert (left_over["state"], left_over["looked_at"][:1]) == (whole["state"], whole["looked_at"][:1])

    damage(shop, ann, byte)
    again = json.loads(web.desk("admin").get(export).text)
    assert {part: again[part] for part in whole if part not in ("made_at", "looked_at")} == {
        part: rows for part, rows in whole.items() if part not in ("made_at", "looked_at")
    }


@pytest.mark.parametrize("byte", [0, CONTENT], ids=["the number of its key", "what it says"])
def test_damaged_signals_hide_no_others_in_the_stream(shop: Shop, web: Web, byte: int) -> None:
    (ann,) = shop.people("ann")
    first = call("track", userId="ann", event="Liked", messageId="m1", properties={"what": "shoes"})
    shop.send(first)
    for wrong in (first | {"event": "Loved"}, call("identify", userId="eve", traits={"email": "none"})):
        with pytest.raises(AssertionError):
            shop.send(wrong)
    for place in ("event.body", "event_conflict.body", "rejected_event.body"):
        flip(shop.sessions, place, "true", byte)
    shop.send(call("track", userId="ann", event="Liked", properties={"what": "hats"}))
    admin, desk = web.program("admin"), web.desk("admin")
    listed = admin.told("GET", "/signals")["signals"]
    assert sorted({one["kind"] for one in listed}) == ["contradicting", "refused", "taken"]
    assert desk.get("/stream/").status_code == 200
    assert admin.told("GET", f"/signals?profile={ann}")["signals"]
    assert len(admin.told("GET", "/system/refused")["refused"]) == 1
    shown = {}
    for one in listed:
        path = f"{one['kind']}/{one['number']}"
        shown[path] = admin.told("GET", f"/signals/{path}")["body"] == customers.DAMAGED
        page = desk.get(f"/stream/{path}").text
        assert (customers.DAMAGED in re.sub(r"\s+", " ", page)) == shown[path]
    assert list(shown.values()).count(False) == 1, "only what came afterwards is whole"
    refused = next(one["number"] for one in listed if one["kind"] == "refused")
    assert "until it is put back from a backup" in desk.get(f"/stream/refused/{refused}").text
    assert admin.call("POST", f"/signals/refused/{refused}/replay").status_code == 409


def test_a_damaged_refund_hides_no_profit(web: Web) -> None:
    campaign = mailed(web, 2, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    calls = [bought(web, name, paid=100, products=[SHOES]) for name in ("g0", "g1")]
    for number, one in enumerate(calls):
        one["properties"]["order_id"] = f"o-{number}"
    web.shop.send(*calls)
    web.shop.clock.advance(DAY)
    web.shop.send(*(told(f"g{number}", "Order Cancelled", order_id=f"o-{number}") for number in (0, 1)))
    profit = f"/campaigns/{campaign}/profit"
    (whole,) = program.told("GET", profit)["groups"]
    flip(web.shop.sessions, "event.body", "name = 'Order Cancelled' AND order_id = 'o-1'")
    (found,) = program.told("GET", profit)["groups"]
    assert (found["margin"], found["returns"]) == (whole["margin"], whole["returns"] // 2)
