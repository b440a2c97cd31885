"""The linter of a mail: each fault is told by its kind, blocks or warns, and a sound mail is left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy.orm import Session

from campaigns import campaigns, compiling, findings, mail, mailreading, offers, starting
from campaigns.mail import MessageIn
from campaigns.offers import OfferIn
from tests.campaigns.mailing import words
from tests.campaigns.shop import MESSAGE, MJML, Shop, named
from tests.campaigns.web import Web
from tests.campaigns.web import told as told_by

SAID = "These are twenty words that say what the mail is about, so that it can be read with pictures off."


def mjml(more: str) -> str:
    """The shop's mail with more in it."""
    return MJML.replace("<mj-button", f"<mj-text>{SAID}</mj-text>{more}<mj-button", 1)


def found(shop: Shop, **changes: Any) -> set[tuple[str, str]]:
    """Level and code of what is told of the shop's mail with these changes."""
    landing = changes.pop("landing", "https://shop.example.com/now")
    message = shop.message(**({"mjml": mjml("")} | changes))
    offer = shop.offer(landing=landing)
    default = shop.offer("neutral")
    slots = [
        campaigns.SlotChoice(slot=0, default=default, offers=[offer]),
        campaigns.SlotChoice(slot=1, default=default),
    ]
    number = shop.campaign(published=False, message=message, slots=slots, landing_hosts=["shop.example.com"])
    with shop.sessions.begin() as session:
        return {(one.level, one.code) for one in told(session, number)}


def told(session: Session, number: int) -> list[findings.Finding]:
    row = campaigns.campaign(session, number)
    return findings.findings(row, *compiling.compile_campaign(session, row), is_sending=False)


def test_it_says_that_no_offer_is_chosen_and_so_does_the_question_before_it_is_sent(shop: Shop, web: Web) -> None:
    default, manager = shop.offer("neutral"), web.desk("manager")
    words = "No offer is chosen for any place: everybody sees the neutral default."
    for chosen in ([], [shop.offer(landing="https://shop.example.com/now")]):
        slots = [
            campaigns.SlotChoice(slot=0, default=default, offers=chosen), campaigns.SlotChoice(slot=1, default=default)
        ]  # fmt: skip
        number = shop.campaign(published=False, message=shop.message(mjml=mjml("")), slots=slots)
        with shop.sessions.begin() as session:
            said = [one for one in told(session, number) if one.code == "offers"]
        assert [(one.level, one.tab, one.words) for one in said] == ([] if chosen else [("warning", "offers", words)])
        asked = manager.get(f"/campaigns/{number}/schedule").text
        assert asked.count(f"cannot be called back. {words}") == (0 if chosen else 2)


def test_it_counts_whom_a_text_of_a_chosen_offer_leaves_without_a_name(web: Web) -> None:
    shop, admin = web.shop, web.program("admin")
    shop.people("ann")
    shop.send({"type": "identify", "userId": "ben", "traits": {"email": "ben@example.com"}}, shop.consent("ben", True))
    texts = {
        "Bare": "Hi {{ profile.first_name }}", "Said": "Hi {{ profile.first_name|default('you') }}",
        "Unsaid": "{% if profile.first_name %}{{ profile.first_name }}, {% endif %}look",
        "Priced": "{{ product.price }}",
    }  # fmt: skip
    default = shop.offer("neutral")
    chosen = [shop.offer(name=name, fields={"headline": text}) for name, text in texts.items()]
    slots = [
        campaigns.SlotChoice(slot=0, default=default, offers=chosen), campaigns.SlotChoice(slot=1, default=default)
    ]  # fmt: skip
    at = f"/campaigns/{shop.campaign(published=False, message=shop.message(mjml=mjml('')), slots=slots)}"
    answer = admin.told("GET", f"{at}/findings")
    counted = {
        one["offer"]: (one["field"], one["fallback"], one["lacking"], one["people"]) for one in answer["lacking"]
    }
    assert counted == {
        "": ("first_name", "friend", 1, 2), "Bare": ("first_name", "", 1, 2), "Said": ("first_name", "you", 1, 2)
    }  # fmt: skip
    assert [one["words"] for one in answer["findings"] if one["tab"] == "offers"] == [
        "The offer “Priced” prints product.price, and has no product: name one.",
        "The offer “Bare”: 1 of 2 people have no “first_name”, and nothing stands in for it.",
    ]
    assert "in “Bare”" in web.desk("manager").get(f"{at}/checks/fields").text


