"""Identifiers that systems send for nobody: they make no customer, tie nobody, and are refused by name."""

from __future__ import annotations

import io
from typing import Any

import pytest

from signals.identity import NOBODY, claimed
from signals.importing import import_events
from signals.nobody import names_nobody
from signals.tabular import RowPlan, Rows, from_csv
from tests.signals.sending import NOW, Desk, call, identified, order, viewed
from tests.signals.shopbodies import SHOPIFY_ORDER, WOO_ORDER, like
from tests.signals.shopcalls import Shops

EMPTY_UUID = "00000000-0000-0000-0000-000000000000"
NOTHING = (
    "undefined", "Undefined", "NULL", "(null)", "<none>", "'undefined'", "nil", "NaN", "n/a", "N.A.", "\\N",
    "(not set)",
    "[object Object]", "true", "False", "unknown", "anonymous", "Guest", EMPTY_UUID, f"{{{EMPTY_UUID}}}", "0000000000",
    "00:00:00:00:00:00", "{{ user.id }}", "user-{{ user.id }}", "%%ID%%", "%ID%", "*|UNIQID|*", "${user.id}",
    "{user_id}",
    "<%= id %>", "#{id}", "[user_id]", "-", "---", "?", "–", "—", "…", "„null“", "«n/a»", "null\u200b", "\xa0undefined",
)  # fmt: skip
SOMEBODY = (
    "0", "1", "00", "123", "00042", "-1", "none-123", "null7", "undefined-8", "nilsson", "nana", "Unknown Soldier 7",
    "guest-4711", "anonymous-5f2c", "true-north", "5f0e0000-0000-0000-0000-000000000000", "{A1B2C3D4-0000-4000-8000-0}",
    "100%", "a{b}c", "<7>", "#42", "[12]", "*42*", "müller", "山田", "m@example.com", "🙂", "–7–",
)  # fmt: skip


@pytest.mark.parametrize("value", NOTHING)
def test_what_is_sent_for_nothing_names_nobody(value: str) -> None:
    assert names_nobody("user_id", value)


@pytest.mark.parametrize("value", SOMEBODY)
def test_what_may_be_a_number_of_somebody_names_them(value: str) -> None:
    assert not names_nobody("user_id", value)


def test_a_phone_of_one_digit_is_nobodys() -> None:
    for phone in ("0000000000", "+490000000000", "0049 0000 000000", "999-999-9999", "+11111111111", "n/a"):
        assert names_nobody("phone", phone), phone
    for phone in ("0151 1234567", "+49 30 1000000", "+43 1 5800000", "+4930999999", "+1 800 000 0001", "112233"):
        assert not names_nobody("phone", phone), phone


def test_customers_without_a_number_are_not_made_one(desk: Desk) -> None:
    told = [
        identified(name, email=f"{who}@example.com")
        for who, name in (("ann", "undefined"), ("bob", "undefined"), ("cat", "undefined"), ("dan", "123"))
    ]
    outcomes = desk.send(*told)
    assert [(one.status, one.field) for one in outcomes] == [("rejected", "userId")] * 3 + [("accepted", "")]
    assert outcomes[0].message == NOBODY
    assert desk.rows("SELECT value FROM identifier ORDER BY type DESC") == [("123",), ("dan@example.com",)]
    assert desk.rows("SELECT reason, field, whole FROM rejected_event") == [("invalid", "userId", True)] * 3


CALLS: tuple[tuple[dict[str, Any], str], ...] = (
    (call("identify", anonymousId="null", traits={"city": "Bonn"}), "anonymousId"),
    (call("track", event="Seen", userId="u1", anonymousId=EMPTY_UUID), "anonymousId"),
    (call("track", event="Seen", userId="{{ user.id }}", anonymousId="a1"), "userId"),
    (call("alias", userId="u1", previousId="[object Object]"), "previousId"),
    (call("alias", userId="none", previousId="a1"), "userId"),
    (call("group", userId="u1", groupId="undefined", traits={"type": "household"}), "groupId"),
    (call("identify", userId="u1", traits={"loyaltyId": "N/A"}), "traits.loyaltyId"),
    (call("identify", userId="u1", traits={"loyalty_id": "000000000000"}), "traits.loyalty_id"),
    (call("identify", userId="u1", traits={"phone": "000 000 0000"}), "traits.phone"),
    (call("identify", userId="u1", traits={"email": "{{user}}@example.com"}), "traits.email"),
)


