"""A click goes to what was last shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from base import keys
from base.clock import FixedClock, monotonic, pause
from base.settings import Settings
from base.tokens import WHOLE_MAIL, Purpose
from render.app import create_app
from render.cache import Picture
from render.facts import Answers
from render.pictures import Pictures, Wanted
from signals.moments import unix_ms
from signals.state import tombstone
from tests.render.mail import APPLE, SCANNER, Mail, browser
from tests.render.shoe_shop import DISCOUNT, NOON, SENT_MS, SHOES, THANKS, TIGHTS, bought, plan, product, state

HOME = "https://shop.example.com/"


def landing(name: str) -> str:
    return f"https://shop.example.com/{name}"


@pytest.fixture(autouse=True)
def lands(mail: Mail) -> None:
    """Every offer has a page of its own."""
    pages: dict[str, Any] = {name: {"landing": landing(name)} for name in ("discount", "thanks", "tights")}
    mail.publish(plan(slots=2, **pages))


def test_it_counts_a_persons_click_on_an_offer_that_may_tire(client: FlaskClient, mail: Mail) -> None:
    rest = {"after": "ignored", "times": 3, "within_days": 30, "off_days": 60}
    mail.publish(plan(slots=2, discount={"fatigue": [rest], "group": "shoes"}))
    client.get(mail.url(), headers=browser())
    client.get(mail.url(1), headers=browser())
    before = mail.used()
    assert before.answers == {}
    client.get(mail.click(), headers=browser(agent=SCANNER))
    client.get(mail.click(1), headers=browser())
    assert mail.used() == before, "neither a machine's click nor one on what never tires"
    client.get(mail.click(), headers=browser())
    at = unix_ms(NOON)
    assert mail.used().answers == {DISCOUNT: Answers((at,))}
    assert mail.used().group_answers == {"shoes": Answers((at,))}
    assert mail.used().offers == before.offers
    assert mail.lane().open_number == 1
    mail.know(tombstone())
    client.get(mail.click(), headers=browser())
    assert len(mail.used().answers[DISCOUNT].taken) == 1


@pytest.mark.feature("EC-11")
def test_it_follows_what_the_person_was_last_shown(client: FlaskClient, mail: Mail, noon: FixedClock) -> None:
    client.get(mail.url(), headers=browser())
    mail.know(state([bought(SHOES, NOON)]))
    # The next decision would be the thank-you, but nobody has seen it.
    answer = client.get(mail.click(), headers=browser())
    assert (answer.status_code, answer.headers["Location"]) == (302, landing("discount"))
    assert "no-store" in answer.headers["Cache-Control"]

    client.get(mail.url(), headers=browser(agent=SCANNER))
    answer = client.get(mail.click(), headers=browser())
    assert answer.headers["Location"] == landing("discount")

    noon.advance(timedelta(hours=2))
    client.get(mail.url(), headers=browser())
    answer = client.get(mail.click(), headers=browser())
    assert answer.headers["Location"] == landing("thanks")

    clicks = mail.clicks()
    assert [click.offer for click in clicks] == [DISCOUNT, DISCOUNT, THANKS]
    assert [click.is_ambiguous for click in clicks] == [False, False, False]
    assert [click.fetch_class for click in clicks] == ["person"] * 3
    shown = {decision.id: decision for decision in mail.decisions() if decision.lane == "live"}
    assert [shown[click.decision or ""].slots[0].offer for click in clicks] == [DISCOUNT, DISCOUNT, THANKS]

    mail.know(state([bought(SHOES, NOON)]))
    mail.know(state())
    noon.advance(timedelta(minutes=1))
    client.get(mail.url(), headers=browser())
    client.get(mail.click(), headers=browser())
    assert mail.clicks()[-1].is_ambiguous


def test_it_marks_a_click_ambiguous_after_an_apple_like_fetch_of_another_offer(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    client.get(mail.url(), headers=browser(agent=APPLE))
    mail.know(state([bought(SHOES, NOON)]))
    noon.advance(timedelta(days=1))
    client.get(mail.url(), headers=browser())
    client.get(mail.click(), headers=browser())
    (click,) = mail.clicks()
    assert (click.offer, click.is_ambiguous) == (THANKS, True)


@pytest.mark.feature("EC-13")
def test_it_follows_a_picture_that_took_nearly_all_the_time_there_is(
    mail: Mail, render_settings: Settings, noon: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail.publish(plan(discount={"landing": landing("discount")}))
    app = create_app(replace(render_settings, deadline_ms=1_500), noon)
    parts = app.extensions["parts"]
    drawn = Pictures.get

    def slow(self: Pictures, wanted: Wanted, deadline: float) -> Picture:
        found = drawn(self, wanted, deadline)
        # Less is left than an exchange with the store may take at most.
        pause(max(0.0, deadline - monotonic() - 0.15))
        return found

    monkeypatch.setattr(Pictures, "get", slow)
    try:
        client = app.test_client()
        client.get(mail.url(), headers=browser())
        assert client.get(mail.click(), headers=browser()).headers["Location"] == landing("discount")
    finally:
        parts.close()
    assert mail.fetches()[-1].rung == "drawn"
    assert not mail.clicks()[-1].is_unseen


def test_it_answers_a_click_without_a_fetch_and_marks_it_unseen(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(1), headers=browser())
    answer = client.get(mail.click(), headers=browser())
    assert (answer.status_code, answer.headers["Location"]) == (302, HOME)
    (click,) = mail.clicks()
    assert (click.is_unseen, click.is_unresolved, click.offer) == (True, False, None)


def test_it_marks_a_click_unresolved_when_nothing_can_be_told(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.store.delete(keys.state(mail.delivery.profile))
    client.get(mail.click(), headers=browser())
    mail.know(state())
    noon.advance(timedelta(days=200))
    client.get(mail.click(), headers=browser())
    assert [click.is_unresolved for click in mail.clicks()] == [True, True]


def test_it_goes_to_the_page_of_the_plan_that_was_seen(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser())
    mail.publish(plan(slots=2, discount={"landing": landing("moved")}))
    assert client.get(mail.click(), headers=browser()).headers["Location"] == landing("discount")


def test_it_goes_to_the_page_of_the_plan_that_was_seen_when_another_block_has_opened_anew(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    client.get(mail.url(), headers=browser())
    for name in ("moved", "again"):
        mail.publish(plan(slots=2, discount={"landing": landing(name)}))
        noon.advance(timedelta(hours=2))
        client.get(mail.url(1), headers=browser())
        assert client.get(mail.click(), headers=browser()).headers["Location"] == landing("discount")
    assert mail.lane().open_number == 3
    client.get(mail.url(), headers=browser())
    assert client.get(mail.click(), headers=browser()).headers["Location"] == landing("again")


@pytest.mark.feature("EC-12")
@pytest.mark.parametrize("what", ["ended", "withdrawn", "killed", "sold out"])
def test_it_says_honestly_that_what_was_seen_is_gone(
    client: FlaskClient, mail: Mail, noon: FixedClock, what: str
) -> None:
    seen = TIGHTS if what == "sold out" else DISCOUNT
    ends = {"discount": {"ends_ms": SENT_MS + 2 * 86_400_000}}
    first: dict[str, Any] = {"tights": {"priority": 9}} if what == "sold out" else ends
    digest = mail.publish(plan(slots=2, **first))
    client.get(mail.url(), headers=browser())
    assert mail.lane().chosen[0].offer == seen
    if what == "ended":
        noon.advance(timedelta(days=2))
    elif what == "sold out":
        mail.stock(product(stock=0))
    else:
        mail.go_live(digest, **({"withdrawn": (DISCOUNT,)} if what == "withdrawn" else {"state": "killed"}))
    answer = client.get(mail.click(), headers=browser())
    assert (answer.status_code, "Location" in answer.headers) == (200, False)
    assert ("out of stock" if what == "sold out" else "has ended") in answer.text
    assert f'href="{HOME}"' in answer.text
    assert "discount" not in answer.text
    (click,) = mail.clicks()
    assert (click.offer, click.outcome) == (seen, "out of stock" if what == "sold out" else "ended")


def test_it_records_no_click_of_whoever_was_erased(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser())
    mail.know(tombstone())
    answer = client.get(mail.click(), headers=browser())
    assert (answer.headers["Location"], mail.clicks()) == (HOME, [])


def test_it_answers_forged_and_swapped_clicks_with_a_plain_404(client: FlaskClient, mail: Mail) -> None:
    for text in ("x" * 54, mail.token(Purpose.PICTURE), "", "%2e%2e"):
        answer = client.get(f"/c/{text}", headers=browser())
        assert (answer.status_code, "Location" in answer.headers) == (404, False)
    assert mail.records() == []


def test_it_changes_nothing_for_head(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser())
    assert client.head(mail.click(), headers=browser()).status_code == 200
    assert mail.clicks() == []


def test_it_labels_scanners_clicks(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.click(), headers=browser(agent=SCANNER))
    assert [click.fetch_class for click in mail.clicks()] == ["scanner"]


def test_it_takes_whoever_follows_the_hidden_link_for_a_scanner(client: FlaskClient, mail: Mail) -> None:
    client.get(mail.url(), headers=browser())
    before = mail.lane()
    answer = client.get(mail.click(WHOLE_MAIL), headers=browser())
    assert (answer.status_code, answer.headers["Location"]) == (302, HOME)
    (click,) = mail.clicks()
    assert (click.outcome, click.fetch_class, click.slot) == ("trap", "scanner", WHOLE_MAIL)
    assert (click.evidence["trap"], click.offer, click.is_unseen) == (True, None, False)
    assert mail.lane() == before
