"""A campaign that is no longer followed: mails sent before still name the person, and nothing is made of it."""

from __future__ import annotations

import msgspec
import pytest
from flask.testing import FlaskClient

from base import keys
from base.tokens import Purpose
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import SENT, SHOES, bought, plan, state


@pytest.mark.parametrize("known", [True, False])
def test_it_makes_nothing_of_tokens_that_name_the_person(client: FlaskClient, mail: Mail, known: bool) -> None:
    mail.publish(msgspec.structs.replace(plan(slots=2), tracking="none"))
    if known:
        mail.know(state([bought(SHOES, SENT)]))
    else:
        mail.store.delete(keys.state(mail.delivery.profile))
    before = set(mail.store.keys("*"))
    shared = client.get(mail.url(profile=0), headers=browser())
    assert client.get(mail.url(), headers=browser()).data == shared.data
    assert client.get(mail.url(1, dark=True), headers=browser()).status_code == 200
    assert client.get(f"/view/{mail.token(Purpose.VIEW)}", headers=browser()).status_code == 200
    click = client.get(mail.click(), headers=browser())
    assert (click.status_code, click.headers["Location"]) == (302, mail.plan.default_landing)
    assert mail.records() == []
    assert set(mail.store.keys("*")) == before
