"""The open through the app, against a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from base.clock import FixedClock
from base.settings import Settings
from base.stores import Store
from render.app import create_app
from tests.render.mail import Mail, browser, size_of
from tests.render.shoe_shop import DISCOUNT, NOON, state


def test_it_answers_a_picture_and_records_the_open(client: FlaskClient, mail: Mail) -> None:
    answer = client.get(mail.url(), headers=browser())
    assert answer.status_code == 200
    assert size_of(answer.data) == (1200, 400)
    (decision,) = mail.decisions()
    (fetch,) = mail.fetches()
    assert [slot.offer for slot in decision.slots] == [DISCOUNT]
    assert fetch.decision == decision.id
