"""Tracking level anonymous at the open: each person gets what fits, and nothing is written that leads to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from base import keys
from base.clock import FixedClock
from base.settings import Settings
from base.tokens import WHOLE_MAIL, Purpose
from render.decide import decide, seed_of
from render.explanation import explain
from render.lookup import Look
from render.parts import Parts
from render.plan import Plan
from render.record import AnonymousRecord, RepairRecord
from render.recording import HOUR_MS
from signals.moments import unix_ms
from signals.state import tombstone
from tests.render.mail import SCANNER, Mail, browser
from tests.render.shoe_shop import DEFAULT, DISCOUNT, NOON, SHOES, THANKS, TIGHTS, bought, facts, plan, state

PAGES: dict[str, Any] = {name: {"landing": f"https://shop.example.com/{name}"} for name in ("discount", "thanks")}


def anonymous(**changes: dict[str, Any]) -> Plan:
    """The shop's plan at this level; every offer has a page of its own."""
    merged = PAGES | {name: PAGES.get(name, {}) | change for name, change in changes.items()}
    return msgspec.structs.replace(plan(slots=2, **merged), tracking="anonymous")


@pytest.fixture(autouse=True)
def published(mail: Mail) -> None:
    mail.publish(anonymous())


def made(mail: Mail) -> list[AnonymousRecord]:
    """What was recorded: nothing that names anybody."""
    records = mail.records()
    assert all(isinstance(one, AnonymousRecord) for one in records)
    return [one for one in records if isinstance(one, AnonymousRecord)]


def theirs(mail: Mail) -> dict[bytes, object]:
    """The person's keys."""
    names: Any = mail.store.keys(f"{{{mail.delivery.profile}}}*")
    return {name: mail.store.get(name) for name in names}


def test_it_shows_what_fits_and_records_it_for_nobody(client: FlaskClient, mail: Mail, noon: FixedClock) -> None:
    noon.advance(timedelta(minutes=7, seconds=3))
    before = theirs(mail)
    first = client.get(mail.url(), headers=browser()).data
    assert client.get(mail.url(dark=True), headers=browser(agent=SCANNER)).status_code == 200
    mail.know(state([bought(SHOES, NOON)]))
    assert client.get(mail.url(), headers=browser()).data != first, "each fetch is decided anew"
    mail.know(state())
    block = client.get(f"/h/{mail.token(Purpose.HTML)}", headers=browser())
    assert block.status_code == 200
    assert client.get(mail.view(), headers=browser()).status_code == 200
    assert list(theirs(mail)) == list(before)
    found = made(mail)
    hour = unix_ms(NOON) - unix_ms(NOON) % HOUR_MS
    assert [(one.kind, one.fetch_class, one.slot, one.offer, one.at_ms) for one in found] == [
        ("picture", "person", 0, DISCOUNT, hour),
        ("dark", "scanner", 0, DISCOUNT, hour),
        ("picture", "person", 0, THANKS, hour),
        ("html", "person", 0, DISCOUNT, hour),
        ("view", "person", WHOLE_MAIL, None, hour),
    ]
    assert len({one.id for one in found}) == len(found)
    assert not [one.id for one in found if one.id in block.text], "a page does not name its record"


def test_it_decides_as_a_first_open_does(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser())
    client.get(mail.url(1), headers=browser())
    decision = decide(plan(slots=2, **PAGES), facts(state()), NOON, seed_of(mail.delivery, 1))
    assert tuple(one.offer for one in made(mail)) == decision.offers


def test_it_leaves_the_bytes_to_be_kept_by_a_campaign_that_is_followed(client: FlaskClient, mail: Mail) -> None:
    shared = client.get(mail.url(), headers=browser()).data
    mail.publish(plan(slots=2, **PAGES))
    assert client.get(mail.url(), headers=browser()).data == shared
    assert [fetch.body for fetch in mail.fetches()] == [shared]


