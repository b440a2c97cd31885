"""One person has one count of what they were shown and said, whichever of their profiles a mail carries."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy.orm import Session

from base import keys
from campaigns.campaigns import SlotChoice
from campaigns.erasure import erase_person
from campaigns.merges import undo
from render import agree
from render.arbitration import Fatigue
from render.facts import Used
from signals import belonging, countoutbox
from signals.joining import join
from signals.rebuild import rebuild
from tests.campaigns.shop import MANAGER
from tests.promises.reader import Mail
from tests.workers.opens import Opens
from workers import counts
from workers.repair import Repairs


@pytest.fixture
def repairs(opens: Opens) -> Repairs:
    shop = opens.shop
    return Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)


def subscribe(opens: Opens, *names: str) -> None:
    """People who are known by their address alone."""
    for name in names:
        who = {"anonymousId": f"device-{name}"}
        granted = {"purpose": "email", "granted": True}
        opens.shop.send(
            {"type": "identify", **who, "traits": {"email": f"{name}@example.com", "firstName": name}},
            {"type": "track", **who, "event": "Consent Changed", "properties": granted},
        )


def register(opens: Opens, name: str) -> None:
    """Somebody opens an account with their address: another profile, which speaks for them from now on."""
    opens.shop.send({"type": "identify", "userId": name, "traits": {"email": f"{name}@example.com"}})


def mailed(opens: Opens, offer: int) -> dict[str, Mail]:
    """A campaign with this offer, sent to everybody."""
    default = SlotChoice(slot=1, default=opens.default)
    return opens.send_campaign(slots=[SlotChoice(slot=0, default=opens.default, offers=[offer]), default])


def seen(opens: Opens, mail: Mail) -> int:
    """The offer that a mail shows now; recorded."""
    opens.look(mail)
    opens.record()
    return opens.shown(mail).live.chosen[0].offer


def wanted(opens: Opens, **changes: Any) -> int:
    """An offer with a limit, and its default."""
    opens.default = opens.shop.offer("neutral")
    return opens.shop.offer(**changes)


@pytest.mark.parametrize(
    "limit",
    [{"cap_person": 1}, {"cap_person": 1, "period_days": 7}, {"no_repeat_days": 30},
     {"group_name": "gifts", "fatigue": [Fatigue("taken", 1, 30, 60, "group")]}],
    ids=["cap", "cap within a period", "no repeat", "rest"],
)  # fmt: skip
def test_who_opens_an_account_is_not_shown_the_offer_again(opens: Opens, limit: dict[str, Any]) -> None:
    offer = wanted(opens, **limit)
    subscribe(opens, "ann", "bob")
    first = mailed(opens, offer)
    for mail in first.values():
        assert seen(opens, mail) == offer
        opens.get(mail.clicks[0])
    opens.record()
    register(opens, "ann")
    opens.following.idle()
    second = mailed(opens, offer)
    assert second["ann"].token.profile != first["ann"].token.profile
    assert second["bob"].token.profile == first["bob"].token.profile
    assert [seen(opens, second[name]) for name in ("ann", "bob")] == [opens.default, opens.default]


def test_an_open_counts_for_the_mails_to_the_other_profiles(opens: Opens, repairs: Repairs) -> None:
    offer = wanted(opens, cap_person=2)
    subscribe(opens, "ann")
    mails = [mailed(opens, offer)["ann"], mailed(opens, offer)["ann"]]
    register(opens, "ann")
    repairs.counts.follow()
    mails += [mailed(opens, offer)["ann"], mailed(opens, offer)["ann"]]
    old, new = mails[0].token.profile, mails[2].token.profile
    assert old != new
    assert [seen(opens, mails[number]) for number in (0, 2, 1, 3)] == [offer, offer, opens.default, opens.default]
    assert [opens.used(mails[number]).offers[offer].count for number in (0, 2)] == [1, 1]
    assert [opens.used(mails[number]).offer(offer).count for number in (0, 2)] == [2, 2]
    assert opens.used(mails[0]).offer(offer) == opens.used(mails[2]).offer(offer)


def person(opens: Opens, offer: int) -> tuple[Mail, Mail, int]:
    """Two subscribers who each saw the offer once and are merged by hand; their mails, and the merge."""
    subscribe(opens, "ann", "bob")
    mails = mailed(opens, offer)
    for mail in mails.values():
        assert seen(opens, mail) == offer
    ann, bob = mails["ann"], mails["bob"]
    merge = join(opens.shop.intake, ann.token.profile, bob.token.profile, opens.shop.now, by="support")
    return ann, bob, merge


@pytest.mark.feature("SU-14")
def test_an_undone_merge_leaves_each_what_was_theirs(opens: Opens, repairs: Repairs) -> None:
    offer = wanted(opens, cap_person=5)
    ann, bob, merge = person(opens, offer)
    before = [opens.used(mail) for mail in (ann, bob)]
    repairs.counts.follow()
    assert [opens.used(mail).offer(offer).count for mail in (ann, bob)] == [2, 2]
    undo(opens.shop.intake, ann.token.profile, merge, opens.shop.now, MANAGER)
    repairs.counts.follow()
    assert [opens.used(mail) for mail in (ann, bob)] == before
    assert opens.count("count_due") == 0


def test_a_rebuild_has_those_counted_who_were_merged_without_a_note(opens: Opens, repairs: Repairs) -> None:
    offer = wanted(opens, cap_person=5)
    ann, bob, _ = person(opens, offer)
    opens.rows("DELETE FROM count_due RETURNING id")  # As the version before 0071 leaves it.
    repairs.counts.follow()
    assert [opens.used(mail).offer(offer).count for mail in (ann, bob)] == [1, 1]
    rebuild(opens.shop.intake, opens.shop.now)
    repairs.counts.follow()
    assert [opens.used(mail).offer(offer).count for mail in (ann, bob)] == [2, 2]


def test_a_lost_store_comes_back_with_one_count(opens: Opens, repairs: Repairs) -> None:
    offer = wanted(opens, cap_person=5, group_name="gifts")
    ann, bob, _ = person(opens, offer)
    opens.get(bob.clicks[0])
    opens.record()
    repairs.counts.follow()
    names = [keys.used(mail.token.profile) for mail in (ann, bob)]
    before = opens.shop.store.mget(names)
    assert [len(opens.used(mail).answers_to(offer).taken) for mail in (ann, bob)] == [1, 1]
    for mail in (ann, bob):
        opens.shop.store.delete(keys.state(mail.token.profile), keys.used(mail.token.profile))
    repairs.restore_person(ann.token.profile)
    assert opens.shop.store.mget(names) == before
    opens.shop.store.delete(names[1])
    repairs.restore_person(ann.token.profile)
    assert opens.shop.store.mget(names) == before, "one of several that is lost"


def test_an_open_in_between_keeps_its_count(opens: Opens, repairs: Repairs, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = wanted(opens, cap_person=5)
    subscribe(opens, "ann", "bob")
    other = mailed(opens, offer)["bob"]
    ann, bob, _ = person(opens, offer)
    put = agree.put_used

    def interrupted(*given: Any) -> bool:
        if given[1] == bob.token.profile:
            opens.look(other)
        return put(*given)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(agree, "put_used", interrupted)
        repairs.counts.follow()
    assert opens.used(bob).offers[offer].count == 2
    assert opens.count("count_due") == 1
    opens.record()
    assert [opens.used(mail).offer(offer).count for mail in (ann, bob)] == [3, 3]
    assert opens.count("count_due") == 0


def test_nothing_comes_back_of_whoever_was_erased(opens: Opens, repairs: Repairs) -> None:
    ann, bob, _ = person(opens, wanted(opens, cap_person=5))
    noted = opens.rows("SELECT profile_id FROM count_due")
    assert len(noted) == 1
    erase_person(opens.shop.intake, opens.shop.blobs, ann.token.profile, opens.shop.now, MANAGER)
    assert opens.count("count_due") == 0
    with opens.shop.sessions.begin() as session:
        session.connection().exec_driver_sql(f"INSERT INTO count_due (profile_id) VALUES ({noted[0].profile_id})")
    repairs.counts.follow()
    repairs.restore_person(bob.token.profile)
    assert [opens.used(mail) for mail in (ann, bob)] == [Used(), Used()]
    assert not opens.shop.store.exists(*(keys.used(mail.token.profile) for mail in (ann, bob)))


def merged(opens: Opens, number: int) -> list[int]:
    """The roots of so many people of two profiles each who were shown nothing, and are noted, as an upgrade notes."""
    with opens.shop.sessions.begin() as session:
        driver = session.connection()
        for statement in (
            "INSERT INTO profile (id, root_id, created_at) SELECT n, n, now()"
            f" FROM (SELECT nextval('profile_id_seq') AS n FROM generate_series(1, {number})) AS new",
            "INSERT INTO profile (id, root_id, created_at)"
            " SELECT nextval('profile_id_seq'), id, now() FROM profile WHERE id = root_id",
            "INSERT INTO count_due (profile_id) SELECT root_id FROM profile WHERE id <> root_id",
        ):
            driver.exec_driver_sql(statement)
    return [row.id for row in opens.rows("SELECT id FROM profile WHERE id = root_id")]


def test_counting_many_keeps_few_waiting_and_asks_once_for_them(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = merged(opens, 2 * counts.FEW)
    found = []

    def recorded(_: Session, profiles: Collection[int]) -> dict[int, Used]:
        with opens.shop.sessions.begin() as meanwhile:
            free, _held = belonging.lock_free(meanwhile, roots)
        found.append((len(profiles), len(free)))
        return dict.fromkeys(profiles, Used())

    following = counts.Counts(opens.shop.sessions, opens.shop.store, recorded)
    monkeypatch.setattr(counts, "SECONDS", 0.0)
    following.follow()
    assert opens.count("count_due") == counts.FEW, "the recorder goes on when its time is over"
    following.follow()
    assert opens.count("count_due") == 0
    assert found == [(2 * counts.FEW, counts.FEW)] * 2


def test_an_open_that_shows_nothing_that_counts_asks_for_nothing(opens: Opens) -> None:
    roots = merged(opens, 2)
    asked: list[int] = []

    def recorded(_: Session, profiles: Collection[int]) -> dict[int, Used]:
        asked.extend(profiles)
        return dict.fromkeys(profiles, Used())

    counts.Counts(opens.shop.sessions, opens.shop.store, recorded).told(roots)
    assert asked == []


def test_who_cannot_be_counted_waits_behind_the_others(
    opens: Opens, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _, _ = person(opens, wanted(opens, cap_person=5))
    merged(opens, 1)
    monkeypatch.setattr(countoutbox, "AT_ONCE", 1)
    monkeypatch.setattr(counts, "SECONDS", 0.0)
    monkeypatch.setattr(agree, "put_used", lambda *_: False)
    repairs.counts.follow()
    repairs.counts.follow()
    (left,) = opens.rows("SELECT p.root_id FROM count_due d JOIN profile p ON p.id = d.profile_id")
    assert left.root_id == opens.rows(f"SELECT root_id FROM profile WHERE id = {ann.token.profile}")[0].root_id


def test_the_many_notes_of_one_person_keep_nobody_waiting(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = merged(opens, 3)
    with opens.shop.sessions.begin() as session:
        countoutbox.done(session, [first, *others])
        countoutbox.note(session, [first] * countoutbox.AT_ONCE)
        countoutbox.note(session, others)
    rounds: list[dict[int, int]] = []
    waiting = countoutbox.waiting

    def noted(session: Session) -> dict[int, int]:
        rounds.append(waiting(session))
        return rounds[-1]

    monkeypatch.setattr(countoutbox, "waiting", noted)

    def recorded(_: Session, profiles: Collection[int]) -> dict[int, Used]:
        return dict.fromkeys(profiles, Used())

    following = counts.Counts(opens.shop.sessions, opens.shop.store, recorded)
    with opens.shop.sessions.begin() as session:
        belonging.lock_roots(session, [first])
        following.follow()
        assert rounds == [{first: countoutbox.AT_ONCE}], "who is held is not waited for"
    following.follow()
    assert rounds[1:] == [{first: countoutbox.AT_ONCE}, dict.fromkeys(others, 1)]
    assert opens.count("count_due") == 0
