"""What comes late of somebody who was erased: a mail in a sender's hands, one that comes back, an order just credited.

Then every column of every table is searched, sealed ones opened, for whatever named the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from base.ids import Delivery as Key
from base.returnpath import ReturnPaths
from campaigns import mailreports, settling
from campaigns.erasure import erase_person
from signals import journal
from signals.identity import address_hash
from signals.mailreports import Patience, Report, take
from tests.campaigns.shop import MANAGER
from tests.workers.opens import Opens
from tests.workers.returns import dsn
from tests.workers.test_sealed import everywhere, unsealed
from tests.workers.test_sending import due
from workers import outcomes
from workers.bounces import ReturnDesk
from workers.following import Following
from workers.sending import Sender

DOMAIN = "bounce.example.com"
FULL = "552 5.2.2 mailbox of Mr Refusewell is full"
TAKEN = "250 2.0.0 taken for Mr Handwell"
WAITING = "450 4.2.0 Mr Waitwell is asked for"
BACK = "552 5.2.2 Mr Bouncewell has moved"


def places(opens: Opens, marks: Mapping[str, str | bytes]) -> dict[str, set[str]]:
    """In which columns each mark stands: in any case, as text or bytes, as they are or opened with the key."""
    found: dict[str, set[str]] = {name: set() for name in marks}
    spelt = {
        name: [mark.hex(), mark.decode("latin-1")] if isinstance(mark, bytes)
        else [mark.lower(), mark.encode().hex(), mark.lower().encode().hex()]
        for name, mark in marks.items()
    }  # fmt: skip
    for told in (everywhere(opens.shop.sessions), unsealed(opens.shop.sessions)):
        for place, value in told:
            for name, spellings in spelt.items():
                if any(one in value or one in value.lower() for one in spellings):
                    found[name].add(place)
    return found


def nowhere(found: Mapping[str, set[str]], names: Iterable[str]) -> list[str]:
    """Those of the marks that stand in no column."""
    return [name for name in names if not found[name]]


@pytest.mark.feature("SU-13")
def test_it_leaves_no_trace_of_whoever_is_erased_while_mails_and_an_order_are_under_way(
    opens: Opens, sender: Sender
) -> None:
    shop, relay = opens.shop, opens.relay
    shop.people("ann", lastName="Quillfeather", firstName="Zephyrine", email="ann@quillfeather-qx77.example")
    # The first mail is put off for good, is sent again, and is opened; then something is bought.
    relay.at_rcpt = lambda recipient: FULL if recipient.startswith("ann@") else ""
    opens.send("bob")
    with shop.sessions.begin() as session:
        assert settling.send_again(session, opens.campaign, shop.now, MANAGER) == 1
    relay.at_rcpt = lambda _recipient: ""
    ann = shop.profile("ann")
    sender.send([row.id for row in shop.ledger(opens.campaign) if row.profile_id == ann])
    mail = opens.read_mails()["ann"]
    opens.look(mail)
    opens.get(mail.clicks[0])
    opens.record()
    shop.clock.advance(timedelta(minutes=5))
    shop.send(shop.order("ann", "shoes", shop.now, "order-qx77"), shop.consent("bob", False))
    hashed = address_hash(shop.settings.hash_key, "ann@quillfeather-qx77.example")
    first = next(row for row in shop.ledger(opens.campaign) if row.profile_id == ann)
    second = shop.campaign()
    ids = due(shop, opens.scheduler, second)
    marks: dict[str, str | bytes] = {
        "address": "ann@quillfeather-qx77", "hash of the address": hashed, "first name": "Zephyrine",
        "last name": "Quillfeather", "order": "order-qx77", "Message-ID": (first.message_id or "").strip("<>"),
        "words of the first try": "Refusewell",
    }  # fmt: skip
    late: dict[str, str | bytes] = {
        "Message-ID of the second mail": f"c{second}.o1.", "words on the second mail": "Handwell",
        "words being taken": "Waitwell", "words that came back": "Bouncewell",
    }  # fmt: skip

    def erase(_recipient: str) -> str:
        # The search finds what is there, else it would prove nothing.
        assert nowhere(places(opens, marks), marks) == []
        erase_person(shop.intake, shop.blobs, ann, shop.now, MANAGER)
        return TAKEN

    relay.at_dot = erase
    with shop.sessions.begin() as session:
        # An order is being credited, and a report taken, while the second mail is handed over and the person erased.
        outcomes.credit(session, shop.intake.categories, journal.newest(session), shop.now)
        told = Report(
            kind="soft", via="ses", name="1", at=shop.now, mail=mail.token.delivery, address_hash=hashed,
            message_id=first.message_id, words=WAITING,
        )  # fmt: skip
        assert take(session, told, Patience(9, 9), shop.now)
        assert sender.send(ids).states == {"accepted": 1}
    committed = places(opens, marks | late)
    assert committed["order"] == {"outcome.order_id"}
    assert committed["words being taken"] == {"mail_report.words"}
    settings = replace(shop.settings, bounce_domain=DOMAIN)
    envelope = ReturnPaths.from_settings(settings).mint(Key(ann, second, 1)) or ""
    back = dsn(envelope, f"Message-ID: {first.message_id}", recipient="ann@quillfeather-qx77.example", said=BACK)
    assert ReturnDesk(settings, shop.sessions, shop.clock).take(back, [envelope]) == "taken"

    Following(opens.parts).idle()
    assert {name: there for name, there in places(opens, marks | late).items() if there} == {}
    # What is counted is counted still: two mails that left, one of them twice tried, an order, two that came back.
    rows = [row for number in (opens.campaign, second) for row in shop.ledger(number) if row.profile_id == ann]
    assert [(row.state, row.attempts) for row in rows] == [("accepted", 1), ("accepted", 1)]
    assert (opens.count("outcome"), opens.count("delivery_retry"), opens.count("mail_report")) == (1, 1, 2)
    with shop.sessions.begin() as session:
        counted = [mailreports.counts(session, number) for number in (opens.campaign, second)]
    assert [(one["soft"], one["hard"]) for one in counted] == [(1, 0), (0, 1)]
