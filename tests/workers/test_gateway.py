"""Text and push messages: by the ledger of mails to a gateway that misbehaves on command, and nobody gets one twice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from base.blobs import blobs_from
from base.environment import environment
from base.errors import Conflict, InvalidInput
from base.ids import Delivery as Key
from base.tokens import Purpose, TokenKeys
from campaigns import (
    audience,
    campaigns,
    contacts,
    deliveries,
    gateways,
    permissions,
    settling,
    sweeping,
    timeline,
    transitions,
)
from campaigns.contacts import LIMITED, Limit
from campaigns.deliveries import LEASE, RELAY_AWAY, RELAY_REFUSES
from campaigns.gateways import GatewayIn, GatewayTerms
from campaigns.models import Delivery
from campaigns.texts import TextIn, TextVersion, compile_text, parts
from render.app import create_app
from render.record import THIS_CHANNEL, ConsentRecord
from signals.identity import value_hash
from signals.moments import unix_ms
from signals.suppression import Suppression
from tests.campaigns.shop import MANAGER, Shop
from tests.promises.reader import BROWSER
from tests.workers import peergateway
from tests.workers.peergateway import PeerGateway, answers, peer_gateway
from tests.workers.relay import Relay
from workers.following import Following
from workers.handover import STREAK
from workers.recorder import RecorderParts
from workers.schedule import Scheduler
from workers.sending import GATEWAY_SHUT, Sender

ROOT = Path(__file__).resolve().parent.parent.parent
NUMBERS = {name: f"+49301000{place:02d}" for place, name in enumerate(("ann", "bob", "cleo", "dora", "eve", "finn"))}
BODY = "Hello {{ profile.first_name }}: {{ link.hero }} Stop: {{ link.unsubscribe }}"
GERMAN = "Hallo {{ profile.first_name }}: {{ link.hero }} Ende: {{ link.unsubscribe }}"
TEXT = TextIn(
    versions={
        "en": TextVersion(body=BODY, fallbacks={"first_name": "there"}),
        "de": TextVersion(body=GERMAN, fallbacks={"first_name": "du"}),
    }
)
PUSH = TextIn(
    versions={
        "en": TextVersion(title="For {{ profile.first_name }}", body="Your offer", fallbacks={"first_name": "you"})
    },
    link="hero",
    image="strip",
)
SENDS = """
import json, os, sys
from datetime import datetime
from base import db, stores
from base.blobs import blobs_from
from base.clock import FixedClock
from base.settings import Settings
from workers.sending import Sender

settings = Settings.from_environment(os.environ)
clock = FixedClock(datetime.fromisoformat(sys.argv[2]))
sender = Sender(settings, db.sessions(db.connect(settings.database_url)), stores.connect(settings.redis_url),
                blobs_from(settings), clock, handing=2)
