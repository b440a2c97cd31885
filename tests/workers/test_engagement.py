"""Engagement: clicks and opens of our own mails count in what is known of a person, once each, and nowhere twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from base import keys
from base.queues import QueueName
from campaigns import audit, chain, overview, timeline, watch
from campaigns.campaigns import Trigger, campaign
from campaigns.erasure import erase_person
from campaigns.population import matching
from campaigns.triggers import due
from signals import stream
from signals.joining import join
from signals.publishing import ANYBODY
from signals.rebuild import rebuild
from signals.sources import INTERNAL, sender_by_name
from signals.state import ProfileState, decode
from signals.stream import Wanted
from tests.campaigns.shop import MANAGER
from tests.promises.reader import APPLE, GMAIL, SCANNER
from tests.workers.opens import Opens
from tests.workers.test_test_sends import sent_as
from workers import engagement, jobs
from workers.engagement import PIECE, PLACES, SETTLED, Engagement

CLICKED_ONCE = {"field": "mail.clicks", "op": ">=", "value": 1}


def told(opens: Opens, loop: Engagement | None = None) -> int:
    """Record what waits, let its class settle, and tell it; how many records were looked at."""
    opens.record()
    tie(opens)
    opens.shop.clock.advance(SETTLED)
    return (loop or Engagement(opens.shop.intake)).tell(opens.shop.now, 30)


def tie(opens: Opens) -> None:
    """Tie all that waits to the chain."""
    with opens.shop.sessions.begin() as session:
        while chain.tie(session, opens.shop.now):
            pass


def state(opens: Opens, profile: int) -> ProfileState:
    """What an open would read of a person."""
    data = opens.shop.store.get(keys.state(profile))
    assert isinstance(data, bytes)
    return decode(data)


def counts(opens: Opens, profile: int) -> tuple[int, int]:
    """The clicks and opens that an open would know of."""
    known = state(opens, profile)
    return known.clicks, known.opens


def own(opens: Opens) -> list[tuple[str, str]]:
    """The names of the signals that we told, and the beginning of their ids."""
    rows = opens.rows(
        "SELECT e.name, split_part(e.message_id, '-', 1) AS what FROM event e JOIN source s ON s.id = e.source_id"
        " WHERE s.name = :ours ORDER BY e.name, e.id",
        ours=INTERNAL,
    )
    return [(row.name, row.what) for row in rows]


@pytest.mark.feature("DE-05")
def test_clicks_and_opens_count_in_the_state_once_each(opens: Opens) -> None:
    mail = opens.send("ann", "ben")["ann"]
    ann, ben = opens.shop.profile("ann"), opens.shop.profile("ben")
    first = opens.shop.now
    opens.look(mail, 0)
    opens.look(mail, 1)
    opens.look(mail, 0, dark=True)
    opens.get(mail.clicks[0])
    opens.shop.clock.advance(timedelta(hours=3))
    opens.look(mail, 0, agent=GMAIL)
    opens.shop.clock.advance(timedelta(hours=1))
    opens.get(mail.clicks[1])
    last = opens.shop.now
    assert counts(opens, ann) == (0, 0)
    looked = told(opens)
    assert looked == 6, "four pictures and two clicks"
    assert own(opens) == [("Email Link Clicked", "click")] * 2 + [("Email Opened", "open")] * 2
    assert counts(opens, ann) == (2, 2), "an open once, however many pictures"
    assert counts(opens, ben) == (0, 0)
    assert state(opens, ann).last_click_s == (state(opens, ann).last_open_s or 0) + 3600
    assert (last - first).total_seconds() == 4 * 3600

    with opens.shop.sessions.begin() as session:
        assert list(session.scalars(matching(session, CLICKED_ONCE, opens.shop.now))) == [ann]
    held = state(opens, ann)
    opens.shop.store.delete(keys.state(ann))
    rebuild(opens.shop.intake, opens.shop.now, whole=ANYBODY)
    assert state(opens, ann) == held


def test_it_tells_nothing_twice_however_often_it_begins_again(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    ann = opens.shop.profile("ann")
    opens.look(mail)
    opens.get(mail.clicks[0])
    loop = Engagement(opens.shop.intake)
    assert told(opens, loop) == 2
    assert loop.tell(opens.shop.now, 0) == 0, "nothing is new"
    opens.look(mail, 1)  # A second picture of the same open, in a later entry.
    assert told(opens, loop) == 1
    opens.rows("DELETE FROM loop_cursor WHERE name = 'engagement' RETURNING name")
    assert Engagement(opens.shop.intake).tell(opens.shop.now, 30) == 3
    assert counts(opens, ann) == (1, 1)
    assert len(own(opens)) == 2


def test_it_waits_until_a_class_is_settled(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.shop.clock.advance(timedelta(hours=1))
    opens.look(mail)
    opens.get(mail.clicks[0])
    opens.record()
    tie(opens)
    loop = Engagement(opens.shop.intake)
    opens.shop.clock.advance(timedelta(seconds=50))
    assert loop.tell(opens.shop.now, 30) == 0
    opens.get(mail.trap)  # A machine was behind all of it.
    assert told(opens, loop) == 3
    assert own(opens) == []
    assert counts(opens, opens.shop.profile("ann")) == (0, 0)


@pytest.mark.parametrize(("late", "expected"), [(timedelta(seconds=1), (0, 0)), (timedelta(hours=1), (1, 1))])
def test_it_waits_for_a_mail_that_is_still_being_handed_over(
    opens: Opens, late: timedelta, expected: tuple[int, int]
) -> None:
    """Whether it was looked at too soon for a person is known when it is said when the mail was sent."""
    mail = opens.send("ann")["ann"]
    opens.rows("UPDATE delivery SET state = 'claimed', sent_at = NULL, settled_at = NULL RETURNING id")
    looked = opens.shop.now
    opens.look(mail)
    opens.get(mail.clicks[0])
    assert told(opens) == 0
    sent = "UPDATE delivery SET state = 'accepted', sent_at = :sent, settled_at = :settled RETURNING id"
    opens.rows(sent, sent=looked - late, settled=opens.shop.now)
    opens.following.idle()
    assert told(opens) == 2
    assert counts(opens, opens.shop.profile("ann")) == expected


def test_machines_and_those_that_may_be_one_do_not_count(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    for agent in (SCANNER, APPLE):
        opens.shop.clock.advance(timedelta(hours=2))
        opens.look(mail, agent=agent)
        opens.get(mail.clicks[0], agent=SCANNER)
    assert told(opens) == 4
    assert own(opens) == []


def test_tests_and_staff_do_not_count(opens: Opens) -> None:
    opens.send("ann")
    (test,) = sent_as(opens, opens.shop.profile("ann"))
    opens.look(test)
    opens.get(test.clicks[0])
    assert told(opens) == 2
    assert own(opens) == []


@pytest.mark.parametrize("level", ["anonymous", "none"])
def test_a_campaign_that_names_nobody_tells_nothing(opens: Opens, level: str) -> None:
    mail = opens.send("ann", tracking=level)["ann"]
    opens.look(mail)
    opens.get(mail.clicks[0])
    assert told(opens) == 0
    assert own(opens) == []


def test_of_who_refuses_it_or_was_erased_nothing_is_kept(opens: Opens) -> None:
    mails = opens.send("ann", "ben", "cid")
    for mail in mails.values():
        opens.look(mail)
        opens.get(mail.clicks[0])
    opens.record()
    tie(opens)
    opens.shop.send(opens.shop.consent("ann", granted=False, purpose="profiling"))
    erase_person(opens.shop.intake, opens.shop.blobs, opens.shop.profile("ben"), opens.shop.now, MANAGER)
    told(opens)
    assert [row.profile_id for row in opens.rows("SELECT profile_id FROM event WHERE name LIKE 'Email %'")] == [
        opens.shop.profile("cid")
    ] * 2
    assert counts(opens, opens.shop.profile("ann")) == (0, 0)
    opens.shop.send(opens.shop.consent("ann", granted=True, purpose="profiling"))
    told(opens)
    assert counts(opens, opens.shop.profile("ann")) == (0, 0), "nothing that was withheld comes back"


def test_it_counts_for_the_person_into_whom_the_mailed_one_was_merged(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    ann, bob = opens.shop.profile("ann"), opens.shop.profile("bob")
    opens.look(mails["bob"])
    opens.get(mails["bob"].clicks[0])
    join(opens.shop.intake, ann, bob, opens.shop.now, by="x")
    told(opens)
    assert counts(opens, ann) == counts(opens, bob) == (1, 1)
    assert {row.profile_id for row in opens.rows("SELECT profile_id FROM event WHERE name LIKE 'Email %'")} == {bob}


def test_what_an_open_shows_stays_as_it_is(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    ann = opens.shop.profile("ann")
    shown, version = opens.look(mail), state(opens, ann).version
    opens.get(mail.clicks[0])
    told(opens)
    assert counts(opens, ann) == (1, 1)
    assert state(opens, ann).version == version
    opens.forget()
    assert opens.look(mail) == shown
    opens.record()
    assert opens.count("decision") == 1, "it is the same open still"


def test_it_takes_a_full_entry_in_pieces_and_goes_on_where_it_stopped(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    for _ in range(PIECE // 2 + 1):
        opens.look(mail, 0)
        opens.look(mail, 1)
    opens.record()
    tie(opens)
    opens.shop.clock.advance(SETTLED)
    looked = [Engagement(opens.shop.intake).tell(opens.shop.now, 0) for _ in range(3)]
    assert looked == [PIECE, 2, 0]
    assert own(opens) == [("Email Opened", "open")] * opens.count("decision")


def test_it_passes_what_else_the_chain_holds(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engagement, "FAR", 20)
    mail = opens.send("ann")["ann"]
    told(opens)
    with opens.shop.sessions.begin() as session:
        last = session.scalar(select(func.max(chain.ChainEntry.number))) or 0
        for number in range(last + 1, last + 41):
            session.add(
                chain.ChainEntry(
                    number=number, at=opens.shop.now, kind="access_log", rows=0, leaves=chain.encode_leaves([]),
                    previous=bytes(32), hash=bytes(32),
                )
            )  # fmt: skip
    assert told(opens) == 0
    (cursor,) = opens.rows("SELECT position FROM loop_cursor WHERE name = 'engagement'")
    assert cursor.position >= (last + 40) * PLACES
    opens.get(mail.clicks[0])
    assert told(opens) == 1
    assert counts(opens, opens.shop.profile("ann")) == (1, 0)


def test_it_goes_on_after_a_death_between_commit_and_write(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = opens.send("ann")["ann"]
    ann = opens.shop.profile("ann")
    opens.get(mail.clicks[0])
    with monkeypatch.context() as dying:
        dying.setattr(opens.shop.intake, "publisher", None)
        with pytest.raises(AttributeError):
            told(opens)
    assert counts(opens, ann) == (0, 0)
    opens.following.idle()
    assert counts(opens, ann) == (1, 0)


def test_pages_and_measures_tell_it_once(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    shop = opens.shop
    opens.look(mail)
    opens.get(mail.clicks[0])
    opens.record()
    with shop.sessions.begin() as session:
        before = [listed(session, opens), overview.overview(session, shop.now).signals_hour]
    told(opens)
    with shop.sessions.begin() as session:
        assert [listed(session, opens), overview.overview(session, shop.now).signals_hour] == before
        ours = sender_by_name(session, INTERNAL)
        assert ours is not None
        assert not {entry.source for entry in stream.newest(session, Wanted()).entries} & {ours.id}
        assert len(stream.newest(session, Wanted(source=ours.id)).entries) == 2, "where it is asked for"
        (row,) = opens.rows("SELECT id FROM decision")
        seen = audit.opening(session, shop.blobs, shop.settings.subject_key, row.id, [shop.profile("ann")])
        names = {signal.name for signal in (*seen.known, *seen.late)}
        assert not names & {"Email Opened", "Email Link Clicked"}
    shop.clock.advance(timedelta(hours=1))
    with shop.sessions.begin() as session:
        age = watch._signal_age(session, shop.now)
    assert age is not None
    assert age > 3600, "a shop that fell silent is not hidden by our own word"


def test_a_campaign_that_waits_for_a_click_begins_once_whoever_tells_of_it(opens: Opens) -> None:
    mail = opens.send("ann", "ben")["ann"]
    shop = opens.shop
    waits = shop.campaign(
        kind="triggered", trigger=Trigger(event="Email Link Clicked"), ends_at=shop.now + timedelta(days=2),
        send_holdout=0.0,
    )  # fmt: skip
    shop.schedule(waits)
    shop.clock.advance(timedelta(minutes=1))
    opens.get(mail.clicks[0])
    told(opens)
    assert [row.profile_id for row in begun(opens, waits)] == [shop.profile("ann")]
    for _ in range(3):
        opens.scheduler.tick()
        jobs.work(QueueName.SEND, shop.queues, burst=True)
    told_elsewhere = {"event": "Email Link Clicked", "properties": {"class": "person"}}
    shop.send({"type": "track", "userId": "ann"} | told_elsewhere)
    assert begun(opens, waits) == []
    for _ in range(3):
        opens.scheduler.tick()
        jobs.work(QueueName.SEND, shop.queues, burst=True)
    assert [row.state for row in shop.ledger(waits)] == ["accepted"]


def begun(opens: Opens, number: int) -> list[Any]:
    """Who is to be mailed by a campaign that waits."""
    with opens.shop.sessions.begin() as session:
        return list(session.execute(select(due(session, campaign(session, number), opens.shop.now))))


def listed(session: Any, opens: Opens) -> list[tuple[str, str]]:
    """A customer's timeline."""
    page = timeline.timeline(session, [opens.shop.profile("ann")])
    return [(entry.kind, entry.title) for entry in page.entries]


def test_the_schedule_loop_tells_it(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.get(mail.clicks[0])
    opens.record()
    tie(opens)
    opens.scheduler.tick()
    assert own(opens) == []
    opens.shop.clock.advance(SETTLED)
    for _ in range(2):  # A slow machine tells one entry in the time of a round.
        opens.scheduler.tick()
    assert counts(opens, opens.shop.profile("ann")) == (1, 1)
