"""Gateways and the messages that go by them, as admins and managers meet them on pages."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

from sqlalchemy import select

from campaigns import campaigns, compiling, findings, gateways
from campaigns.gateways import GatewayIn
from campaigns.models import AdminEntry
from campaigns.texts import TextIn, TextVersion
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Web

_numbers = count(1)
BODY = "Hello {{ profile.first_name }} {{ link.hero }} {{ link.unsubscribe }}"


def made(web: Web, name: str = "Texts") -> int:
    """A gateway for text messages."""
    wanted = GatewayIn(name=name, kind="sms", url="https://gateway.example.com/v1")
    with web.shop.sessions.begin() as session:
        return gateways.create(session, wanted, web.shop.settings, web.shop.now, MANAGER)[0].id


def test_it_shows_the_secret_of_a_gateway_once_and_says_what_is_wrong_with_an_address(web: Web) -> None:
    admin = web.browser("admin")
    admin.get("/system/gateways/")
    plain = admin.post("/system/gateways/", name="Texts", kind="sms", url="http://gateway.example.com/", per_hour="5")
    assert (plain.status_code, "must begin with https://" in plain.text) == (400, True)
    assert 'value="http://gateway.example.com/"' in plain.text, "what was typed stays"
    shown = admin.post("/system/gateways/", name="Texts", kind="sms", url="https://gateway.example.com/", per_hour="5")
    (secret,) = re.findall(r"whsec_[A-Za-z0-9+/=]+", shown.text)
    assert "0 of 5 in the last hour" in shown.text
    assert "whsec_" not in admin.get("/system/gateways/").text
    with web.shop.sessions.begin() as session:
        (row,) = gateways.listing(session)
        assert secret.encode() not in row.secret
    assert "Its messages wait" in _followed(web, "/system/gateways/", f"/system/gateways/{row.id}/act", "switch off")


def test_it_tells_the_address_of_a_gateway_to_admins_alone_and_the_log_its_host(web: Web) -> None:
    wanted = {"name": "Texts", "kind": "sms", "url": "https://gateway.example.com/k3y-1/", "per_hour": 5}
    admin = web.program("admin")
    number = admin.told("POST", "/gateways", wanted)["id"]
    admin.told("PUT", f"/gateways/{number}", {"name": "Texts", "url": "https://gateway.example.com/k3y-2/"})
    (told,) = web.program("manager").told("GET", "/gateways")["gateways"]
    names = {"id": number, "name": "Texts", "kind": "sms", "state": "on"}
    assert {name: value for name, value in told.items() if value is not None} == names
    assert admin.told("GET", "/gateways")["gateways"][0]["url"] == "https://gateway.example.com/k3y-2/"
    with web.shop.sessions.begin() as session:
        query = select(AdminEntry).where(AdminEntry.object_type == "gateway").order_by(AdminEntry.id)
        said = [str((row.before, row.after)) for row in session.scalars(query)]
    assert len(said) == 2
    assert ("gateway.example.com" in said[0], "'address': 'another'" in said[1]) == (True, True)
    assert "k3y" not in "".join(said)


def _followed(web: Web, page: str, path: str, action: str) -> str:
    """What the page says after an action."""
    admin = web.browser("admin")
    admin.get(page)
    assert admin.post(path, action=action).status_code == 302
    return admin.get(page).text


def test_it_lets_a_manager_write_a_message_in_two_languages_and_go_back_to_mail(web: Web) -> None:
    number, campaign = made(web), web.shop.campaign()
    manager = web.browser("manager")
    path = f"/campaigns/{campaign}/text"
    manager.get(path)
    typed = {"gateway": str(number), "locale-0": "en", "body-0": BODY, "fallback-0-first_name": "friend"}
    bad = manager.post(path, **typed | {"body-0": "No way out"})
    assert (bad.status_code, "link.unsubscribe" in bad.text, "No way out" in bad.text) == (400, True, True)
    german = {"locale-1": "de", "body-1": f"Hallo {BODY}", "fallback-1-first_name": "du"}
    assert manager.post(path, **typed, **german).status_code == 302
    with web.shop.sessions.begin() as session:
        row = campaigns.campaign(session, campaign)
        content = campaigns.content(row)
        assert (row.channel, content.gateway_id) == ("sms", number)
        assert content.text is not None
        assert {name: one.fallbacks for name, one in content.text.versions.items()} == {
            "en": {"first_name": "friend"}, "de": {"first_name": "du"},
        }  # fmt: skip
    shown = manager.get(path).text
    assert "As it arrives where no field is known, in 2 parts" in shown
    assert "Hallo Hello du http" in shown
    assert "The page it leads to" in manager.get(f"/campaigns/{campaign}/message").text
    assert manager.post(path, **typed | german | {"gateway": ""}).status_code == 302
    with web.shop.sessions.begin() as session:
        row = campaigns.campaign(session, campaign)
        assert (row.channel, campaigns.content(row).text) == ("email", content.text), "what was written is kept"
    page = manager.get(path).text
    assert ("It goes by mail" in page, f"Hallo {BODY}" in page) == (True, True)


def test_it_asks_what_stands_in_for_each_field_and_marks_the_text_that_is_wrong(web: Web) -> None:
    number, campaign = made(web), web.shop.campaign()
    manager = web.browser("manager")
    path = f"/campaigns/{campaign}/text"
    assert "fallback-0-motto" not in manager.get(path).text
    typed = {"gateway": str(number), "locale-0": "en", "body-0": BODY + "{{ profile.motto }}"}
    refused = manager.post(path, **typed)
    assert (refused.status_code, "text.versions" in refused.text.lower()) == (400, False)
    assert "The text in en prints profile.motto" in refused.text
    (area,) = re.findall(r'<textarea [^>]*id="body-0"[^>]*>', refused.text)
    assert ("is-invalid" in area, 'aria-describedby="e-0"' in area, 'id="e-0"' in refused.text) == (True, True, True)
    assert 'name="fallback-0-motto"' in refused.text
    assert manager.post(path, **typed, **{"fallback-0-motto": "Just do"}).status_code == 302
    assert 'name="fallback-0-motto" value="Just do"' in manager.get(path).text


def texting(web: Web, **versions: TextVersion) -> int:
    """A campaign that goes by a gateway, with these versions."""
    first = TextVersion(body=BODY, fallbacks={"first_name": "friend"})
    return web.shop.campaign(
        published=False,
        gateway_id=made(web, f"Gateway {next(_numbers)}"),
        text=TextIn(versions={"en": first} | versions),
    )


def test_it_shows_whoever_approves_every_version_of_the_message_as_it_arrives(web: Web) -> None:
    german = TextVersion(body=f"Hallo {BODY}{{% if profile.tier == 'gold' %}} Gold!{{% endif %}}",
                         fallbacks={"first_name": "du", "tier": "none"})  # fmt: skip
    campaign = texting(web, de=german)
    page = web.browser("approver").get(f"/campaigns/{campaign}/checks/").text
    assert "The text message, in every language" in page
    assert "Hello friend http" in page
    assert "Hallo Hello du http" in page
    assert "Gold!" in page, "what only some get stands there as it is written"
    assert "The page it leads to" in page


TYPED: tuple[tuple[dict[str, Any], set[tuple[str, str]]], ...] = (
    ({"body": f"{BODY} http://shop.example.com/x"}, {("error", "link")}),
    ({"body": f"{BODY} now: bit.ly/x!"}, {("error", "link")}),
    ({"body": BODY + "{{ 'https://bit.ly/x' }}"}, {("error", "link")}),
    ({"body": BODY, "fallbacks": {"first_name": "www.bit.ly/x"}}, {("error", "link")}),
    ({"body": f"{BODY} https://203.0.113.7/x"}, {("error", "link")}),
    ({"body": f"{BODY} https://[broken/x"}, {("error", "link")}),
    ({"body": f"{BODY} https://partner.test/x"}, {("warning", "host")}),
    ({"body": f"{BODY} Rated 4.5/5, 9.99/pair, me@bit.ly or https://www.example.com/shoes."}, set()),
)


def test_it_leads_from_a_link_that_blocks_to_the_checks(web: Web) -> None:
    campaign = texting(web, de=TextVersion(body=f"{BODY} bit.ly/x", fallbacks={"first_name": "du"}))
    page = web.browser("manager").get(f"/campaigns/{campaign}/audience").text
    words = "The text: A link in the text (de) goes through bit.ly: filters refuse shortened addresses."
    assert re.search(re.escape(words) + r"\s*<a [^>]*/checks/", page)


def test_it_says_nothing_of_inboxes_where_the_mail_is_a_page_that_a_text_leads_to(web: Web) -> None:
    by_mail, by_text = web.shop.campaign(published=False), texting(web)
    told = []
    for campaign in (by_mail, by_text):
        with web.shop.sessions.begin() as session:
            row = campaigns.campaign(session, campaign)
            told.append(
                {
                    one.code
                    for one in findings.findings(row, *compiling.compile_campaign(session, row), is_sending=False)
                }
            )
    assert "text" in told[0]
    assert not told[1] & {"size", "sender", "subject", "preheader", "words", "text"}


def test_it_looks_at_where_the_links_typed_into_any_version_lead(web: Web) -> None:
    for version, told in TYPED:
        campaign = texting(web, de=TextVersion(**{"fallbacks": {"first_name": "du"}} | version))
        with web.shop.sessions.begin() as session:
            row = campaigns.campaign(session, campaign)
            found = findings.findings(row, *compiling.compile_campaign(session, row), is_sending=False)
        assert {(one.level, one.code) for one in found if one.tab == "text"} == told, version
