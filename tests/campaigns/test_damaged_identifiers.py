"""Identifiers that are damaged where they are stored: pages say so, decide nothing by them, and show all else."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from campaigns import customers
from signals import likely
from signals.likely import Offer
from signals.profiles import Identifier
from tests.campaigns.shop import Shop
from tests.campaigns.test_merges import PHONE, cells, contact
from tests.campaigns.web import Web
from tests.damage import flip
from tests.loglines import log_lines
from tests.signals.sending import call


def test_a_damaged_customer_number_is_one_that_no_other_equals(
    shop: Shop, web: Web, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    home = {"name": "Ann Lee", "address": {"street": "12 Main Street", "city": "Bonn"}}
    shop.send(*(call("identify", userId=name, traits=home) for name in ("customer-1", "customer-2")))
    one, other = shop.profile("customer-1"), shop.profile("customer-2")
    with shop.sessions.begin() as session:
        likely.offer(session, [Offer(one, other, 4.2, ("name",), shop.now)], 1)
    for damaged in (one, other):
        flip(shop.sessions, "identifier.value", f"profile_id = {damaged} AND type = 'user_id'")
        capsys.readouterr()
        caplog.clear()
        for role, read in (("admin", "customer-2"), ("support", "cu•••-2")):
            page = web.desk(role).get("/customers/likely").text
            shown = customers.DAMAGED if damaged == other else read
            assert cells(page, one, other)["Customer number"] == (customers.DAMAGED, shown, "each their own")
            assert "both have a customer number, so that nothing merges them but a person" in page
        logged = log_lines("a stored value is damaged", capsys, caplog)
        assert any(re.search(rf"profile\W+{damaged}\b", line) for line in logged)


def test_a_damaged_identifier_is_told_as_such_and_hides_no_merge(
    shop: Shop, web: Web, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    shop.send(contact("ann"), contact("bob"))
    ann = web.program("support").told("POST", "/customers/search", {"q": PHONE})["customers"][0]["profile"]
    flip(shop.sessions, "identifier.value", "owns")
    with shop.sessions.begin() as session:
        owners = set(session.scalars(select(Identifier.profile_id).where(Identifier.owns)))
    admin = web.desk("admin")
    (merge,) = web.program("admin").told("GET", f"/customers/{ann}/merges")["merges"]
    page = admin.get(f"/customers/{ann}/merges").text
    assert "by the call identify of" in page
    assert "</span> damaged where it is stored</div>" in page
    assert '<div class="wrap-any">damaged where it is stored</div>' in admin.get(f"/customers/{ann}").text
    named = web.program("support").told("GET", f"/customers/{ann}")["identifiers"]
    assert {"type": "phone", "masked": "damaged where it is stored"} in named
    logged = log_lines("a stored value is damaged", capsys, caplog)
    assert logged
    whose = [re.search(r"profile\W+(\d+)", line) for line in logged]
    assert {int(found[1]) for found in whose if found} == owners
    assert all(whose), "each line says whose it is"
    path = f"/customers/{ann}/merges/{merge['id']}/undo"
    assert "Undo the merge" in admin.post(path).text
    assert admin.post(path, sure="1").status_code == 302
    for one in merge["profiles"]:
        assert admin.get(f"/customers/{one}/merges").status_code == 200
