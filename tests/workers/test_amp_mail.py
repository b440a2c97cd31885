"""An AMP mail from the campaign's switch to the reader's screen: sent, valid, and filled when it is looked at."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import replace
from email.message import EmailMessage
from html import escape, unescape
from typing import Any

import pytest

from base.clock import FixedClock
from base.db import Sessions
from base.settings import Settings
from base.stores import Store
from tests.amprules import validate
from tests.campaigns.shop import Shop
from tests.promises.reader import BROWSER, SCANNER
from tests.workers.opens import Opens
from tests.workers.relay import Relay

RENDER = "https://r.example.com"
SENDER = "shop@example.com"


@pytest.fixture
def shop(settings: Settings, sessions: Sessions, valkey: Store, clock: FixedClock, relay: Relay) -> Shop:
    """A shop whose pictures and data come by https, as AMP wants it."""
    return Shop(replace(settings, smtp_url=relay.url, render_url=RENDER), sessions, valkey, clock)


class Reader:
    """A mail program that shows AMP: asks for each list as the rules say, and fills its template."""

    def __init__(self, opens: Opens, mail: EmailMessage) -> None:
        self.opens = opens
        self.parts = {part.get_content_type(): part for part in mail.iter_parts()}
        self.sender = str(mail["From"].addresses[0].addr_spec)
        self.document = bytes(self.parts["text/x-amp-html"].get_payload(decode=True)).decode()

    def lists(self) -> list[tuple[str, list[dict[str, str]]]]:
        """What each list of the mail becomes: its HTML, and the items it was made of."""
        made = []
        for listed in re.findall(r"<amp-list .*?</amp-list>", self.document, re.DOTALL):
            source = unescape(re.findall(r'src="([^"]+)"', listed)[0])
            answer = self.opens.client.get(
                source.removeprefix(RENDER), headers={"User-Agent": BROWSER, "AMP-Email-Sender": self.sender}
            )
            # A redirect or a missing header, and the program shows the fallback.
            assert answer.status_code == 200
            assert answer.headers["AMP-Email-Allow-Sender"] == self.sender
            items: list[dict[str, Any]] = answer.get_json()["items"]
            template = re.findall(r"<template[^>]*>(.*?)</template>", listed, re.DOTALL)[0]
            made.append(("".join(_filled(template, item) for item in items), items))
        return made


def _filled(template: str, item: dict[str, Any]) -> str:
    """A template whose mustaches stand for this item's values, escaped as the template language does."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: escape(item[name[1]]), template)


@pytest.mark.feature("EC-24")
def test_it_is_sent_valid_and_shows_the_decision_of_the_picture(opens: Opens) -> None:
    mail = opens.send("ann", amp=True)["ann"]
    content: EmailMessage = email.message_from_bytes(opens.relay.mails[0][1], EmailMessage, policy=email.policy.default)
    assert [part.get_content_type() for part in content.iter_parts()] == ["text/plain", "text/x-amp-html", "text/html"]
    reader = Reader(opens, content)
    assert validate([reader.document]) == [("PASS", [])]
    (hero, (item,)), (strip, _) = reader.lists()
    # The values stand whole in the template's attributes, and are the addresses of the HTML part.
    assert f'<a href="{RENDER}{mail.clicks[0]}" target="_blank"><amp-img src="{RENDER}{mail.pictures[0]}"' in hero
    assert f'src="{RENDER}{mail.pictures[1]}"' in strip
    assert f'alt="{escape(item["alt"])}"' in hero
    opens.look(mail)
    opens.record()
    kept = opens.rows('SELECT kind, slot, decision_id, fetch_class FROM "fetch" ORDER BY at, kind, slot')
    assert [(row.kind, row.slot) for row in kept] == [("amp", 0), ("amp", 1), ("picture", 0)]
    assert {row.decision_id for row in kept} == {item["decision"]}
    shown = opens.rows("SELECT id FROM decision")
    assert [row.id for row in shown] == [item["decision"]]


def test_it_sends_no_amp_part_unless_the_campaign_wants_one(opens: Opens) -> None:
    opens.send("ann")
    assert b"x-amp-html" not in opens.relay.mails[0][1]


def test_it_counts_a_machine_that_asks_for_the_data_as_a_machine(opens: Opens) -> None:
    opens.send("ann", amp=True)
    source = re.findall(r"/amp/([A-Za-z0-9_-]{54})", opens.relay.mails[0][1].decode().replace("=\r\n", ""))[0]
    assert opens.get(f"/amp/{source}", SCANNER).status_code == 200
    opens.record()
    assert [row.fetch_class for row in opens.rows('SELECT fetch_class FROM "fetch"')] == ["scanner"]
