"""Support's search finds a customer by what they say on the phone, however it is typed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from base.environment import environment
from campaigns import customers
from signals.matching import spellings
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web
from tests.signals.sending import call
from workers.commands.dossier import command

TYPED = (
    "0228 1234567", "0228/1234567", "(0228) 123 45 67", "0228-12345-67", "0228 – 1234567", " 02281234567 ",
    "+49 228 1234567", "0049 228 1234567", "+49 (0)228 1234567", "+49(0)228/123-45-67",
)  # fmt: skip


@pytest.mark.parametrize("sent", ["+49 228 1234567", "0228/1234567"])
def test_it_finds_a_phone_number_as_people_type_it(shop: Shop, sent: str) -> None:
    shop.send(call("identify", userId="ann", traits={"phone": sent}), call("identify", userId="bob"))
    ann = shop.profile("ann")
    with shop.sessions.begin() as session:
        for regions in ((), ("DE",), ("AT", "DE")):
            for typed in TYPED:
                found = customers.find(session, typed, shop.settings.hash_key, regions)
                assert [(one.profile, one.matched) for one in found] == [(ann, "phone number")], (typed, regions)
        for other in ("0228 1234568", "228", "0228 1234567 x", "+43 228 1234567", "12 34"):
            assert customers.find(session, other, shop.settings.hash_key, ("DE",)) == [], other


def test_it_takes_a_number_without_a_code_for_one_of_the_countries_named() -> None:
    assert spellings("0228 1234567", ("DE",)) == {"+492281234567", "02281234567"}
    assert spellings("0228 1234567", ("AT",)) == {"+432281234567", "02281234567"}
    assert {"+492281234567", "+432281234567"} < spellings("0228 1234567")
    assert spellings("ann@example.com") == spellings("A-100") == spellings("+999 999 999") == spellings("") == set()
    assert spellings("555 010 1234", ("US",)) == {"+15550101234", "5550101234"}


def test_its_page_and_the_api_find_by_phone_order_and_customer_number(shop: Shop) -> None:
    shop.settings = replace(shop.settings, phone_regions=("AT",))
    web = Web(shop)
    try:
        shop.send(
            call("identify", userId="K-100", traits={"phone": "+43 660 1234567"}),
            call("identify", userId="K-200", traits={"phone": "+49 228 1234567"}),
        )
        profile = shop.profile("K-100")
        shop.send(shop.order("K-100", "shoes", shop.now, order_id="R-77"))
        desk, program = web.desk("support"), web.program("support")
        desk.get("/customers/")
        for typed in ("0660/123 45 67", "r-77", "k-100", f" Customer {profile}"):
            assert desk.post("/customers/", q=typed).headers["Location"].partition("?")[0] == f"/customers/{profile}", (
                typed
            )
            found = program.told("POST", "/customers/search", {"q": typed})["customers"]
            assert [one["profile"] for one in found] == [profile], typed
        assert "Nobody goes by that" in desk.post("/customers/", q="0228 1234567").text
    finally:
        web.close()


def test_a_dossier_is_written_of_whom_a_number_without_a_code_means_there(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.send(
        call("identify", userId="K-100", traits={"phone": "+43 228 1234567"}),
        call("identify", userId="K-200", traits={"phone": "+49 228 1234567"}),
    )
    written, file = [], tmp_path / "dossier.json"
    for regions in ((), ("AT",)):
        for name, value in environment(replace(shop.settings, phone_regions=regions)).items():
            monkeypatch.setenv(name, value)
        written.append(CliRunner().invoke(command, ["0228/123 45 67", str(file)]))
    assert "2 customers are known by that" in written[0].output
    assert written[1].exit_code == 0, written[1].output
    assert "K-100" in file.read_text()


def test_it_says_yes_and_no_of_traits_that_are_so(shop: Shop, web: Web) -> None:
    shop.people("ann", vip=True, points=7, newsletter=False)
    page = web.desk("support").get(f"/customers/{shop.profile('ann')}").text
    told = dict(re.findall(r'<dt class="col-6 wrap-any">(\w+)</dt><dd class="col-6 wrap-any">(\w+)</dd>', page))
    assert {name: told[name] for name in ("vip", "points", "newsletter")} == {
        "vip": "yes", "points": "7", "newsletter": "no",
    }  # fmt: skip
