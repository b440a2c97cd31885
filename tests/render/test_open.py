"""The open through the app, against a real Valkey: one decision an open, and what makes a new one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from base import keys
from base.clock import FixedClock, pause
from base.ids import TEST_BIT, Delivery
from render.agree import Agreement, Change, Names, Personal, Reservation, balance, release
from render.facts import decode_used
from signals.state import ProfileState, tombstone
from tests.render.mail import APPLE, GMAIL, GMAIL_PREFETCH, SCANNER, Mail, browser, size_of
from tests.render.shoe_shop import (
    ATTIRE,
    DEFAULT,
    DISCOUNT,
    NOON,
    SENT,
    SENT_MS,
    SHOES,
    STRIP_DEFAULT,
    THANKS,
    TIGHTS,
    bought,
    plan,
    product,
    returned,
    state,
)


def test_it_answers_a_picture_and_records_what_it_showed(client: FlaskClient, mail: Mail) -> None:
    answer = client.get(mail.url(), headers=browser())
    assert (answer.status_code, size_of(answer.data)) == (200, (1200, 400))
    (decision,), (fetch,) = mail.decisions(), mail.fetches()
    assert [slot.offer for slot in decision.slots] == [DISCOUNT]
    assert {candidate.offer for candidate in decision.slots[0].candidates} >= {DISCOUNT, THANKS, TIGHTS}
    assert (fetch.decision, fetch.fetch_class, fetch.size) == (decision.id, "person", len(answer.data))
    assert fetch.body == answer.data
    assert decision.personal.state == mail.store.get(keys.state(mail.delivery.profile))


def test_it_hands_the_bytes_of_a_picture_over_once(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser())
    mail.delivery = Delivery(4712, 7, 1)
    mail.know(state())
    client.get(mail.url(), headers=browser())
    first, second = mail.fetches()
    assert (first.sha256, second.body) == (second.sha256, None)


@pytest.mark.feature("EC-09")
def test_it_shows_the_same_within_the_hold_until_something_is_bought(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    first = client.get(mail.url(), headers=browser())
    noon.advance(timedelta(minutes=40))
    again = client.get(mail.url(), headers=browser())
    assert (again.data, len(mail.decisions())) == (first.data, 1)

    mail.know(state([bought(SHOES, NOON)]))
    changed = client.get(mail.url(), headers=browser())
    assert changed.data != first.data
    assert [decision.slots[0].offer for decision in mail.decisions()] == [DISCOUNT, THANKS]

    mail.know(state([bought(SHOES, NOON), returned("o1", NOON)]))
    back = client.get(mail.url(), headers=browser())
    assert (back.data, mail.decisions()[-1].slots[0].offer) == (first.data, DISCOUNT)


def test_it_thanks_nobody_for_what_they_bought_on_the_day_of_the_send_but_before_it(
    client: FlaskClient, mail: Mail
) -> None:
    mail.know(state([bought(SHOES, SENT - timedelta(minutes=5))]))
    client.get(mail.url(), headers=browser())
    mail.know(state([bought(SHOES, SENT + timedelta(seconds=5))]))
    client.get(mail.url(), headers=browser())
    assert [decision.slots[0].offer for decision in mail.decisions()] == [DISCOUNT, THANKS]
    assert {decision.sent_ms for decision in mail.decisions()} == {SENT_MS}


def test_it_begins_a_new_open_when_the_hold_is_over(client: FlaskClient, mail: Mail, noon: FixedClock) -> None:
    client.get(mail.url(), headers=browser())
    noon.advance(timedelta(hours=1))
    client.get(mail.url(), headers=browser())
    assert [decision.open_number for decision in mail.decisions()] == [1, 2]


def test_it_keeps_the_pictures_of_one_look_together_when_something_is_bought_in_between(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(plan(slots=2))
    client.get(mail.url(0), headers=browser())
    mail.know(state([bought(SHOES, NOON)]))
    noon.advance(timedelta(seconds=29))
    client.get(mail.url(1), headers=browser())
    client.get(mail.url(0, dark=True), headers=browser())
    assert len({fetch.decision for fetch in mail.fetches()}) == 1
    client.get(mail.url(1), headers=browser())
    assert [decision.open_number for decision in mail.decisions()] == [1, 2]


def test_it_follows_stock_that_ran_out_within_the_hold(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(discount={"priority": 0}))
    client.get(mail.url(), headers=browser())
    mail.stock(product(stock=0))
    client.get(mail.url(), headers=browser())
    assert [decision.slots[0].offer for decision in mail.decisions()] == [TIGHTS, DISCOUNT]


def test_it_shows_the_default_at_once_where_an_offer_was_withdrawn_or_the_campaign_ended(
    client: FlaskClient, mail: Mail
) -> None:
    digest = mail.publish()
    shown = []
    for live in ({"withdrawn": (DISCOUNT, TIGHTS)}, {"state": "killed"}, {"state": "ended"}):
        mail.go_live(digest, **live)
        assert client.get(mail.url(), headers=browser()).status_code == 200
        shown.append(mail.lane().chosen[0].offer)
    assert shown == [DEFAULT] * 3


def test_it_gives_a_content_holdout_the_default_whatever_is_known(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(neutral=True), headers=browser())
    (decision,) = mail.decisions()
    assert (decision.slots[0].offer, decision.reason, decision.neutral) == (DEFAULT, "content holdout", True)


def test_it_keeps_the_lanes_of_machines_and_tests_apart(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser(agent=SCANNER))
    client.get(mail.url(), headers=browser())
    assert [fetch.lane for fetch in mail.fetches()] == ["machine", "live"]
    assert len({fetch.decision for fetch in mail.fetches()}) == 2
    assert [sight.fetch_class for sight in mail.lane().shown[0]] == ["person"]
    mail.delivery = Delivery(mail.delivery.profile, 7, TEST_BIT | 5)
    client.get(mail.url(), headers=browser())
    assert mail.fetches()[-1].fetch_class == "test"


@pytest.mark.parametrize(
    ("agent", "fetch_class"),
    [(GMAIL, "proxy"), (APPLE, "undecided"), (SCANNER, "scanner")],
)
def test_it_records_the_class_of_a_fetch(client: FlaskClient, mail: Mail, agent: str, fetch_class: str) -> None:
    client.get(mail.url(), headers=browser(agent=agent))
    assert [fetch.fetch_class for fetch in mail.fetches()] == [fetch_class]


@pytest.mark.feature("EC-14")
def test_it_gives_a_prefetch_what_stays_true_and_the_later_reader_the_live_offer(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    ends = int((NOON + timedelta(hours=6)).timestamp() * 1000)
    mail.publish(plan(discount={"clock_bound": True, "ends_ms": ends, "cap_person": 3}))
    gmail = {"Referer": "http://mail.google.com/"}
    client.get(mail.url(), headers=browser(gmail, agent=GMAIL_PREFETCH))
    assert mail.decisions()[0].slots[0].offer == DEFAULT
    assert mail.store.get(keys.used(mail.delivery.profile)) is None
    noon.advance(timedelta(hours=2))
    client.get(mail.url(), headers=browser())
    assert [fetch.fetch_class for fetch in mail.fetches()] == ["prefetch", "person"]
    assert mail.decisions()[1].slots[0].offer == DISCOUNT
    assert mail.used().offer(DISCOUNT).count == 1


def test_it_never_repeats_an_offer_in_two_blocks_but_shares_the_default(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(slots=4))
    client.get(mail.url(3), headers=browser())
    assert [chosen.offer for chosen in mail.lane().chosen] == [DISCOUNT, TIGHTS, STRIP_DEFAULT, STRIP_DEFAULT]


def test_it_counts_against_the_person_once_an_open_and_never_for_machines(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(plan(discount={"cap_person": 2, "group": "shoes"}))
    for _ in range(3):
        client.get(mail.url(), headers=browser())
        client.get(mail.url(dark=True), headers=browser())
        client.get(mail.url(), headers=browser(agent=SCANNER))
        noon.advance(timedelta(hours=2))
    used = decode_used(mail.store.get(keys.used(mail.delivery.profile)))  # type: ignore[arg-type]
    assert (used.offer(DISCOUNT).count, used.groups["shoes"].count) == (2, 2)
    assert [decision.slots[0].offer for decision in mail.decisions() if decision.lane == "live"][-1] != DISCOUNT


def test_it_takes_a_total_cap_anew_when_open_numbers_start_again(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(plan(discount={"cap_total": 5}))
    for _ in range(2):
        client.get(mail.url(), headers=browser())
        mail.store.delete(keys.shown(mail.delivery.profile, mail.delivery.name))
        noon.advance(timedelta(days=60))
    assert [(made.open_number, made.reserved) for made in mail.decisions()] == [(1, (DISCOUNT,))] * 2
    assert balance(mail.store, DISCOUNT) == 3


def test_it_gives_back_a_cap_it_took_a_minute_after_the_open_that_another_began(
    client: FlaskClient, mail: Mail, noon: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail.publish(plan(discount={"cap_total": 5}))
    noon.set(NOON - timedelta(seconds=5))
    client.get(mail.url(), headers=browser())
    name = keys.shown(mail.delivery.profile, mail.delivery.name)
    theirs = mail.store.get(name)
    assert isinstance(theirs, bytes)
    mail.store.delete(name)
    noon.set(NOON)
    write = Agreement.write

    def second(
        self: Agreement, names: Names, read: Personal, change: Change, until: float | None = None
    ) -> Personal | None:
        mail.store.set(name, theirs, nx=True)
        return write(self, names, read, change, until)

    monkeypatch.setattr(Agreement, "write", second)
    client.get(mail.url(dark=True), headers=browser())
    assert len(mail.decisions()) == 1
    assert balance(mail.store, DISCOUNT) == 4


def test_it_shows_nothing_of_a_total_cap_that_was_reserved_too_long_ago(
    client: FlaskClient, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail.publish(plan(discount={"cap_total": 1}))
    reserve = Agreement.reserve

    def stopped(self: Agreement, offers: Sequence[int], name: str, now_ms: int) -> Reservation:
        made = reserve(self, offers, name, now_ms)
        # As long as the process stands still, the recorder gives back what has no record.
        for offer in made.taken:
            assert release(mail.store, offer, name)
        pause(mail.settings.deadline_ms / 1000)
        return made

    monkeypatch.setattr(Agreement, "reserve", stopped)
    assert client.get(mail.url(), headers=browser()).status_code == 200
    monkeypatch.undo()
    mail.delivery = Delivery(4712, 7, 1)
    mail.know(state())
    client.get(mail.url(), headers=browser())
    assert [DISCOUNT in made.reserved for made in mail.decisions()].count(True) == 1
    assert balance(mail.store, DISCOUNT) == 0


@pytest.mark.parametrize("gone", [tombstone(), state((), tracking=False)], ids=["erased", "refused"])
def test_it_marks_nothing_once_the_person_was_erased_or_refused(
    client: FlaskClient, mail: Mail, monkeypatch: pytest.MonkeyPatch, gone: ProfileState
) -> None:
    client.get(mail.url(), headers=browser())
    name = keys.shown(mail.delivery.profile, mail.delivery.name)
    write = Agreement.write

    def after(
        self: Agreement, names: Names, read: Personal, change: Change, until: float | None = None
    ) -> Personal | None:
        mail.know(gone)
        mail.store.delete(name)
        return write(self, names, read, change, until)

    monkeypatch.setattr(Agreement, "write", after)
    assert size_of(client.get(mail.url(dark=True), headers=browser()).data) == (1200, 400)
    assert mail.store.get(name) is None


@pytest.mark.parametrize("lost", ["tracking", "email", "erased"])
def test_it_records_nothing_of_whoever_withdrew_or_was_erased(client: FlaskClient, mail: Mail, lost: str) -> None:
    mail.know(tombstone() if lost == "erased" else state((), **{lost: False}))
    answer = client.get(mail.url(), headers=browser())
    assert size_of(answer.data) == (1200, 400)
    assert mail.records() == []
    assert mail.store.keys("{4711}:*") == [b"{4711}:state"]
    assert client.application.extensions["parts"].metrics.total("not_recorded") == 1


def test_it_shows_nobody_in_particular_the_default_without_reading_a_person(client: FlaskClient, mail: Mail) -> None:
    answer = client.get(mail.url(profile=0), headers=browser())
    assert size_of(answer.data) == (1200, 400)
    assert (mail.records(), mail.store.keys("{0}:*")) == ([], [])


def test_it_treats_an_absent_state_as_lost_and_asks_for_a_repair(client: FlaskClient, mail: Mail) -> None:
    mail.store.delete(keys.state(mail.delivery.profile))
    for _ in range(2):
        client.get(mail.url(), headers=browser())
    decision, again = mail.decisions()
    assert (decision.slots[0].offer, decision.lost, decision.missing) == (DEFAULT, True, ("state",))
    assert (again.id, decision.open_number) == (decision.id, 0)
    assert mail.store.keys("{4711}:*") == [], "a repair would leave what was begun anew"
    assert [(made.what, made.profile) for made in mail.repairs()] == [("state", 4711)]
    mail.know(state())
    client.get(mail.url(), headers=browser())
    assert mail.lane().chosen[0].offer == DISCOUNT


def test_it_draws_what_the_mail_promised_when_the_slot_has_changed_since(client: FlaskClient, mail: Mail) -> None:
    answer = client.get(mail.url(width=300, height=100, fmt="png"), headers=browser())
    assert (answer.content_type, size_of(answer.data)) == ("image/png", (600, 200))


def test_it_uses_stickiness_in_a_new_open(client: FlaskClient, mail: Mail, noon: FixedClock) -> None:
    mail.publish(plan(discount={"priority": 0}))
    client.get(mail.url(), headers=browser())
    mail.know(state([bought(ATTIRE, SENT - timedelta(days=9), order="o7")]))
    noon.advance(timedelta(hours=2))
    client.get(mail.url(), headers=browser())
    assert [decision.slots[0].held for decision in mail.decisions()] == [False, True]
