"""Text and push messages: by the ledger of mails to a gateway that misbehaves on command, and nobody gets one twice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from base.environment import environment
from base.ids import Delivery as Key
from base.tokens import Purpose, TokenKeys
from campaigns import (
    campaigns,
    deliveries,
    gateways,
    settling,
    timeline,
    transitions,
)
from campaigns.deliveries import LEASE, RELAY_AWAY, RELAY_REFUSES
from campaigns.gateways import GatewayTerms
from render.app import create_app
from signals.identity import value_hash
from tests.campaigns.shop import MANAGER
from tests.promises.reader import BROWSER
from tests.workers import peergateway
from tests.workers.peergateway import PeerGateway, answers
from tests.workers.relay import Relay
from tests.workers.texting import NUMBERS, PUSH, ROOT, Texting
from workers.handover import STREAK

SENDS = """
import json, os, sys
from datetime import datetime
from base import db, stores
from base.blobs import blobs_from
from base.clock import FixedClock
from base.vault import Vault
from base.settings import Settings
from workers.sending import Sender

settings = Settings.from_environment(os.environ)
clock = FixedClock(datetime.fromisoformat(sys.argv[2]))
engine = db.connect(settings.database_url, vault=Vault.of(settings))
sender = Sender(settings, db.sessions(engine), stores.connect(settings.redis_url),
                blobs_from(settings), clock, handing=2)
