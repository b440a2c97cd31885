"""A campaign that is no longer followed: mails sent before still name the person, and nothing is made of it."""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec
import pytest
from flask.testing import FlaskClient

from base import keys
from base.errors import BadToken
from base.tokens import Purpose, Token
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import SENT, SHOES, bought, plan, state


def read(mail: Mail, text: str, purposes: tuple[Purpose, ...]) -> list[Token]:
    """The token, of whichever of these purposes it is."""
    found = []
    for purpose in purposes:
        with suppress(BadToken):
            found.append(mail.tokens.read(text, purpose))
    return found


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
    page = client.get(f"/view/{mail.token(Purpose.VIEW)}", headers=browser())
    assert page.status_code == 200
    named = re.findall(r"/([ocu]|view)/([\w-]{54})", page.text)
    purposes = {"o": (Purpose.PICTURE, Purpose.PICTURE_DARK), "c": (Purpose.CLICK,), "u": (Purpose.UNSUBSCRIBE,)}
    found = {(path, token.profile) for path, text in named for token in read(mail, text, purposes[path])}
    assert found == {("o", 0), ("c", 0), ("u", mail.delivery.profile)}, "the page's own addresses are everybody's"
    click = client.get(mail.click(), headers=browser())
    assert (click.status_code, click.headers["Location"]) == (302, mail.plan.default_landing)
    assert mail.records() == []
    assert set(mail.store.keys("*")) == before
