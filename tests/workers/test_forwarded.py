"""What a stranger sees who was sent a mail on: no more than the mail itself."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage

import pytest

from tests.workers.opens import Opens

KNOWN = {
    "firstName": "Robert", "lastName": "Marlowe", "phone": "+431234567", "birthday": "1990-04-01",
    "address": {"city": "Vienna", "postalCode": "1010"},
}  # fmt: skip
SECRETS = ("Robert", "Marlowe", "1234567", "1990", "Vienna", "1010", "bob@", "@example.com", "bob", "ann@")


def printed(opens: Opens, recipient: str) -> str:
    """The HTML part of the mail that this address got."""
    (content,) = (raw for address, raw in opens.relay.mails if address == recipient)
    message: EmailMessage = email.message_from_bytes(content, EmailMessage, policy=email.policy.default)
    body = message.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def told(text: str) -> list[str]:
    """The secrets in a page, its tokens and hashes aside."""
    text = re.sub(r"[A-Za-z0-9_-]{51,}", "", text)
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.feature("SU-15")
def test_it_shows_a_stranger_nothing_that_the_mail_did_not(opens: Opens) -> None:
    opens.shop.people("bob", firstName="")
    mails = opens.send("ann")
    assert "Hello Ann," in printed(opens, "ann@example.com")
    assert "Hello friend," in printed(opens, "bob@example.com")
    # Who opens it as it was sent sees the mail's own words.
    assert "Hello Ann," in opens.get(mails["ann"].view).text
    # What is learnt of them later is no business of whoever was sent their mail.
    for name in ("ann", "bob"):
        opens.shop.send({"type": "identify", "userId": name, "traits": KNOWN})
    opens.forget()
    for mail in mails.values():
        view, leave = opens.get(mail.view), opens.get(mail.unsubscribe)
        assert (view.status_code, leave.status_code) == (200, 200)
        assert "Hello friend," in view.text
        for page in (view, leave):
            assert told(page.text) == []
            assert "noindex" in page.headers["X-Robots-Tag"]
            assert page.headers["Referrer-Policy"] == "no-referrer"
            assert "no-store" in page.headers["Cache-Control"]
        done = opens.client.post(mail.unsubscribe, data={"purpose": "email"})
        assert told(done.text) == []
