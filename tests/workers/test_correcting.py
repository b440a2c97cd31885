"""Support corrects the record and adds what a customer told them: the next open knows, and it can be taken back."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from campaigns import corrections
from campaigns.campaigns import SlotChoice
from signals.products import take_products
from tests.campaigns.web import Program, Web, told
from tests.promises.reader import Mail
from tests.workers.opens import Opens

GATE = {"product_id": "gate-7", "name": "Baby gate", "category": "gates", "price": 49, "quantity": 1}
SOCKS = {"product_id": "socks-1", "name": "Socks", "category": "socks", "price": 5, "quantity": 2}


def gates(opens: Opens, offers: list[dict[str, Any]], **campaign: Any) -> Mail:
    """A mail to ann, whose first place has these offers before the neutral one."""
    shop = opens.shop
    shop.intake.categories.learn(["gates", "socks"], create=True)
    shop.people("ann")
    opens.default = shop.offer("neutral")
    made = [shop.offer(**offer) for offer in offers]
    hero = SlotChoice(slot=0, default=opens.default, offers=made)
    opens.discount = made[0]
    return opens.send_campaign(slots=[hero, SlotChoice(slot=1, default=opens.default)], **campaign)["ann"]


def shown_at(opens: Opens, mail: Mail) -> int:
    """The offer of the first place at an open now."""
    opens.look(mail)
    return opens.shown(mail).live.chosen[0].offer


def entry(program: Program, path: str, kind: str) -> Any:
    """The newest entry of this kind in the timeline."""
    return program.told("GET", f"{path}/timeline?kind={kind}")["entries"][0]


@pytest.mark.feature("SU-09")
def test_it_goes_by_a_correction_from_the_next_open_on_until_it_is_taken_back(opens: Opens) -> None:
    wants = {"field": "purchases.days_since", "category": "gates", "op": ">=", "value": 0}
    mail = gates(opens, [{"kind": "cross-sell", "relevant": wants}])
    shop, web = opens.shop, Web(opens.shop)
    ann = shop.profile("ann")
    order = {"order_id": "o-gate", "products": [SOCKS, GATE], "total": 59}
    shop.send({"type": "track", "userId": "ann", "event": "Order Completed", "properties": order})
    assert shown_at(opens, mail) == opens.discount
    program, path = web.program("support"), f"/customers/{ann}"
    bought = entry(program, path, "order")
    assert [(line["line"], line["words"], line["corrected"]) for line in bought["lines"]] == [
        (0, "Socks", None), (1, "Baby gate", None),
    ]  # fmt: skip
    gift = {"event": bought["event"], "line": 1, "word": "gift"}
    for _ in range(2):  # Said twice it is one correction.
        program.told("POST", f"{path}/corrections", gift)
        assert shown_at(opens, mail) == opens.default
    assert [line["corrected"] for line in entry(program, path, "order")["lines"]] == [None, "gift"]
    told_of = entry(program, path, "signal")
    assert (told_of["title"], told_of["detail"]) == ("Corrected by support", "A gift: Baby gate")

    program.told("DELETE", f"{path}/corrections/{bought['event']}/1")
    assert shown_at(opens, mail) == opens.discount
    told(program.call("DELETE", f"{path}/corrections/{bought['event']}/1"), 404)

    # Of one line the newest word stands, and no word before it has any part in it.
    program.told("POST", f"{path}/corrections", gift | {"word": "wrong_person"})
    program.told("POST", f"{path}/corrections", gift | {"word": "already_own"})
    assert shown_at(opens, mail) == opens.discount
    assert [line["corrected"] for line in entry(program, path, "order")["lines"]] == [None, "already_own"]
    state = program.told("GET", path)["state"]
    assert [(mark["target"], mark["word"]) for mark in state["marks"]] == [("product:gate-7", "already_own")]
    assert state["orders"] == 1

    # What somebody else bought is no need of theirs; the order stays what it cost.
    program.told("POST", f"{path}/corrections", gift | {"word": "wrong_person"})
    assert shown_at(opens, mail) == opens.default
    state = program.told("GET", path)["state"]
    assert (state["orders"], [mark["word"] for mark in state["marks"]]) == (1, ["wrong_person"])
    assert [line["product"] for line in state["recent"]] == ["socks-1"], "the other lines stay theirs"
    program.told("POST", f"{path}/corrections", gift | {"word": "already_own"})

    # The page does the same; what nobody bought cannot be corrected.
    support = web.browser("support")
    page = unescape(support.get(f"/customers/{ann}").text)
    assert "They own it already: Baby gate" in page
    assert support.post(f"/customers/{ann}/corrections", event=bought["event"], line="1", word="").status_code == 302
    assert (
        support.post(f"/customers/{ann}/corrections", event=bought["event"], line="1", word="gift").status_code == 302
    )
    assert shown_at(opens, mail) == opens.default
    for wrong in ({"line": 7}, {"event": 10**9}, {"word": "lost"}):
        assert program.call("POST", f"{path}/corrections", gift | wrong).status_code in (400, 404)
    (bob,) = shop.people("bob")
    told(program.call("POST", f"/customers/{bob}/corrections", gift), 404)
    told(program.call("POST", "/customers/999999/corrections", gift), 404)
    web.close()


@pytest.mark.feature("SU-09")
def test_it_shows_nothing_of_what_is_not_for_somebody_until_that_is_taken_back(opens: Opens) -> None:
    mail = gates(opens, [{"kind": "cross-sell", "category": "gates"}])
    shop, web = opens.shop, Web(opens.shop)
    ann = shop.profile("ann")
    shop.send({"type": "track", "userId": "ann", "event": "Product Viewed", "properties": {"category": "gates"}})
    assert shown_at(opens, mail) == opens.discount
    program, path = web.program("support"), f"/customers/{ann}"
    looked = entry(program, path, "signal")
    said = {"event": looked["event"], "line": 0, "word": "not_for_me"}
    program.told("POST", f"{path}/corrections", said)
    assert shown_at(opens, mail) == opens.default
    program.told("DELETE", f"{path}/corrections/{looked['event']}/0")
    assert shown_at(opens, mail) == opens.discount
    web.close()


@pytest.mark.feature("SU-09")
@pytest.mark.parametrize("word", ["already_own", "not_for_me"])
def test_it_offers_no_product_that_somebody_owns_or_does_not_want_until_that_is_taken_back(
    opens: Opens, word: str
) -> None:
    shop = opens.shop
    item = {"id": GATE["product_id"], "title": GATE["name"], "price": "49 EUR"}
    assert take_products(shop.intake, shop.source, [item], shop.now).stored == 1
    mail = gates(opens, [{"kind": "cross-sell", "product": GATE["product_id"]}])
    ann, web = shop.profile("ann"), Web(shop)
    shop.send({"type": "track", "userId": "ann", "event": "Product Viewed", "properties": GATE})
    assert shown_at(opens, mail) == opens.discount
    program, path = web.program("support"), f"/customers/{ann}"
    looked = entry(program, path, "signal")
    program.told("POST", f"{path}/corrections", {"event": looked["event"], "line": 0, "word": word})
    assert shown_at(opens, mail) == opens.default
    program.told("DELETE", f"{path}/corrections/{looked['event']}/0")
    assert shown_at(opens, mail) == opens.discount
    web.close()


@pytest.mark.feature("SU-10")
def test_it_shows_service_from_the_next_open_on_after_a_note_or_a_complaint(opens: Opens) -> None:
    called = {"field": "notes.days_since", "op": "<=", "value": 7}
    complains = {"field": "complaint.open", "op": "=", "value": True}
    (bob,) = opens.shop.people("bob")
    mail = gates(
        opens,
        [
            {"kind": "cross-sell", "priority": 5},
            {"kind": "service", "priority": 1, "name": "Sorry", "relevant": complains},
            {"kind": "service", "priority": 2, "name": "Here to help", "relevant": called},
            {"kind": "thank-you", "priority": 3},  # Of a higher rank, and yet service goes first.
        ],
        suppress=called,  # Who called lately is sold nothing.
    )
    shop, web = opens.shop, Web(opens.shop)
    ann, program = shop.profile("ann"), web.program("support")
    selling, path = opens.discount, f"/customers/{shop.profile('ann')}"
    assert shown_at(opens, mail) == selling
    number = program.told("POST", f"{path}/notes", {"kind": "complaint", "text": "The gate <pinches>."})["number"]
    assert shown_at(opens, mail) == selling + 1
    support = web.browser("support")
    page = support.get(f"/customers/{ann}").text
    assert "The gate &lt;pinches&gt;." in page
    assert re.findall(r'name="case" value="([^"]+)"', page) == [number]
    other = program.told("POST", f"{path}/notes", {"kind": "complaint", "text": "It rusts."})["number"]
    assert support.post(f"/customers/{ann}/complaints/settle", case=number).status_code == 302
    assert shown_at(opens, mail) == selling + 1, "the other one is open still"
    program.told("POST", f"{path}/complaints/settle", {"complaint": other})
    assert shown_at(opens, mail) == selling
    told(program.call("POST", f"{path}/complaints/settle", {"complaint": number}), 404)

    assert support.post(f"/customers/{ann}/notes", kind="note", text="Wants to talk about the gate.").status_code == 302
    assert shown_at(opens, mail) == selling + 2
    assert "Wants to talk about the gate." in support.get(f"/customers/{ann}").text
    state = program.told("GET", f"/customers/{bob}")["state"]
    assert (state["notes"], state["complaints"]) == (0, {})
    done = [(row.action, row.object_id) for row in opens.rows("SELECT * FROM admin_log ORDER BY id")]
    assert [(action, whose) for action, whose in done if "complaint" in action or "note" in action] == [
        ("add complaint", str(ann)), ("add complaint", str(ann)), ("settle complaint", str(ann)),
        ("settle complaint", str(ann)), ("add note", str(ann)),
    ]  # fmt: skip
    # Neither log holds what was said.
    logs = opens.rows("SELECT a::text AS line FROM admin_log a UNION ALL SELECT b::text FROM access_log b")
    assert not [row for row in logs if "pinches" in row.line or "talk about" in row.line]
    for wrong in ({"kind": "shout", "text": "x"}, {"kind": "note", "text": " "}, {"kind": "note", "text": "x" * 1001}):
        assert program.call("POST", f"{path}/notes", wrong).status_code == 400
    assert support.post(f"/customers/{ann}/notes", kind="note", text=" ").status_code == 400
    web.close()


@pytest.mark.feature("SU-10")
@pytest.mark.parametrize("kind", ["complaint", "note"])
def test_it_sells_nothing_after_a_note_or_a_complaint_where_there_is_no_service_to_show(
    opens: Opens, kind: str
) -> None:
    mail = gates(opens, [{"kind": "cross-sell"}], suppress={"field": "notes.days_since", "op": "<=", "value": 7})
    web, path = Web(opens.shop), f"/customers/{opens.shop.profile('ann')}"
    program = web.program("support")
    assert shown_at(opens, mail) == opens.discount
    number = program.told("POST", f"{path}/notes", {"kind": kind, "text": "The gate pinches."})["number"]
    assert shown_at(opens, mail) == opens.default
    if kind == "complaint":
        program.told("POST", f"{path}/complaints/settle", {"complaint": number})
        assert shown_at(opens, mail) == opens.discount
    web.close()


@pytest.mark.feature("SU-09")
def test_it_offers_corrections_where_there_is_something_to_correct() -> None:
    assert corrections.lines("Order Completed", "track", {"properties": {"products": "many"}}) == ()
    assert corrections.lines("Consent Changed", "track", {"properties": GATE}) == ()
    assert corrections.lines("Product Viewed", "track", {"properties": {"name": "Nameless"}}) == ()
    (line,) = corrections.lines("Product Viewed", "track", {"properties": GATE})
    assert (line.product, line.category, line.words) == ("gate-7", "gates", "Baby gate")
    for name in ("Product Added", "Product Registered"):
        assert corrections.lines(name, "track", {"properties": GATE}) == (line,)
    many = corrections.lines("Order Completed", "track", {"properties": {"products": [GATE] * 80}})
    assert len(many) == corrections.MAX_LINES
