"""What a machine that fetches ahead is given: only what is still true when somebody looks at it days later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from base import keys
from base.clock import FixedClock
from base.tokens import second_number
from render.agree import balance
from signals.moments import unix_ms
from tests.render.mail import GMAIL, GMAIL_PREFETCH, SCANNER, Mail, browser
from tests.render.shoe_shop import DEFAULT, DISCOUNT, NOON, SENT, TIGHTS, plan

PREFETCH = browser({"Referer": "http://mail.google.com/"}, agent=GMAIL_PREFETCH)


@pytest.mark.feature("EC-14")
@pytest.mark.parametrize(
    "bound",
    [{"clock_bound": True}, {"cap_total": 5}, {"cap_person": 3}, {"ends_ms": unix_ms(NOON + timedelta(days=6))}],
    ids=["counts down", "total cap", "personal cap", "ends within a week"],
)
@pytest.mark.parametrize("machine", [PREFETCH, browser(agent=SCANNER)], ids=["prefetch", "scanner"])
def test_it_gives_a_machine_nothing_that_runs_out_and_the_reader_the_live_offer(
    client: FlaskClient, mail: Mail, noon: FixedClock, bound: dict[str, Any], machine: dict[str, str]
) -> None:
    mail.publish(plan(discount=bound))
    ahead = client.get(mail.url(), headers=machine)
    assert mail.lane("machine").chosen[0].offer == DEFAULT
    assert mail.store.get(keys.used(mail.delivery.profile)) is None
    noon.advance(timedelta(hours=20))
    live = client.get(mail.url(), headers=browser(agent=GMAIL))
    assert mail.lane().chosen[0].offer == DISCOUNT
    assert live.data != ahead.data
    assert mail.used().offer(DISCOUNT).count == 1
    if "cap_total" in bound:
        assert balance(mail.store, DISCOUNT) == 4


def test_it_gives_a_machine_the_offer_itself_where_it_stays_true(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(discount={"ends_ms": unix_ms(NOON + timedelta(days=8))}))
    client.get(mail.url(), headers=PREFETCH)
    assert mail.lane("machine").chosen[0].offer == DISCOUNT


@pytest.mark.feature("EC-14")
def test_it_spends_nothing_on_a_browser_that_looks_before_anybody_can_have_read_the_mail(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    # A gateway under a browser's name: only the moment tells. The reader comes a few seconds later.
    mail.publish(plan(discount={"cap_total": 5}))
    noon.set(SENT + timedelta(seconds=2.9))
    client.get(mail.url(), headers=browser())
    assert (mail.fetches()[-1].fetch_class, mail.fetches()[-1].evidence["seconds_since_send"]) == ("scanner", 2.9)
    assert (mail.lane("machine").chosen[0].offer, balance(mail.store, DISCOUNT)) == (DEFAULT, 5)
    noon.advance(timedelta(seconds=4))
    client.get(mail.url(), headers=browser())
    assert (mail.lane().chosen[0].offer, balance(mail.store, DISCOUNT)) == (DISCOUNT, 4)


def test_it_takes_nobody_for_a_machine_by_a_clock_that_goes_wrong_or_a_mail_that_knows_its_day_only(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    noon.set(SENT - timedelta(seconds=2))
    client.get(mail.url(), headers=browser())
    midnight = NOON.replace(hour=0)
    noon.set(midnight + timedelta(seconds=2))
    client.get(mail.url(sent_s=second_number(midnight)), headers=browser())
    assert [fetch.fetch_class for fetch in mail.fetches()] == ["person", "person"]
    assert all("seconds_since_send" not in fetch.evidence for fetch in mail.fetches())


@pytest.mark.parametrize("told", [{"needs_stock": True}, {"needs_stock": False, "shows_price": True}])
def test_it_gives_a_machine_neither_stock_nor_price(client: FlaskClient, mail: Mail, told: dict[str, Any]) -> None:
    mail.publish(plan(tights={"priority": 9} | told))
    client.get(mail.url(), headers=PREFETCH)
    client.get(mail.url(), headers=browser())
    assert [mail.lane(name).chosen[0].offer for name in ("machine", "live")] == [DISCOUNT, TIGHTS]
