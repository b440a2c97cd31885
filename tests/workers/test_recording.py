"""Records as rows: what is public is hashed, what is personal is sealed, and one request leaves one fetch."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from threading import Thread

import msgspec
import pytest
from alembic import command
from sqlalchemy import text

from base import keys
from base.clock import monotonic, pause
from base.errors import NotFound
from campaigns import remainder, served
from campaigns.erasure import erase_person
from campaigns.subjects import known_subject
from render.record import DecisionRecord, FetchRecord
from signals import journal
from tests.campaigns.shop import MANAGER
from tests.streams import lengths
from tests.workers.opens import Opens
from workers import migration, outcomes
from workers.following import Following
from workers.recording import date_late, write


def test_it_keeps_who_it_was_out_of_what_is_public(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    (decision,) = [made for made in opens.waiting() if isinstance(made, DecisionRecord)]
    opens.record()
    (row,) = opens.rows("SELECT * FROM decision")
    public = msgspec.json.decode(row.public)
    assert hashlib.sha256(row.public).digest() == row.public_sha256
    assert public["subject"] == row.subject_id.hex
    assert not {"profile", "personal"} & public.keys()
    assert b"Ann" not in row.public
    assert decision.personal.state is not None
    assert decision.personal.state not in row.personal
    assert (row.id, row.seed, row.open_number, row.rung) == (decision.id, str(decision.seed), 1, "rules")
    assert row.slots == {"0": opens.discount, "1": opens.default}


def test_it_keeps_bytes_once_for_all_and_sealed_where_they_are_personal(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    pages, pictures = [], []
    for mail in mails.values():
        pictures.append(opens.look(mail))
        pages.append(opens.get(mail.view).data)
    opens.record()
    assert pictures[0] == pictures[1]
    owners = {row.owner for row in opens.rows("SELECT owner FROM served_bytes")}
    assert opens.count("served_bytes") == 3
    assert served.EVERYBODY in owners
    digests = [hashlib.sha256(body).digest() for body in (pictures[0], *pages)]
    with opens.shop.sessions.begin() as session:
        subjects = [
            known_subject(session, mail.token.profile, opens.shop.settings.subject_key) for mail in mails.values()
        ]
        assert served.read(session, opens.shop.blobs, digests[0], None) == (pictures[0], "image/jpeg")
        assert served.read(session, opens.shop.blobs, digests[1], subjects[0])[0] == pages[0]
        for stranger in (subjects[1], None):
            with pytest.raises(NotFound):
                served.read(session, opens.shop.blobs, digests[1], stranger)


def test_it_drops_the_records_of_whoever_was_erased_meanwhile(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    for mail in mails.values():
        opens.look(mail)
    erase_person(opens.shop.intake, opens.shop.blobs, mails["ann"].token.profile, opens.shop.now, MANAGER)
    opens.record()
    kept = {row.profile_id for row in opens.rows('SELECT profile_id FROM "fetch"')}
    assert kept == {mails["bob"].token.profile}
    assert opens.rows("SELECT 1 FROM subject WHERE profile_id = :p", p=mails["ann"].token.profile) == []


@pytest.mark.feature("SU-13")
def test_it_names_nobody_whose_erasure_came_while_it_wrote(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.record()
    opens.look(mail)
    shop, profile = opens.shop, mail.token.profile
    erasing = Thread(target=erase_person, args=(shop.intake, shop.blobs, profile, shop.now, MANAGER))
    with shop.sessions.begin() as session:
        write(session, shop.blobs, shop.settings.subject_key, opens.waiting(), shop.now)
        erasing.start()
        deadline = monotonic() + 20
        while not opens.rows(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            assert erasing.is_alive(), "it did not wait for what was being written"
            assert monotonic() < deadline
            pause(0.02)
    erasing.join()
    assert [row.profile_id for row in opens.rows('SELECT profile_id FROM "fetch"')] == [None, None]
    assert opens.rows("SELECT 1 FROM subject WHERE profile_id = :p", p=profile) == []


@pytest.mark.parametrize("away", [timedelta(), timedelta(days=3)])
def test_it_unnames_what_was_credited_beside_an_erasure(opens: Opens, away: timedelta) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.record()
    shop, profile = opens.shop, mail.token.profile
    shop.clock.advance(timedelta(minutes=5))
    shop.send(shop.order("ann", "shoes", shop.now))
    with shop.sessions.begin() as session:
        outcomes.credit(session, shop.intake.categories, journal.newest(session), shop.now)
    kept = opens.rows("SELECT * FROM outcome")
    assert [row.profile_id for row in kept] == [profile]
    erase_person(shop.intake, shop.blobs, profile, shop.now, MANAGER)
    opens.following.idle()
    # As the statement of a credit leaves it that is committed now, by a recorder that is killed then: the next may not
    # begin before a weekend is over.
    for number in range(2):
        with shop.sessions.begin() as session:
            session.execute(text("UPDATE outcome SET profile_id = :p, order_id = 'o1'"), {"p": profile})
        shop.clock.advance(away)
        Following(opens.parts).idle()
        kept = [(row.profile_id, row.order_id) for row in opens.rows("SELECT * FROM outcome")]
        # Who was looked at when nothing could be late any more is not looked at for ever.
        assert kept == ([(profile, "o1")] if number and away else [(None, None)])


def test_it_forgets_nobody_who_is_erased_by_a_clock_that_was_set_back(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    shop, profile = opens.shop, mail.token.profile
    with shop.sessions.begin() as session:
        remainder.unname_late(session, shop.now + timedelta(days=30))
    erase_person(shop.intake, shop.blobs, profile, shop.now, MANAGER)
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE delivery SET reply = 'late'"))
        remainder.unname_late(session, shop.now)
    assert [row.reply for row in shop.ledger(opens.campaign)] == [None]


def test_it_unnames_late_words_of_any_number_of_people(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remainder, "AT_ONCE", 2)
    names = ("ann", "bob", "cleo", "dan", "eve")
    opens.send(*names)
    shop = opens.shop
    for name in names[:4]:
        erase_person(shop.intake, shop.blobs, shop.profile(name), shop.now, MANAGER)
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE delivery SET reply = 'late'"))
        remainder.unname_late(session, shop.now)
    assert sorted(row.reply or "" for row in shop.ledger(opens.campaign)) == ["", "", "", "", "late"]


def test_its_upgrade_unnames_what_was_written_beside_an_erasure(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    ann, bob = (mails[name].token.profile for name in ("ann", "bob"))
    erase_person(opens.shop.intake, opens.shop.blobs, ann, opens.shop.now, MANAGER)
    with opens.shop.sessions.begin() as session:
        for table in ("decision", "fetch"):
            session.execute(text(f'UPDATE "{table}" SET profile_id = :ann WHERE profile_id IS NULL'), {"ann": ann})
    config = migration._config(opens.shop.settings.database_url)
    command.downgrade(config, "0053")
    command.upgrade(config, "head")
    for table in ("decision", "fetch"):
        assert {row.profile_id for row in opens.rows(f'SELECT profile_id FROM "{table}"')} == {None, bob}


@pytest.mark.parametrize("purpose", ["tracking", "email"])
def test_it_drops_what_was_recorded_of_whoever_had_refused_while_their_state_was_lost(
    opens: Opens, purpose: str
) -> None:
    mails = opens.send("ann", "bob")
    opens.look(mails["ann"])
    opens.get(mails["ann"].clicks[0])
    opens.shop.send({"type": "alias", "userId": "anna", "previousId": "ann"})
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.shop.send(opens.shop.consent("anna", False, purpose), opens.shop.consent("bob", False, purpose))
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.shop.send(opens.shop.consent("bob", True, purpose))
    for mail in mails.values():
        opens.shop.store.delete(keys.state(mail.token.profile))
        opens.look(mail)
        opens.get(mail.clicks[0])
    opens.record()
    ann, bob = (mails[name].token.profile for name in ("ann", "bob"))
    for table in ("decision", "fetch", "click"):
        kept = opens.rows(f'SELECT profile_id FROM "{table}" ORDER BY profile_id')
        assert [row.profile_id for row in kept] == [ann, bob], "what she did before she refused stays"


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
@pytest.mark.parametrize("first", ["cached", "default"])
def test_it_believes_the_fallback_of_a_request_that_was_recorded_twice(
    opens: Opens, first: str, together: bool
) -> None:
    opens.look(opens.send("ann")["ann"])
    (made,) = [made for made in opens.waiting() if isinstance(made, FetchRecord)]
    opens.record()
    fallback = msgspec.structs.replace(made, id="f" * 32, rung="default", sha256="ab" * 32, body=None)
    decided = msgspec.structs.replace(made, id="f" * 32, rung="cached", body=None)
    for one in (decided, fallback) if first == "cached" else (fallback, decided):
        opens.put(one)
        if not together:
            opens.record()
    opens.record()
    (row,) = opens.rows('SELECT * FROM "fetch" WHERE id = :id', id="f" * 32)
    assert (row.rung, row.sha256.hex()) == ("default", "ab" * 32)
    assert hashlib.sha256(row.public).digest() == row.public_sha256
    assert msgspec.json.decode(row.public)["rung"] == "default"


def test_it_dates_what_came_before_its_decision(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.get(mail.clicks[0])
    records = opens.waiting()
    for stream in lengths(opens.shop.store):
        opens.shop.store.xtrim(stream, maxlen=0)
    late = [made for made in records if isinstance(made, DecisionRecord)]
    opens.put(*(made for made in records if not isinstance(made, DecisionRecord)))
    opens.record()
    assert opens.rows('SELECT decision_at FROM "fetch" UNION ALL SELECT decision_at FROM click') == [(None,), (None,)]
    opens.put(*late)
    opens.record()
    with opens.shop.sessions.begin() as session:
        assert date_late(session) == 2
        assert date_late(session) == 0
    at = opens.rows("SELECT at FROM decision")[0].at
    assert opens.rows('SELECT decision_at FROM "fetch" UNION ALL SELECT decision_at FROM click') == [(at,), (at,)]


def test_it_makes_the_months_that_opens_fall_into(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    for days in (0, 40, 400):
        opens.shop.clock.set(datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(days=days))
        opens.look(mail)
    opens.record()
    for table in ("decision", "fetch"):
        parts = opens.rows(f'SELECT tableoid::regclass::text AS part FROM "{table}" ORDER BY at')
        assert [row.part for row in parts] == [f"{table}_2026_03", f"{table}_2026_04", f"{table}_2027_04"]