@pytest.mark.parametrize(("told", "field"), CALLS, ids=[f"{told['type']} {field}" for told, field in CALLS])
def test_it_refuses_a_call_by_the_field_that_names_nobody(desk: Desk, told: dict[str, Any], field: str) -> None:
    (outcome,) = desk.send(told)
    assert (outcome.status, outcome.field, outcome.message) == ("rejected", field, NOBODY)
    assert desk.rows("SELECT id FROM profile") == []


def test_what_a_server_says_along_is_left_out_and_ties_nobody(desk: Desk) -> None:
    for number in (1, 2):
        along = {"traits": {"phone": "0000000000", "loyaltyId": "null"}}
        bought = order(f"u{number}", f"o{number}", ("p", "Shoes", 5.0)) | {"context": along}
        assert desk.statuses(bought) == ["accepted"]
    assert desk.root("user_id", "u1") != desk.root("user_id", "u2")
    assert desk.rows("SELECT type FROM identifier") == [("user_id",), ("user_id",)]


def test_a_browser_s_user_id_is_ignored_and_its_device_is_asked(desk: Desk) -> None:
    seen = viewed("Shoes", userId="undefined", anonymousId="a1")
    assert desk.statuses(seen, viewed("Shoes", anonymousId="undefined"), via=desk.browser) == ["accepted", "rejected"]
    assert desk.rows("SELECT type, value FROM identifier") == [("anonymous_id", "a1")]


def test_rows_of_a_file_that_name_nobody_are_refused(desk: Desk) -> None:
    plan = Rows(RowPlan(columns={"customer": "userId", "when": "timestamp"}, event="Seen"))
    file = b"customer,when\nNULL,2026-03-01T10:00:00Z\n0,2026-03-01T10:00:00Z\n"
    report = import_events(desk.intake, desk.server, from_csv(io.BytesIO(file), lambda head: plan), NOW)
    assert (report.accepted, [(bad.line, bad.field) for bad in report.bad]) == (1, [(1, "userId")])
    assert desk.root("user_id", "0")


@pytest.mark.parametrize("phone", ["0000000000", "n/a"])
def test_an_order_of_a_shop_is_taken_as_if_it_named_no_phone(shops: Shops, phone: str) -> None:
    for number in (1, 2):
        named = {"customer": {"id": "null", "phone": phone}, "billing_address": {}, "email": None, "phone": phone}
        shops.told("shopify", "orders/create", like(SHOPIFY_ORDER, id=number, **named))
        billing = {"email": f"w{number}@example.com", "phone": phone}
        shops.told("woocommerce", "order.created", like(WOO_ORDER, id=number, customer_id=0, billing=billing))
    assert len(shops.events()) == 4
    assert shops.desk.rows("SELECT count(DISTINCT root_id) FROM profile") == [(4,)]
    assert shops.desk.rows("SELECT reason, field FROM rejected_event") == []
    types = shops.desk.rows("SELECT type, count(*) FROM identifier WHERE type IN ('phone', 'email') GROUP BY 1")
    assert types == [("email", 2)]


def test_what_was_stored_under_such_an_identifier_is_still_found(desk: Desk) -> None:
    told = identified("undefined", phone="0000000000")
    assert {("user_id", "undefined"), ("phone", "+00000000")} <= claimed(told)


def test_a_value_that_is_longer_than_any_is_not_searched(desk: Desk) -> None:
    """Each beginning of a placeholder would be looked at to the end, seven seconds for one call."""
    assert not names_nobody("user_id", "{%" * 30_000 + "%}")
    long = "{%" * 30_000
    for told, field in (
        (call("group", userId="u1", groupId=long, traits={"type": "household"}), "groupId"),
        (call("alias", userId="u1", previousId=long), "previousId"),
        (call("identify", userId=long), "userId"),
        (call("identify", anonymousId=long), "anonymousId"),
        (call("identify", userId="u1", traits={"loyaltyId": long}), "traits.loyaltyId"),
        (call("identify", userId="u1", traits={"phone": long}), "traits.phone"),
        (call("identify", userId="u1", traits={"email": long}), "traits.email"),
    ):
        (outcome,) = desk.send(told)
        assert (outcome.status, outcome.field) == ("rejected", field)
