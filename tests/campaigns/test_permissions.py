"""A customer's consent and addresses, as support sees and changes them; what came back of mails, as admins see it."""

from __future__ import annotations

import re
from datetime import timedelta

from campaigns import audience
from signals import mailreports
from signals.identity import address_hash, value_hash
from signals.suppression import Suppression, suppress_hash
from tests.campaigns.web import Web


def test_it_tells_support_who_said_what_of_each_purpose_and_since_when(web: Web) -> None:
    (ada,) = web.shop.people("ada")
    since = web.shop.now
    web.shop.clock.advance(timedelta(days=1))
    support = web.program("support")
    path = f"/customers/{ada}"
    told = {"purpose": "email", "granted": False, "why": "Called on Tuesday, wants no more mail"}
    support.told("POST", f"{path}/consents", told)
    found = support.told("GET", f"{path}/permissions")
    assert found["purposes"] == dict.fromkeys(found["purposes"]) | {"email": False}
    said = [(one["granted"], one["source"], one["via"], one["wording"]) for one in found["statements"]]
    assert said == [
        (False, "Latebind", "support", "Called on Tuesday, wants no more mail"), (True, "shop", None, None),
    ]  # fmt: skip
    assert [one["until"] for one in found["statements"]] == [None, web.shop.now.isoformat()]
    assert found["statements"][1]["at"] == since.isoformat()
    page = web.desk("support").get(f"{path}/permissions").text
    assert "wants no more mail" in page
    assert "ada@" not in page
    assert support.call("POST", f"{path}/consents", told | {"why": " "}).json["field"] == "why"  # type: ignore[index]


def test_it_says_of_an_address_what_they_allow_and_refused_of_who_never_agreed(web: Web) -> None:
    (ada,) = web.shop.people("ada", phone="+4930100001")
    bob, eve = web.shop.people("bob", "eve", consent=False)
    program, support, admin = web.program("support"), web.desk("support"), web.desk("admin")

    def badges(profile: int) -> list[str]:
        page = support.get(f"/customers/{profile}/permissions").text
        return re.findall(r'<span class="badge [^>]*>([^<]*)</span>', page.partition('id="purposes"')[2])

    assert badges(ada)[0] == "agreed"
    assert sorted(badges(ada)[-2:]) == ["gets no text messages: never asked", "may be mailed"]
    assert badges(eve)[-1] == "may be mailed where no consent is needed: never asked"
    for profile in (ada, bob):
        told = {"purpose": "email", "granted": False, "why": "Wants no mail"}
        program.told("POST", f"/customers/{profile}/consents", told)
    assert (badges(bob)[0], badges(bob)[-1]) == ("refused", "gets no mail: they refuse it")
    assert badges(ada)[0] == "withdrawn"
    assert "no, refused" in support.get(f"/customers/{bob}").text
    assert "bob@example.com" in admin.get(f"/customers/{bob}/permissions").text
    assert "bob@example.com" not in support.get(f"/customers/{bob}/permissions").text


def test_it_lets_a_person_lift_a_suppression_with_a_reason_and_keeps_who_did(web: Web) -> None:
    shop = web.shop
    ada, bob = shop.people("ada", "bob")
    hashed = address_hash(shop.settings.hash_key, "ada@example.com")
    with shop.sessions.begin() as session:
        suppress_hash(session, hashed, "bounced", shop.now, via="dsn", evidence="5.1.1, 550 no such user")
    campaign = shop.campaign()
    support = web.program("support")
    (address,) = support.told("GET", f"/customers/{ada}/permissions")["addresses"]
    assert (address["masked"], address["reason"]) == ("a•••@example.com", "bounced")
    lift = {"address": address["address"], "why": "She had the mailbox mended"}
    assert support.call("POST", f"/customers/{bob}/addresses/lift", lift).status_code == 404
    refused = web.desk("support")
    refused.get(f"/customers/{ada}/permissions")
    assert refused.post(f"/customers/{ada}/addresses/lift", address=address["address"], why="").status_code == 400
    with shop.sessions.begin() as session:
        assert audience.count(session, campaign, shop.now, shop.settings.hash_key).excluded == {"bounced": 1}
    support.told("POST", f"/customers/{ada}/addresses/lift", lift)
    with shop.sessions.begin() as session:
        assert audience.count(session, campaign, shop.now, shop.settings.hash_key).excluded == {}
    (address,) = support.told("GET", f"/customers/{ada}/permissions")["addresses"]
    assert address["reason"] is None
    history = [(one["listed"], one["via"], one["evidence"]) for one in address["history"]]
    assert history == [(False, "person", "She had the mailbox mended"), (True, "dsn", "5.1.1, 550 no such user")]
    assert address["history"][0]["by"].startswith("api key ")
    page = refused.get(f"/customers/{ada}/permissions").text
    assert "550 no such user" in page
    assert "may be mailed again" in page


def test_it_lets_support_lift_a_phone_number_that_was_barred(web: Web) -> None:
    shop = web.shop
    (ada,) = shop.people("ada", phone="+4930100001")
    hashed = value_hash(shop.settings.hash_key, "phone", "+4930100001")
    with shop.sessions.begin() as session:
        suppress_hash(session, hashed, "bounced", shop.now, evidence="HTTP 410")
    desk = web.desk("support")
    page = desk.get(f"/customers/{ada}/permissions").text
    assert ("gets no text messages since" in page, "+4930100001" in page) == (True, False)
    assert "takes no messages any more), by the gateway’s refusal" in page
    done = desk.post(f"/customers/{ada}/addresses/lift", address=hashed.hex(), why="Her number is in use again")
    assert done.status_code == 302
    with shop.sessions.begin() as session:
        assert session.get(Suppression, hashed) is None
    assert "may be texted again" in desk.get(f"/customers/{ada}/permissions").text


def test_it_tells_admins_what_came_back_and_what_was_refused(web: Web) -> None:
    with web.shop.sessions.begin() as session:
        for outcome in ("taken", "forged", "forged"):
            mailreports.tally(session, "ses", outcome, web.shop.now)
        suppress_hash(session, b"x", "complained", web.shop.now)
    found = web.program("admin").told("GET", "/system/mail-reports")
    assert found["outcomes"] == {"ses": {"taken": 1, "forged": 2}}
    assert found["suppressed"] == {"complained": 1}
    assert not any(found["ways"].values())
    page = web.desk("admin").get("/system/mail-reports").text
    assert "Nothing is set to take in what comes back" in page
