"""The send-time shadow: what an open would have shown on what was known when the mail left."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from campaigns.models import SentFacts
from tests.workers.opens import Opens
from workers.shadow import Shadows


def shadows(opens: Opens) -> list[tuple[dict[str, int], dict[str, int] | None]]:
    """(shown, shadow) of every decision, in order of opens."""
    opens.record()
    rows = opens.rows("SELECT slots, shadow FROM decision ORDER BY profile_id, open_number")
    return [(row.slots, row.shadow) for row in rows]


def test_it_is_the_open_itself_while_nothing_happened(opens: Opens) -> None:
    for mail in opens.send("ann", "bob").values():
        opens.look(mail)
    for shown, shadow in shadows(opens):
        assert shown == shadow == {"0": opens.discount, "1": opens.default}


def test_it_stays_with_what_was_known_when_the_mail_left(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.shop.clock.advance(timedelta(hours=1))
    opens.shop.send(opens.shop.order("ann", "shoes", opens.shop.now))
    opens.look(mail)
    ((shown, shadow),) = shadows(opens)
    assert shown["0"] == opens.thanks
    assert shadow == {"0": opens.discount, "1": opens.default}


def test_it_knows_the_caps_that_were_left_at_the_send(opens: Opens) -> None:
    mails = opens.send("ann", "bob", discount={"cap_total": 1})
    for mail in mails.values():
        opens.look(mail)
    found = shadows(opens)
    assert sorted(shown["0"] for shown, _ in found) == sorted([opens.discount, opens.default])
    assert all(shadow == {"0": opens.discount, "1": opens.default} for _, shadow in found)


def test_it_compares_nothing_for_held_out_content_and_where_the_send_left_no_facts(opens: Opens) -> None:
    mails = opens.send(*(f"p{number}" for number in range(20)), content_holdout=0.5)
    held = {row.profile_id for row in opens.rows("SELECT profile_id FROM delivery WHERE holdout = 'content'")}
    unknown = next(mail.token.profile for mail in mails.values() if mail.token.profile not in held)
    with opens.shop.sessions.begin() as session:
        session.query(SentFacts).filter(SentFacts.profile_id == unknown).delete()
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    without = {row.profile_id for row in opens.rows("SELECT profile_id FROM decision WHERE shadow IS NULL")}
    assert without == {*held, unknown}


def test_it_is_computed_once(opens: Opens) -> None:
    opens.look(opens.send("ann")["ann"])
    opens.record()
    (row,) = opens.rows("SELECT id, at FROM decision")
    again = Shadows(opens.shop.blobs, opens.shop.settings.subject_key)
    with opens.shop.sessions.begin() as session:
        assert again.compute(session, [(row.id, row.at)]) == 0
        session.execute(text("UPDATE decision SET shadow = NULL"))
        assert again.compute(session, [(row.id, row.at)]) == 1
