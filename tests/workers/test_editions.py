"""A change of mails that have left counts from its moment: opens before it keep what was shown, in the audit too."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from base.errors import InvalidInput
from campaigns import campaigns, offers, plans, publish
from tests.campaigns.shop import MANAGER
from tests.workers.opens import Opens

MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.feature("CM-19")
def test_it_shows_a_change_from_its_moment_on_and_keeps_what_was_before_in_the_audit(opens: Opens) -> None:
    mails = opens.send("ann", "ben", "eve", "max")
    shop, start = opens.shop, opens.shop.now + timedelta(minutes=10)
    before = opens.look(mails["ann"])
    with shop.sessions.begin() as session:
        row = offers.offer(session, opens.discount)
        written = msgspec.structs.replace(offers.content(row), fields={"headline": "From ten o’clock"})
        offers.update_offer(session, opens.discount, written, shop.now, MANAGER)
        for wrong in (shop.now, shop.now - MILLISECOND):
            with pytest.raises(InvalidInput, match="starts_at"):
                publish.publish(
                    session, shop.store, shop.blobs, opens.campaign, shop.now, MANAGER,
                    starts_at=wrong, is_sending=False,
                )  # fmt: skip
    with shop.sessions.begin() as session:
        second = publish.publish(
            session, shop.store, shop.blobs, opens.campaign, shop.now, MANAGER, starts_at=start, is_sending=False,
        )  # fmt: skip
    with shop.sessions.begin() as session:
        first = campaigns.campaign(session, opens.campaign).plan_hash
    assert first != second

    # To the millisecond, although nobody came by to turn it and what is live is held by the process.
    shop.clock.advance(start - shop.now - MILLISECOND)
    opens.forget()
    assert opens.look(mails["ben"]) == before
    shop.clock.advance(MILLISECOND)
    after = opens.look(mails["eve"])
    assert after != before
    assert opens.look(mails["ann"]) == after, "an open that was held is not, once its plan is over"
    shop.clock.set(start - MILLISECOND)
    assert opens.look(mails["max"]) == before, "one that began before it, and is decided after another found it over"
    shop.clock.set(start)
    opens.record()
    seen = opens.rows("SELECT profile_id, at, plan_hash FROM decision ORDER BY at, profile_id")
    assert [row.plan_hash for row in seen] == [first, first, first, second, second]
    assert all((row.at < start) == (row.plan_hash == first) for row in seen)

    # The loop writes down what the opens went by, and nothing changes by that.
    opens.scheduler.tick()
    with shop.sessions.begin() as session:
        live = campaigns.campaign(session, opens.campaign)
        assert (live.plan_hash, live.next_plan_hash, live.next_plan_at) == (second, None, None)
        newest = plans.versions(session, opens.campaign)[0]
        assert (newest.hash, newest.starts_at) == (second, start)
        publish.refresh(session, shop.store, shop.blobs)
    opens.forget()
    assert opens.look(mails["ben"]) == after


def test_it_gives_way_to_what_is_published_at_once(opens: Opens) -> None:
    mails = opens.send("ann")
    shop, start = opens.shop, opens.shop.now + timedelta(minutes=10)
    before = opens.look(mails["ann"])
    with shop.sessions.begin() as session:
        row = offers.offer(session, opens.discount)
        kept = offers.content(row)
        offers.update_offer(
            session, opens.discount, msgspec.structs.replace(kept, fields={"headline": "Later"}), shop.now, MANAGER
        )
        publish.publish(
            session, shop.store, shop.blobs, opens.campaign, shop.now, MANAGER, starts_at=start, is_sending=False
        )
    with shop.sessions.begin() as session:
        offers.update_offer(session, opens.discount, kept, shop.now, MANAGER)
        publish.publish(session, shop.store, shop.blobs, opens.campaign, shop.now, MANAGER, is_sending=False)
        assert campaigns.campaign(session, opens.campaign).next_plan_hash is None
    shop.clock.advance(timedelta(minutes=20))
    opens.forget()
    assert opens.look(mails["ann"]) == before