def test_a_stored_offer_with_a_misspelt_field_goes_on_and_is_not_saved_so_again(shop: Shop, web: Web) -> None:
    offer = shop.offer(landing="https://shop.example.com/now")
    with shop.sessions.begin() as session:
        offers.offer(session, offer).fields = {"headline": "Hi {{ profile.first_nam }}"}
    default = shop.offer("neutral")
    slots = [
        campaigns.SlotChoice(slot=0, default=default, offers=[offer]), campaigns.SlotChoice(slot=1, default=default)
    ]  # fmt: skip
    assert shop.campaign(slots=slots), "it is published as it was"
    program = web.program("manager")
    written = program.told("GET", f"/offers/{offer}")
    written = {name: value for name, value in written.items() if name in OfferIn.__struct_fields__}
    refused = program.call("PUT", f"/offers/{offer}", written)
    assert (refused.status_code, "profile.first_nam, which nothing fills in" in refused.text) == (400, True)


MADE_UP = (
    ("shop@example.com", True), ("shop@mail.example.org", True), ("a@shop.test", True), ("a@b.invalid", True),
    ("a@b.EXAMPLE", True), ("shop@examples.com", False), ("shop@latest.com", False), ("shop@test.de", False),
)  # fmt: skip


@pytest.mark.parametrize(("address", "is_made_up"), MADE_UP)
def test_it_lets_no_made_up_sender_write_to_people(shop: Shop, address: str, is_made_up: bool) -> None:
    number = shop.campaign(published=False, message=shop.message(mjml=mjml(""), from_address=address))
    answers = shop.campaign(
        published=False, message=shop.message(mjml=mjml(""), from_address="a@shoes.de", reply_to=address)
    )
    with shop.sessions.begin() as session:
        for campaign in (number, answers):
            row = campaigns.campaign(session, campaign)
            plan, compiled = compiling.compile_campaign(session, row)
            for is_sending in (False, True):
                told = findings.findings(row, plan, compiled, is_sending=is_sending)
                blocks = [one.words for one in told if (one.level, one.code) == ("error", "sender")]
                assert bool(blocks) == (is_made_up and is_sending), blocks


def test_it_holds_a_made_up_sender_back_where_mails_go_to_people_and_not_in_the_sink(shop: Shop) -> None:
    assert not shop.settings.is_sending
    sink = Web(shop)
    shop.settings = replace(shop.settings, smtp_url="smtp://relay.shoes.de:587")
    real = Web(shop)
    words = "The sender, shop@example.com, is made up: example.com is nobody’s."
    try:
        number = shop.campaign(message=shop.message(mjml=mjml("")))
        assert words in real.desk("manager").get(f"/campaigns/{number}/checks/").text
        assert words not in sink.desk("manager").get(f"/campaigns/{number}/checks/").text
        manager, due = real.program("manager"), {"due_at": shop.now.isoformat()}
        assert words in str(manager.told("GET", f"/campaigns/{number}/findings"))
        assert words in str(manager.told("GET", f"/campaigns/{number}")["missing"])
        assert words in told_by(manager.call("POST", f"/campaigns/{number}/schedule", due), 409)["detail"]
        asked = {"due_at": (shop.now + timedelta(days=1)).isoformat(), "note": "It is meant so"}
        assert words in told_by(manager.call("POST", f"/campaigns/{number}/approvals", asked), 409)["detail"]
        assert sink.program("manager").call("POST", f"/campaigns/{number}/schedule", due).status_code == 200
        # Scheduled while mails went to the sink: it is not published anew so that it goes to people.
        again = f"/campaigns/{number}/publish"
        assert words in told_by(manager.call("POST", again), 409)["detail"]
        desk = real.desk("manager")
        desk.get(f"/campaigns/{number}/schedule")
        refused = desk.post(f"/campaigns/{number}/schedule", do="publish")
        assert words in refused.text
        assert sink.program("manager").call("POST", again).status_code == 200
        dry = replace(shop.settings, dry_run=True)
        assert not dry.is_sending
    finally:
        sink.close()
        real.close()


