"""The page that erases a customer: what it says first, the word it asks for, a second click, an interruption."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from base import keys
from base.processes import free_port
from campaigns import erasure
from campaigns.erasure import finish_erasures
from campaigns.models import AccessEntry, AdminEntry
from signals.joining import join
from signals.profiles import Profile
from signals.state import decode
from tests.campaigns.shop import Shop
from tests.campaigns.test_access_logs import entries
from tests.campaigns.web import Web


@pytest.fixture
def cut_off(shop: Shop) -> Iterator[Web]:
    """The web process whose hot store is away."""
    away = replace(shop.settings, redis_url=f"redis://127.0.0.1:{free_port()}/0", queue_url=shop.settings.redis_url)
    elsewhere = copy(shop)
    elsewhere.settings = away
    made = Web(elsewhere)
    yield made
    made.close()


def lines(web: Web) -> list[AdminEntry]:
    return [one for one in entries(web, AdminEntry) if one.action == "erase"]


def profile(web: Web, number: int) -> Profile:
    with web.shop.sessions() as session:
        found = session.get(Profile, number)
        assert found is not None
        return found


@pytest.mark.feature("SU-13")
def test_it_says_what_goes_asks_for_the_customers_name_and_erases_once(web: Web) -> None:
    shop, admin = web.shop, web.desk("admin")
    ann, bob = shop.people("ann", "bob")
    shop.send(shop.order("ann", "shoes", shop.now), shop.order("bob", "shoes", shop.now))
    assert "Erase…" not in web.desk("support").get(f"/customers/{ann}").text
    assert f"/customers/{ann}/erase" in admin.get(f"/customers/{ann}").text
    page = admin.get(f"/customers/{ann}/erase").text
    assert "3 signals: 1 order," in page
    assert "a•••@example.com" in page
    assert f"/customers/{ann}/export" in page
    assert entries(web, AccessEntry)[-1].action == "erase"

    for typed in ("", "bob", "bob@example.com", str(bob), "x" * 300, "a\x00b"):
        answer = admin.post(f"/customers/{ann}/erase", profiles=str(ann), typed=typed)
        assert answer.status_code == 400, typed
        assert f"type {ann}, or this customer" in answer.text
    assert profile(web, ann).erased_at is None

    done = admin.post(f"/customers/{ann}/erase", profiles=str(ann), typed=" Ann@Example.com ")
    assert done.status_code == 302
    assert "This customer was erased on" in admin.get(f"/customers/{ann}").text
    again = admin.post(f"/customers/{ann}/erase", profiles=str(ann), typed="Ann@example.com")
    assert again.headers["Location"] == f"/customers/{ann}"
    assert "nothing left to do" in admin.get(f"/customers/{ann}").text
    assert admin.get(f"/customers/{ann}/erase").status_code == 302
    assert [(one.object_id, one.user_id is not None) for one in lines(web)] == [(str(ann), True)]
    assert profile(web, bob).erased_at is None
    assert admin.get("/customers/999999/erase").status_code == 404


def test_it_erases_nobody_who_is_merged_in_at_the_last_moment(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, admin = web.shop, web.desk("admin")
    ann, bob = shop.people("ann", "bob")
    admin.get(f"/customers/{ann}/erase")
    erase = erasure.erase_person

    def meanwhile(*args: Any) -> None:
        join(shop.intake, ann, bob, shop.now, by="x")
        erase(*args)

    monkeypatch.setattr(erasure, "erase_person", meanwhile)
    answer = admin.post(f"/customers/{ann}/erase", profiles=str(ann), typed=str(ann))
    assert (answer.status_code, "has changed meanwhile" in answer.text) == (400, True)
    assert [profile(web, number).erased_at for number in (ann, bob)] == [None, None]
    assert lines(web) == []


def test_it_erases_nobody_who_was_merged_in_after_the_page_was_read(web: Web) -> None:
    shop, admin = web.shop, web.desk("admin")
    ann, bob = shop.people("ann", "bob")
    admin.get(f"/customers/{ann}/erase")
    join(shop.intake, ann, bob, shop.now, by="x")
    root = profile(web, ann).root_id
    answer = admin.post(f"/customers/{ann}/erase", profiles=str(ann), typed="ann")
    assert answer.status_code == 400
    assert "Who this customer is has changed meanwhile" in answer.text
    assert f"All 2 profiles that were merged into this customer: {ann}, {bob}" in answer.text
    assert profile(web, root).erased_at is None
    assert admin.post(f"/customers/{ann}/erase", profiles=f"{ann} {bob}", typed="bob").status_code == 302
    assert all(profile(web, one).erased_at for one in (ann, bob))


def test_it_tells_an_erasure_that_was_interrupted_until_it_is_finished(cut_off: Web, shop: Shop) -> None:
    (ann,) = shop.people("ann")
    admin = cut_off.desk("admin")
    admin.get(f"/customers/{ann}/erase")
    answer = admin.post(f"/customers/{ann}/erase", profiles=str(ann), typed=str(ann))
    assert answer.status_code == 302
    for path in (f"/customers/{ann}", f"/customers/{ann}/erased"):
        page = admin.get(path).text
        assert "This customer is being erased" in page
        assert f'hx-get="/customers/{ann}/erased"' in page
    held = shop.store.get(keys.state(ann))
    assert isinstance(held, bytes)
    assert not decode(held).erased, "it is what could not be reached"

    shop.clock.advance(timedelta(minutes=2))
    assert finish_erasures(shop.intake, shop.blobs, shop.now) == 1
    page = admin.get(f"/customers/{ann}/erased").text
    assert "This customer was erased on" in page
    assert "hx-get" not in page
    held = shop.store.get(keys.state(ann))
    assert isinstance(held, bytes)
    assert decode(held).erased
    assert [one.user_id is not None for one in lines(cut_off)] == [True], "the log says who asked, once"


def test_pages_of_an_erased_customer_promise_and_offer_nothing(web: Web, shop: Shop) -> None:
    shop.send(*({"type": "identify", "userId": name, "traits": {}} for name in ("ann", "bob")))
    shop.campaign()
    ann, admin = shop.profile("ann"), web.desk("admin")
    join(shop.intake, ann, shop.profile("bob"), shop.now, by="A Person")
    before = admin.get(f"/customers/{ann}/merges").text
    assert all(words in before for words in (">Undo<", ">Find<"))
    ids = re.findall(r'name="profiles" value="([^"]+)"', admin.get(f"/customers/{ann}/erase").text)
    assert admin.post(f"/customers/{ann}/erase", profiles=ids[0], typed=str(ann)).status_code == 302
    page = admin.get(f"/customers/{ann}").text
    assert "Nothing is left" in page
    assert "what is older has expired" not in page
    assert "Nothing is known any more." in page
    assert not any(words in page for words in ("it is told here", "Nothing yet", "Nothing is known yet"))
    assert f"/customers/{ann}/offer" not in page
    merges = admin.get(f"/customers/{ann}/merges").text
    assert "This customer was erased on" in merges
    assert not any(words in merges for words in (">Undo<", ">Find<"))
    allowed, household = admin.get(f"/customers/{ann}/permissions").text, admin.get(f"/customers/{ann}/household").text
    assert all("This customer was erased on" in said for said in (allowed, household))
    assert not any(words in allowed for words in ("never asked", "Nobody has asked"))
    offer = admin.get(f"/customers/{ann}/offer").text
    assert "Nothing is offered to them" in offer
    assert "Help with what they called for" not in offer