@pytest.mark.parametrize("limit", [{"cap_total": 5}, {"cap_person": 3}, {"no_repeat_days": 7}])
def test_it_leaves_out_what_would_have_to_be_counted(client: FlaskClient, mail: Mail, limit: dict[str, int]) -> None:
    limited = anonymous(discount=limit)
    decision = decide(limited, facts(state(), caps={DISCOUNT: 5}), NOON, 1)
    reasons = {one.offer: (one.removed_by, one.rule) for one in decision.slots[0].candidates}
    assert reasons[DISCOUNT] == ("beneficial", "anonymous: limited")
    assert decision.slots[0].offer == TIGHTS
    sentences = {other.offer: other.sentence for other in explain(decision, limited)[0].others}
    assert "how often it was shown cannot be counted" in sentences[DISCOUNT]
    followed = decide(plan(slots=2, discount=limit), facts(state(), caps={DISCOUNT: 5}), NOON, 1)
    assert followed.slots[0].offer == DISCOUNT

    mail.publish(limited)
    client.get(mail.url(), headers=browser())
    assert [one.offer for one in made(mail)] == [TIGHTS]
    held: Any = mail.store.hgetall(keys.cap(DISCOUNT))
    assert set(held) <= {b"left", b"total"}, "no reservation"


def test_it_follows_a_click_to_what_would_be_shown_now(client: FlaskClient, mail: Mail) -> None:
    def leads() -> str:
        return client.get(mail.click(), headers=browser()).headers["Location"]

    client.get(mail.url(), headers=browser())
    assert leads() == "https://shop.example.com/discount"
    mail.know(state([bought(SHOES, NOON)]))
    assert leads() == "https://shop.example.com/thanks", "what was seen is not known"
    client.get(f"/c/{mail.token(Purpose.CLICK, WHOLE_MAIL)}", headers=browser())
    clicks = [one for one in made(mail) if one.kind == "click"]
    assert [(one.offer, one.rung) for one in clicks] == [(DISCOUNT, "redirect"), (THANKS, "redirect"), (None, "trap")]
    assert clicks[-1].fetch_class != "person"


@pytest.mark.parametrize("known", ["erased", "refused", "lost"])
def test_it_writes_nothing_where_it_may_not_or_cannot_know(client: FlaskClient, mail: Mail, known: str) -> None:
    default = client.get(mail.url(profile=0), headers=browser()).data
    if known == "lost":
        mail.store.delete(keys.state(mail.delivery.profile))
    else:
        mail.know(tombstone() if known == "erased" else state((), tracking=False))
    before = theirs(mail)
    assert client.get(mail.url(), headers=browser()).data == default
    assert client.get(f"/h/{mail.token(Purpose.HTML)}", headers=browser()).status_code == 200
    assert client.get(mail.view(), headers=browser()).status_code == 200
    answer = client.get(mail.click(), headers=browser())
    assert answer.headers["Location"] == mail.plan.default_landing
    assert mail.records() == []
    assert theirs(mail) == before


def test_it_writes_no_record_while_nobody_can_be_read(
    client: FlaskClient, mail: Mail, render_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = client.get(mail.url(profile=0), headers=browser()).data
    parts: Parts = client.application.extensions["parts"]
    unread = lambda campaign, _names, at: Look(parts.lookup.running(campaign, at), None)  # noqa: E731
    monkeypatch.setattr(parts.lookup, "read", unread)
    assert client.get(mail.url(), headers=browser()).data == default
    answer = client.get(mail.click(), headers=browser())
    assert answer.headers["Location"] == mail.plan.default_landing
    assert mail.records() == []
    assert not list((render_settings.var / "spool").glob("*"))


def test_it_asks_for_what_a_campaign_lost_and_names_nobody(client: FlaskClient, mail: Mail) -> None:
    mail.store.delete(keys.product("tights-1"))
    mail.published()
    client.get(mail.url(), headers=browser())
    repairs = [one for one in mail.records() if isinstance(one, RepairRecord)]
    assert [(one.what, one.name, one.profile) for one in repairs] == [("product", "tights-1", 0)]


def test_it_leads_to_the_default_page_when_the_campaign_ended(client: FlaskClient, mail: Mail) -> None:
    hash_ = mail.publish(anonymous())
    mail.go_live(hash_, state="ended")
    answer = client.get(mail.click(), headers=browser())
    assert answer.headers["Location"] == mail.plan.default_landing
    client.get(mail.url(), headers=browser())
    assert [(one.kind, one.offer) for one in made(mail)] == [("click", None), ("picture", DEFAULT)]
