"""Gateways and the messages that go by them, as admins and managers meet them on pages."""

from __future__ import annotations

import re

from campaigns import campaigns, gateways
from campaigns.gateways import GatewayIn
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Web

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
    typed = {"gateway": str(number), "locale-0": "en", "body-0": BODY, "first_name-0": "friend"}
    bad = manager.post(path, **typed | {"body-0": "No way out"})
    assert (bad.status_code, "link.unsubscribe" in bad.text, "No way out" in bad.text) == (400, True, True)
    german = {"locale-1": "de", "body-1": f"Hallo {BODY}", "first_name-1": "du"}
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
    assert manager.post(path, gateway="", **{"locale-0": "en", "body-0": BODY}).status_code == 302
    with web.shop.sessions.begin() as session:
        row = campaigns.campaign(session, campaign)
        assert (row.channel, row.text) == ("email", None)
