"""Whom a text or push message reaches, and what it may say: consent, limits, the gateway's switch, its words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from base.errors import Conflict, InvalidInput
from campaigns import (
    audience,
    campaigns,
    contacts,
    deliveries,
    gateways,
    permissions,
    transitions,
)
from campaigns.contacts import LIMITED, Limit
from campaigns.deliveries import GATEWAY_SHUT
from campaigns.texts import TextIn, TextVersion, compile_text, parts
from render.record import THIS_CHANNEL, ConsentRecord
from signals.moments import unix_ms
from tests.campaigns.shop import MANAGER
from tests.workers.peergateway import PeerGateway
from tests.workers.relay import Relay
from tests.workers.texting import BODY, NUMBERS, TEXT, Texting
from workers.following import Following
from workers.recorder import RecorderParts
from workers.sending import Sender


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
    shop.clock.advance(timedelta(seconds=1))
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
    assert rows["bob"].reason == "could not be built: address is no phone number with its country, such as +4930123456"
    assert str(rows["cleo"].reason).startswith("could not be built: text makes 12 parts")
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


@pytest.mark.parametrize(
    ("char", "size", "number"),
    [("a", 160, 1), ("a", 161, 2), ("a", 307, 3), ("€", 80, 1), ("€", 81, 2), ("ж", 70, 1), ("ж", 71, 2), ("😀", 35, 1),
     ("😀", 36, 2)],
)  # fmt: skip
def test_it_counts_the_parts_of_a_text_by_its_alphabet(char: str, size: int, number: int) -> None:
    assert parts(char * size) == number
