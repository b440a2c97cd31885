"""Keeping an offer and not repeating it are two settings: within a mail, and from mail to mail."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from base.clock import FixedClock
from base.ids import Delivery
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import ATTIRE, DISCOUNT, SENT, TIGHTS, bought, plan, state

BETTER = {"priority": 9}


def look(client: FlaskClient, mail: Mail) -> tuple[int, bytes]:
    """Open the mail: the offer in its hero, and the picture's bytes."""
    body = client.get(mail.url(), headers=browser()).data
    return mail.lane().chosen[0].offer, body


@pytest.mark.feature("CM-37")
def test_it_keeps_an_offer_within_a_mail_and_does_not_repeat_it_in_the_next(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(plan(discount={"no_repeat_days": 7, "sticky": True}))
    first = look(client, mail)
    noon.advance(timedelta(minutes=40))
    assert look(client, mail) == first
    assert (first[0], len(mail.decisions())) == (DISCOUNT, 1)
    # Past the hold, and with something that would go first, the same mail keeps it: it is no repeat.
    mail.publish(plan(discount={"no_repeat_days": 7, "sticky": True}, tights=BETTER))
    noon.advance(timedelta(hours=2))
    assert look(client, mail) == first

    mail.publish(plan(discount={"no_repeat_days": 7, "sticky": True}))
    mail.delivery = Delivery(mail.delivery.profile, 7, 2)
    assert look(client, mail)[0] == TIGHTS
    last = {candidate.offer: candidate.rule for candidate in mail.decisions()[-1].slots[0].candidates}
    assert last[DISCOUNT] == "no repeat"
    noon.advance(timedelta(days=7))
    mail.delivery = Delivery(mail.delivery.profile, 7, 3)
    assert look(client, mail)[0] == DISCOUNT


@pytest.mark.feature("CM-37")
@pytest.mark.parametrize("sticky", [True, False])
@pytest.mark.parametrize("days", [None, 7])
def test_it_takes_each_setting_by_itself(
    client: FlaskClient, mail: Mail, noon: FixedClock, sticky: bool, days: int | None
) -> None:
    mail.publish(plan(discount={"no_repeat_days": days, "sticky": sticky}))
    assert look(client, mail)[0] == DISCOUNT
    mail.publish(plan(discount={"no_repeat_days": days, "sticky": sticky}, tights=BETTER))
    mail.know(state([bought(ATTIRE, SENT - timedelta(days=9), order="o7")]))
    noon.advance(timedelta(hours=2))
    assert look(client, mail)[0] == (DISCOUNT if sticky else TIGHTS)
    mail.publish(plan(discount={"no_repeat_days": days, "sticky": sticky}))
    mail.delivery = Delivery(mail.delivery.profile, 7, 2)
    assert look(client, mail)[0] == (DISCOUNT if days is None else TIGHTS)