sender.send(json.loads(sys.argv[1]))
"""


def test_it_hands_a_text_over_by_a_signed_call_to_those_who_agreed_and_its_link_leads_to_the_offer(
    texting: Texting, peer: PeerGateway, relay: Relay
) -> None:
    shop = texting.shop
    texting.people("ann", "bob")
    shop.send({"type": "identify", "userId": "bob", "traits": {"locale": "de-AT"}})
    shop.people("cleo", phone=NUMBERS["cleo"])  # agreed to mail alone
    shop.people("dora")
    shop.send(shop.consent("dora", True, "sms"))  # has no number
    shop.people("eve", phone=NUMBERS["eve"])
    shop.send(shop.consent("eve", False, "sms"))
    campaign = texting.campaign()
    rows = texting.send(campaign)
    assert {name: (row.state, row.reason) for name, row in rows.items()} == {
        "ann": ("accepted", None), "bob": ("accepted", None), "cleo": ("skipped", "no_consent"),
        "dora": ("skipped", "no_address"), "eve": ("skipped", "unsubscribed"),
    }  # fmt: skip
    assert {row.channel for row in rows.values()} == {"sms"}
    assert not relay.mails, "nobody is mailed"
    ann, bob = peer.calls
    assert (ann.body["to"], bob.body["to"]) == (NUMBERS["ann"], NUMBERS["bob"])
    assert ann.body["text"].startswith("Hello Ann: http")
    assert bob.body["text"].startswith("Hallo Bob: http"), "de-AT gets the German version"
    key = base64.b64decode(texting.secret.removeprefix("whsec_"))
    named = f"{ann.headers['webhook-id']}.{ann.headers['webhook-timestamp']}.".encode()
    mac = base64.b64encode(hmac.new(key, named + ann.content, hashlib.sha256).digest()).decode()
    assert ann.headers["webhook-signature"] == f"v1,{mac}"
    assert int(ann.headers["webhook-timestamp"]) == int(shop.now.timestamp())
    assert ann.headers["idempotency-key"] == ann.headers["webhook-id"] == ann.body["id"] == rows["ann"].message_id
    click = next(word for word in ann.body["text"].split() if "/c/" in word)
    token = TokenKeys.from_settings(shop.settings).read(click.rpartition("/")[2], Purpose.CLICK)
    assert token.delivery == Key(rows["ann"].profile_id, campaign, 1)
    app = create_app(replace(shop.settings, deadline_ms=5000), shop.clock)
    client = app.test_client()
    landed = client.get(urlsplit(click).path, headers={"User-Agent": BROWSER})
    assert (landed.status_code, urlsplit(landed.headers["Location"]).netloc) == (302, "shop.example.com")
    leave = urlsplit(ann.body["unsubscribe"]).path
    asked = client.get(leave, headers={"User-Agent": BROWSER})
    assert "stop text messages" in asked.text
    assert 'value="email"' not in asked.text, "leaving this channel is not leaving another"
    app.extensions["parts"].close()


def test_it_hands_a_push_message_to_a_user_id_with_title_picture_and_where_a_tap_leads(
    texting: Texting, peer: PeerGateway
) -> None:
    gateway, _ = texting.made("Pushes", "push")
    texting.people("ann", purpose="push")
    # What an alias names before anybody came under it may be a device's, which no provider knows.
    ahead = {"timestamp": (texting.shop.now + timedelta(minutes=1)).isoformat(), "userId": "ann", "previousId": "x1"}
    texting.shop.send({"type": "alias"} | ahead)
    rows = texting.send(texting.campaign(PUSH, gateway))
    assert rows["ann"].state == "accepted"
    (call,) = peer.calls
    told = call.body
    assert (told["to"], told["title"], told["text"]) == ("ann", "For Ann", "Your offer")
    assert "/c/" in told["url"]
    app = create_app(replace(texting.shop.settings, deadline_ms=5000), texting.shop.clock)
    shown = app.test_client().get(urlsplit(told["image"]).path, headers={"User-Agent": BROWSER})
    assert (shown.status_code, shown.mimetype) == (200, "image/jpeg")
    app.extensions["parts"].close()


def test_it_tells_verdicts_by_the_status_and_never_keeps_a_number(texting: Texting, peer: PeerGateway) -> None:
    texting.people(*NUMBERS)
    peer.answers |= {
        NUMBERS["bob"]: answers(400, f"no route to {NUMBERS['bob']} for key sk_live_0123456789abcdefghij"),
        NUMBERS["ann"]: answers(410, "5.1.1 gone"),
        NUMBERS["dora"]: answers(503),
        NUMBERS["eve"]: answers(429, Retry_After="7200"),
    }
    campaign = texting.campaign()
    rows = texting.send(campaign)
    assert texting.states(campaign) == {
        "ann": ("failed", "refused", 1), "bob": ("failed", "refused", 1), "cleo": ("accepted", None, 1),
        "dora": ("deferred", "put off by the server", 1), "eve": ("deferred", "put off by the server", 1),
        "finn": ("deferred", RELAY_AWAY, 0),
    }  # fmt: skip
    assert rows["bob"].reply == "HTTP 400: no route to … for key …"
    assert rows["ann"].reply == "HTTP 410: 5.1.1 gone"
    assert rows["dora"].not_before == texting.shop.now + timedelta(minutes=1)
    assert rows["eve"].not_before == rows["finn"].not_before == texting.shop.now + timedelta(hours=2)
    hashed = value_hash(texting.shop.settings.hash_key, "phone", NUMBERS["ann"])
    assert texting.barred() == [hashed], "only who is gone is never tried"
    peer.told()
    peer.answers.clear()
    texting.later(timedelta(hours=2), campaign)
    assert sorted(peer.told()) == sorted(NUMBERS[name] for name in ("dora", "eve", "finn"))
    assert {row.state for row in texting.rows(campaign).values()} == {"accepted", "failed"}


def test_it_bars_no_number_for_a_gateway_that_says_gone_to_everybody(texting: Texting, peer: PeerGateway) -> None:
    many = {f"p{place:02d}": f"+49301001{place:02d}" for place in range(STREAK + 1)}
    for name, number in many.items():
        texting.shop.people(name, phone=number)
        texting.shop.send(texting.shop.consent(name, True, "sms"))
    peer.usual = answers(410, "this version of the API is retired")
    campaign = texting.campaign()
    texting.send(campaign)
    assert set(texting.states(campaign).values()) == {("deferred", RELAY_REFUSES, 0)}, "ten in a row are ours"
    assert len(peer.told()) == STREAK
    with texting.shop.sessions.begin() as session:
        assert "API is retired" in str(campaigns.campaign(session, campaign).trouble)
    assert texting.barred() == []
    peer.usual = answers(202)
    peer.answers[many["p10"]] = answers(410)
    texting.later(timedelta(minutes=6), campaign)
    states = texting.states(campaign)
    assert states.pop("p10") == ("failed", "refused", 1)
    assert set(states.values()) == {("accepted", None, 1)}
    assert texting.barred() == [], "nothing was taken after it, so it may still be the gateway that is gone"


@pytest.mark.parametrize("fault", ["hangs_up", "says_nonsense"])
def test_it_does_not_know_what_became_of_a_message_that_was_sent_and_not_answered(
    texting: Texting, peer: PeerGateway, fault: str
) -> None:
    texting.people("ann", "bob", "cleo")
    peer.answers[NUMBERS["bob"]] = getattr(peergateway, fault)
    campaign = texting.campaign()
    rows = texting.send(campaign)
    assert texting.states(campaign) == {
        "ann": ("accepted", None, 1), "bob": ("unknown", "no answer after the mail was sent", 1),
        "cleo": ("deferred", RELAY_AWAY, 0),
    }  # fmt: skip
    assert rows["bob"].reply is not None
    texting.later(timedelta(days=2), campaign)
    assert peer.told() == [NUMBERS[name] for name in ("ann", "bob", "cleo")], "nothing unknown is tried again"
    entries = _timeline(texting, "bob")
    assert entries[0].startswith("text message handed over, outcome unknown")
    assert _timeline(texting, "ann") == ["text message accepted by the gateway"]


@pytest.mark.parametrize("attempt", ["put_off", "in_doubt"])
def test_it_says_the_same_bytes_at_every_attempt_of_who_has_not_changed(
    texting: Texting, peer: PeerGateway, attempt: str
) -> None:
    gateway, _ = texting.made("Pushes", "push")
    texting.people("ann", purpose="push")
    peer.usual = answers(503) if attempt == "put_off" else peergateway.hangs_up
    campaign = texting.campaign(PUSH, gateway)
    row = texting.send(campaign)["ann"]
    if attempt == "in_doubt":
        with texting.shop.sessions.begin() as session:
            settling.resolve(session, row.id, "queued", texting.shop.now, MANAGER)
    peer.usual = answers(202)
    assert texting.later(timedelta(hours=3), campaign)["ann"].state == "accepted"
    first, second = peer.calls
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.content == second.content
    assert int(first.headers["webhook-timestamp"]) < int(second.headers["webhook-timestamp"])


def test_it_fails_nobody_whose_gateway_knows_an_earlier_attempt_in_doubt_with_other_words(
    texting: Texting, peer: PeerGateway
) -> None:
    shop = texting.shop
    texting.people("ann", "bob", "cleo")
    peer.usual = peergateway.remembers
    campaign = texting.campaign()
    texting.send(campaign)
    for _ in range(2):  # After a call without an answer the others wait.
        texting.later(timedelta(minutes=1), campaign)
    rows = texting.rows(campaign)
    assert [rows[name].state for name in ("ann", "bob", "cleo")] == ["unknown"] * 3
    shop.send({"type": "identify", "userId": "ann", "traits": {"first_name": "Anna"}})
    shop.send({"type": "identify", "userId": "cleo", "traits": {"first_name": "Cleopatra"}})
    with shop.sessions.begin() as session:
        for name, outcome in (("ann", "queued"), ("bob", "queued"), ("cleo", "failed")):
            settling.resolve(session, rows[name].id, outcome, shop.now, MANAGER)
        assert settling.send_again(session, campaign, shop.now, MANAGER) == 1
        assert [one.reason for one in settling.retries(session, rows["ann"].id)] == [deliveries.NO_ANSWER]
    rows = texting.send(campaign)
    assert texting.states(campaign) == {
        "ann": ("unknown", deliveries.NO_ANSWER, 2), "bob": ("accepted", None, 2),
        "cleo": ("unknown", deliveries.NO_ANSWER, 1),
    }  # fmt: skip
    assert rows["ann"].reply == "an earlier attempt may have been taken: HTTP 422: another body"


def test_it_fails_whom_a_gateway_refuses_by_422_where_no_attempt_is_in_doubt(
    texting: Texting, peer: PeerGateway
) -> None:
    texting.people("ann")
    campaign = texting.campaign()
    for answer, state in ((answers(503), "deferred"), (answers(422), "failed")):
        peer.usual = answer
        assert texting.later(timedelta(minutes=2), campaign)["ann"].state == state


def test_it_asks_a_person_where_a_proxy_ran_out_of_time_and_leaves_the_others_for_a_while(
    texting: Texting, peer: PeerGateway
) -> None:
    texting.people("ann", "bob")
    peer.answers[NUMBERS["ann"]] = answers(504, "upstream timed out")
    campaign = texting.campaign()
    rows = texting.send(campaign)
    assert texting.states(campaign) == {
        "ann": ("unknown", deliveries.NO_ANSWER, 1), "bob": ("deferred", RELAY_AWAY, 0),
    }  # fmt: skip
    assert rows["ann"].reply == "no status that says what became of the message: HTTP 504: upstream timed out"
    assert rows["bob"].not_before == texting.shop.now + timedelta(seconds=30)
    texting.later(timedelta(days=1), campaign)
    assert peer.told() == [NUMBERS["ann"], NUMBERS["bob"]], "nobody is written to twice without being asked for"


def test_it_holds_a_campaign_without_failing_anybody_where_the_gateway_refuses_us(
    texting: Texting, peer: PeerGateway
) -> None:
    texting.people("ann", "bob")
    for answer, words in (
        (answers(401, "bad key"), "HTTP 401: bad key"),
        (answers(302, Location="http://169.254.169.254/"), "HTTP 302"),
    ):
        peer.usual = answer
        campaign = texting.campaign()
        texting.send(campaign)
        assert set(texting.states(campaign).values()) == {("deferred", RELAY_REFUSES, 0)}
        with texting.shop.sessions.begin() as session:
            trouble = campaigns.campaign(session, campaign).trouble
            assert trouble == f"The gateway takes no messages of ours: {words}"
            transitions.cancel(session, campaign, texting.shop.now, MANAGER)
    assert len(peer.told()) == 2, "after the first refusal nobody else is tried"
    campaign = texting.campaign()
    rows = texting.send(campaign, fetch_loopback=False)
    assert {row.reply for row in rows.values()} == {"the gateway’s address must begin with https://"}
    assert peer.told() == [], "an address that may not be called is not called"


def test_it_counts_no_try_while_the_gateway_is_away(texting: Texting, peer: PeerGateway) -> None:
    texting.people("ann", "bob")
    campaign = texting.campaign()
    away = GatewayTerms(name="Texts", url="http://127.0.0.1:9/messages")
    for url in (away.url, peer.url):
        with texting.shop.sessions.begin() as session:
            terms = GatewayTerms(name="Texts", url=url)
            gateways.change(session, texting.gateway, terms, texting.settings, texting.shop.now, MANAGER)
        texting.later(timedelta(minutes=1), campaign)
        if url == away.url:
            assert set(texting.states(campaign).values()) == {("deferred", RELAY_AWAY, 0)}
    assert {row.state for row in texting.rows(campaign).values()} == {"accepted"}


def test_it_survives_a_kill_in_flight_and_names_the_delivery_alike_when_a_person_sends_it_again(
    texting: Texting, peer: PeerGateway, tmp_path: Path
) -> None:
    shop = texting.shop
    texting.people("ann", "bob", "cleo")
    campaign = texting.campaign()
    peer.answers[NUMBERS["ann"]] = peergateway.kills
    ids = [row.id for row in shop.ledger(campaign)]
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    with (tmp_path / "sender.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SENDS, str(ids), shop.now.isoformat()],
            cwd=ROOT, env=outer | environment(texting.settings), stderr=log,
        )  # fmt: skip
        peer.victim = process.pid
        assert process.wait(timeout=120) == -signal.SIGKILL, (tmp_path / "sender.log").read_text()
    first = [said.headers["idempotency-key"] for said in peer.calls]
    assert peer.told() == [NUMBERS["ann"]]
    peer.answers.clear()
    texting.send(campaign)
    assert peer.told() == [], "nothing is touched before the dead sender’s claim has run out"
    texting.later(LEASE + timedelta(seconds=1), campaign)
    rows = texting.rows(campaign)
    # The group of two was marked: the one that was taken and the one that was not begun are both for a person to tell.
    assert [rows[name].state for name in ("ann", "bob", "cleo")] == ["unknown", "unknown", "accepted"]
    assert peer.told() == [NUMBERS["cleo"]]
    with shop.sessions.begin() as session:
        settling.resolve(session, rows["ann"].id, "queued", shop.now, MANAGER)
        settling.resolve(session, rows["bob"].id, "queued", shop.now, MANAGER)
    texting.send(campaign)
    assert [said.headers["idempotency-key"] for said in peer.calls][:1] == first
    assert peer.told() == [NUMBERS["ann"], NUMBERS["bob"]]
    assert {row.state for row in texting.rows(campaign).values()} == {"accepted"}


def _timeline(texting: Texting, name: str) -> list[str]:
    with texting.shop.sessions.begin() as session:
        found = timeline.timeline(session, [texting.shop.profile(name)], kind="mail")
        return [entry.detail for entry in found.entries]