FAULTS = (
    ({"mjml": mjml('<mj-text><a href="http://shop.example.com/">shop</a></mj-text>')}, ("error", "link")),
    ({"mjml": mjml('<mj-text><a href="https://bit.ly/x">shop</a></mj-text>')}, ("error", "link")),
    ({"mjml": mjml('<mj-text><a href="https://203.0.113.7/x">shop</a></mj-text>')}, ("error", "link")),
    ({"mjml": mjml('<mj-text><a href="https://evil.test/">www.example.com</a></mj-text>')}, ("error", "link")),
    ({"mjml": mjml('<mj-text><a href="https://partner.test/">partner</a></mj-text>')}, ("warning", "host")),
    ({"landing": "http://shop.example.com/"}, ("error", "link")),
    ({"landing": "http://127.0.0.1:9/"}, ("warning", "link")),
    ({"mjml": mjml('<mj-raw><img src="https://shop.example.com/a.png"></mj-raw>')}, ("error", "alt")),
    ({"mjml": mjml('<mj-text color="#ffffff">cheap words</mj-text>')}, ("error", "contrast")),
    ({"mjml": mjml('<mj-text color="#999999">hard to read</mj-text>')}, ("warning", "contrast")),
    ({"mjml": mjml(f"<mj-text>{'long ' * 18_000}</mj-text>")}, ("warning", "size")),
    ({"mjml": mjml("<mj-text>Act now, you have won</mj-text>")}, ("warning", "words")),
    ({"mjml": MJML}, ("warning", "text")),
    ({"text": "Hello. {{ link.unsubscribe }} {{ brand.postal_address }}"}, ("warning", "text")),
    ({"from_address": "shop@gmail.com"}, ("error", "sender")),
    ({"from_address": "no-reply@example.com"}, ("warning", "sender")),
    ({"from_name": " "}, ("error", "sender")),
    ({"subject": "BUY OUR SHOES NOW"}, ("warning", "subject")),
    ({"subject": "Re: your order"}, ("warning", "subject")),
    ({"subject": "Shoes!!!"}, ("warning", "subject")),
    ({"subject": "Shoes " * 20}, ("warning", "subject")),
    ({"preheader": ""}, ("warning", "preheader")),
)  # fmt: skip


def test_it_tells_each_fault_by_its_kind_and_says_nothing_of_a_sound_mail(shop: Shop) -> None:
    assert found(shop) == set()
    for changes, fault in FAULTS:
        assert fault in found(shop, **changes), (changes, fault)


def test_it_leaves_the_layouts_that_an_installation_starts_with_alone(shop: Shop) -> None:
    for layout in starting.LAYOUTS:
        message: MessageIn = starting.message(layout, "First", "Shop", "shop@example.com", "1 Street, Town")
        compiled = mail.compile_mail(message, 1, "")
        reading = mailreading.read(compiled.html)
        assert (reading.faint, reading.mute, reading.links) == ([], [], []), layout.name
        assert reading.words >= findings.FEW_WORDS


@pytest.mark.feature("CM-18")
def test_it_blocks_by_errors_and_wants_a_reason_for_warnings_which_whoever_approves_sees(web: Web) -> None:
    shop, admin = web.shop, web.program("admin")
    shop.people("ann")
    for name in ("ben", "cal"):
        shop.send({"type": "identify", "userId": name, "traits": {"email": f"{name}@example.com"}})
    shop.send(shop.consent("cal", False))
    number = shop.campaign(
        published=False, message=shop.message(mjml=MJML.replace("mj-text>Hello", 'mj-text color="#fff">Hello'))
    )
    at = f"/campaigns/{number}"
    admin.told("POST", f"{at}/publish")
    refused = admin.call("POST", f"{at}/schedule", {"due_at": shop.now.isoformat()})
    assert (refused.status_code, "cannot be seen" in refused.text) == (409, True)
    assert admin.call("POST", f"{at}/approvals", {"note": "please"}).status_code == 409
    answer = admin.told("GET", f"{at}/findings")
    assert answer["findings"][0]["code"] == "contrast"
    assert answer["lacking"] == [{"field": "first_name", "fallback": "friend", "lacking": 1, "people": 2, "offer": ""}]
    shop.send(shop.consent("ben", False), shop.consent("ann", False))
    assert admin.told("GET", f"{at}/findings")["lacking"][0]["people"] == 0
    assert "Nobody would be mailed now" in web.browser("manager").get(f"{at}/checks/fields").text
    shop.send(shop.consent("ben", True), shop.consent("ann", True))

    admin.told("PUT", "/system/approval", {"required": True})
    written = admin.told("GET", at)
    sound = dict(msgspec.to_builtins(named(MESSAGE)))
    admin.told("PUT", f"/messages/{written['message_id']}", sound)
    assert "note" in admin.call("POST", f"{at}/approvals", {}).text
    admin.told("POST", f"{at}/approvals", {"note": "The shop’s page is not ours"})
    browser = web.browser("approver")
    page = words(browser.get(f"{at}/checks/").text)
    assert "warning With pictures off" in page
    assert "The shop’s page is not ours" in page
    assert "1 of 2" in words(browser.get(f"{at}/checks/fields").text)