sender.send(json.loads(sys.argv[1]))
"""


@dataclass
class Texting:
    """A shop whose campaigns go by a gateway; its senders may call this machine, as in the demo."""

    shop: Shop
    scheduler: Scheduler
    peer: PeerGateway

    def __post_init__(self) -> None:
        self.settings = replace(self.shop.settings, fetch_loopback=True)
        self.gateway, self.secret = self.made("Texts", "sms")

    def made(self, name: str, kind: Any, **limits: int) -> tuple[int, str]:
        wanted = GatewayIn(name=name, kind=kind, url=self.peer.url, **limits)
        with self.shop.sessions.begin() as session:
            row, secret = gateways.create(session, wanted, self.settings, self.shop.now, MANAGER)
            return row.id, secret

    def people(self, *names: str, purpose: str = "sms") -> None:
        """People with a number each, who agreed to that channel."""
        for name in names:
            self.shop.people(name, phone=NUMBERS[name])
            self.shop.send(self.shop.consent(name, True, purpose))

    def campaign(self, text: TextIn = TEXT, gateway: int | None = None, **content: Any) -> int:
        """A campaign that is frozen and waits in the ledger."""
        made = self.shop.campaign(gateway_id=gateway or self.gateway, text=text, **content)
        self.shop.schedule(made)
        self.scheduler.tick()
        return made

    def sender(self, **changes: Any) -> Sender:
        settings = replace(self.settings, **changes)
        return Sender(settings, self.shop.sessions, self.shop.store, blobs_from(settings), self.shop.clock)

    def send(self, campaign: int, **changes: Any) -> dict[str, Delivery]:
        """Send what waits; the rows by name."""
        sender = self.sender(**changes)
        sender.send([row.id for row in self.shop.ledger(campaign)])
        sender.close()
        return self.rows(campaign)

    def rows(self, campaign: int) -> dict[str, Delivery]:
        names = {number: name for name, number in self.shop.known().items()}
        return {names[row.profile_id]: row for row in self.shop.ledger(campaign)}

    def later(self, after: timedelta, campaign: int) -> dict[str, Delivery]:
        """Time passes, and what waited is sent."""
        self.shop.clock.advance(after)
        with self.shop.sessions.begin() as session:
            sweeping.sweep(session, self.shop.now)
        return self.send(campaign)

    def barred(self) -> list[bytes]:
        """The hashes on the suppression list."""
        with self.shop.sessions.begin() as session:
            return [one.address_hash for one in session.query(Suppression)]

    def states(self, campaign: int) -> dict[str, tuple[str, str | None, int]]:
        return {name: (row.state, row.reason, row.attempts) for name, row in self.rows(campaign).items()}


@pytest.fixture
def peer() -> Iterator[PeerGateway]:
    with peer_gateway() as made:
        yield made


@pytest.fixture
def texting(shop: Shop, scheduler: Scheduler, peer: PeerGateway) -> Texting:
    return Texting(shop, scheduler, peer)


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
    assert {row.reply for row in rows.values()} == {"the gateway’s address must use port 80 or 443"}
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


def test_it_leaves_out_who_withdraws_after_the_freeze_up_to_the_hand_over(
    texting: Texting, peer: PeerGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = texting.shop
    texting.people("ann", "bob", "cleo")
    campaign = texting.campaign()
    shop.send(shop.consent("bob", False, "sms"), shop.consent("ann", False, "email"))
    claim = deliveries.claim

    def then_withdrawn(*given: Any) -> Any:
        claimed = claim(*given)
        shop.send(shop.consent("cleo", False, "sms"))
        return claimed

    monkeypatch.setattr(deliveries, "claim", then_withdrawn)
    texting.send(campaign)
    monkeypatch.undo()
    assert peer.told() == [NUMBERS["ann"]], "who left the mails still gets texts"
    texting.send(campaign)
    assert texting.states(campaign) == {
        "ann": ("accepted", None, 1), "bob": ("skipped", "unsubscribed_since", 0),
        "cleo": ("skipped", "unsubscribed_since", 0),
    }  # fmt: skip


@pytest.mark.parametrize("purpose", [THIS_CHANNEL, "email"])
def test_it_takes_back_by_a_text_what_was_asked_and_lists_no_number(texting: Texting, purpose: str) -> None:
    shop = texting.shop
    texting.people("ann")
    campaign = texting.campaign()
    texting.send(campaign)
    said = ConsentRecord(
        id="c" * 32, at_ms=unix_ms(shop.now), profile=shop.profile("ann"), campaign=campaign, occurrence=1,
        purpose=purpose, granted=False, via="page",
    )  # fmt: skip
    Following(RecorderParts(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock)).withdraw(said)
    with shop.sessions.begin() as session:
        standing = permissions.standing(permissions.statements(session, shop.profile("ann")))
    withdrawn = {name for name, one in standing.items() if one is not None and not one.granted}
    assert withdrawn == {"sms" if purpose == THIS_CHANNEL else "email"}
    assert texting.barred() == []


def test_it_keeps_to_the_limits_of_the_gateway_and_to_contact_limits_over_all_channels(
    texting: Texting, peer: PeerGateway, sender: Sender
) -> None:
    shop = texting.shop
    texting.people("ann", "bob")
    slow, _ = texting.made("Slow", "sms", per_hour=1)
    campaign = texting.campaign(gateway=slow)
    texting.send(campaign)
    assert texting.states(campaign) == {"ann": ("accepted", None, 1), "bob": ("queued", "limit_gateway", 0)}
    texting.later(timedelta(minutes=61), campaign)
    assert peer.told() == [NUMBERS["ann"], NUMBERS["bob"]]
    with shop.sessions.begin() as session:
        contacts.set_limit(session, Limit(most=2, period_days=7), shop.now, MANAGER)
    for expected in (None, LIMITED):
        mails = shop.campaign()
        with shop.sessions.begin() as session:
            assert set(audience.count(session, mails, shop.now, shop.settings.hash_key).excluded) == (
                set() if expected is None else {expected}
            )
        shop.schedule(mails)
        texting.scheduler.tick()
        sender.send([row.id for row in shop.ledger(mails)])
    again = texting.campaign()
    assert {row.reason for row in shop.ledger(again)} == {LIMITED}, "a text and a mail fill the week for a text too"


def test_it_pauses_a_campaign_whose_gateway_is_switched_off_and_goes_on_with_it(
    texting: Texting, peer: PeerGateway
) -> None:
    shop = texting.shop
    texting.people("ann")
    campaign = texting.campaign()
    with shop.sessions.begin() as session:
        gateways.act(session, texting.gateway, "switch off", texting.settings, shop.now, MANAGER)
    texting.send(campaign)
    assert texting.states(campaign) == {"ann": ("deferred", GATEWAY_SHUT, 0)}
    with shop.sessions.begin() as session:
        row = campaigns.campaign(session, campaign)
        assert (row.state, row.trouble) == (
            "paused", "The gateway Texts is switched off. Switch it on, or cancel the campaign.",
        )  # fmt: skip
        _, secret = gateways.act(session, texting.gateway, "renew secret", texting.settings, shop.now, MANAGER)
        gateways.act(session, texting.gateway, "switch on", texting.settings, shop.now, MANAGER)
        transitions.resume(session, campaign, shop.now, MANAGER)
    assert secret not in (None, texting.secret)
    texting.later(timedelta(minutes=6), campaign)
    assert peer.told() == [NUMBERS["ann"]]


def test_it_sends_a_test_to_a_number_and_a_dry_run_to_the_sink(
    texting: Texting, peer: PeerGateway, relay: Relay
) -> None:
    shop = texting.shop
    texting.people("ann")
    campaign = texting.campaign()
    with shop.sessions.begin() as session:
        with pytest.raises(InvalidInput, match="no phone number with its country"):
            transitions.send_test(session, campaign, [shop.profile("ann")], "me@example.com", shop.now, MANAGER)
        transitions.send_test(session, campaign, [shop.profile("ann")], "+4930999999", shop.now, MANAGER)
    port = urlsplit(relay.url).port
    texting.send(campaign, dry_run=True, smtp_port=port)
    assert peer.told() == []
    mails = sorted(str(content) for _, content in relay.mails)
    assert [("+4930999999" in mail, NUMBERS["ann"] in mail) for mail in mails].count((True, False)) == 1
    assert len(mails) == 2


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (TextIn(versions={}), "text.versions"),
        (TextIn(versions={"de": TextVersion(body=BODY, fallbacks={"first_name": "x"})}), "text.versions"),
        (TextIn(versions={"en": TextVersion(body="No way out")}), "text.versions.en.body"),
        (TextIn(versions={"en": TextVersion(body=BODY)}), "text.versions.en.body"),
        (TextIn(versions={"en": TextVersion(body=BODY + "{% for x in y %}{% endfor %}")}), "text.versions.en.body"),
        (TextIn(versions={"en": TextVersion(body=BODY + "{{ link.other }}")}), "text.versions.en.body"),
        (TextIn(versions=TEXT.versions, image="hero"), "text.image"),
        (TextIn(versions=TEXT.versions, link="other"), "text.link"),
    ],
)
def test_it_refuses_a_text_that_is_not_sound_and_names_what(text: TextIn, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        compile_text(text, "sms", 1, "en", {"hero": 0, "strip": 1})
    assert refused.value.field == field


def test_it_fails_alone_whose_number_has_no_country_or_whose_text_comes_out_too_long(
    texting: Texting, peer: PeerGateway
) -> None:
    shop = texting.shop
    texting.people("ann")
    shop.people("bob", phone="030 123456")
    shop.people("cleo", phone=NUMBERS["cleo"], motto="m" * 120)
    for name in ("bob", "cleo"):
        shop.send(shop.consent(name, True, "sms"))
    body = BODY + "{{ profile.motto }}" * 13
    version = TextVersion(body=body, fallbacks={"first_name": "there", "motto": "-"})
    rows = texting.send(texting.campaign(TextIn(versions={"en": version})))
    assert {name: row.state for name, row in rows.items()} == {"ann": "accepted", "bob": "failed", "cleo": "failed"}
    assert rows["bob"].reason == "address is no phone number with its country, such as +4930123456"
    assert str(rows["cleo"].reason).startswith("text makes 12 parts")
    assert peer.told() == [NUMBERS["ann"]]


def test_it_keeps_a_campaign_that_has_begun_on_its_gateway(texting: Texting) -> None:
    texting.people("ann")
    campaign = texting.campaign()
    with texting.shop.sessions.begin() as session:
        content = campaigns.content(campaigns.campaign(session, campaign))
        other = type(content)(**{name: getattr(content, name) for name in content.__struct_fields__} | {
            "gateway_id": None, "text": None,
        })  # fmt: skip
        with pytest.raises(Conflict, match="gateway_id"):
            campaigns.update_campaign(session, campaign, other, texting.shop.now, MANAGER)


def _timeline(texting: Texting, name: str) -> list[str]:
    with texting.shop.sessions.begin() as session:
        found = timeline.timeline(session, [texting.shop.profile(name)], kind="mail")
        return [entry.detail for entry in found.entries]


@pytest.mark.parametrize(
    ("char", "size", "number"),
    [("a", 160, 1), ("a", 161, 2), ("a", 307, 3), ("€", 80, 1), ("€", 81, 2), ("ж", 70, 1), ("ж", 71, 2), ("😀", 35, 1),
     ("😀", 36, 2)],
)  # fmt: skip
def test_it_counts_the_parts_of_a_text_by_its_alphabet(char: str, size: int, number: int) -> None:
    assert parts(char * size) == number
