"""A hot store that has lost what it held: nobody's state comes back before what was shown to them and used up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from redis import RedisError
from sqlalchemy import text

from base import keys
from signals import outbox, scores
from signals.consent import set_consent
from signals.due import publish_due
from signals.rebuild import rebuild, restore_states
from signals.state import decode
from tests.promises.reader import Mail
from tests.workers.opens import Opens
from workers.repair import Repairs
from workers.restarts import Restarts


@pytest.fixture
def mails(opens: Opens) -> dict[str, Mail]:
    """Two mails with an offer that each may be shown once: ann had hers, bob opened nothing. Then all is lost."""
    mails = opens.send("ann", "bob", discount={"cap_person": 1})
    opens.look(mails["ann"])
    opens.record()
    assert shown(opens, mails["ann"]) == [opens.discount]
    restarts = Restarts(opens.shop.sessions, opens.shop.store, opens.shop.intake)
    restarts.look()
    empty(opens)
    return mails


def empty(opens: Opens) -> None:
    """Take away all that is kept of people."""
    opens.shop.store.delete(*opens.shop.store.scan_iter(match="{*}:*"))
    opens.shop.clock.advance(timedelta(hours=3))


def shown(opens: Opens, mail: Mail) -> list[int]:
    """What the person was shown in the first place, open by open."""
    query = "SELECT slots FROM decision WHERE profile_id = :who ORDER BY at"
    return [row.slots["0"] for row in opens.rows(query, who=mail.token.profile)]


def by_signals(opens: Opens, mails: Mapping[str, Mail]) -> None:
    opens.shop.send(*(opens.shop.order(name, "Hats", opens.shop.now) for name in mails))


def by_a_rebuild(opens: Opens, mails: Mapping[str, Mail]) -> None:
    assert rebuild(opens.shop.intake, opens.shop.now).absent == len(mails)


def by_scores(opens: Opens, mails: Mapping[str, Mail]) -> None:
    told = {mail.token.profile: {"churn": 0.5} for mail in mails.values()}
    scores.assign(opens.shop.intake, told, opens.shop.now, 1, opens.shop.now)


def by_what_was_noted(opens: Opens, mails: Mapping[str, Mail]) -> None:
    with opens.shop.sessions.begin() as session:
        outbox.note(session, [mail.token.profile for mail in mails.values()])
    publish_due(opens.shop.intake, lambda profile: None)


def by_a_restart(opens: Opens, mails: Mapping[str, Mail]) -> None:
    by_signals(opens, mails)
    empty(opens)
    with opens.shop.sessions.begin() as session:
        session.execute(text("UPDATE loop_cursor SET name = 'hot store another run' WHERE name LIKE 'hot store %'"))
    Restarts(opens.shop.sessions, opens.shop.store, opens.shop.intake).look()


WAYS = [by_signals, by_a_rebuild, by_scores, by_what_was_noted, by_a_restart]


@pytest.mark.feature("CM-36")
@pytest.mark.parametrize("back", WAYS)
def test_a_personal_cap_holds_however_states_come_back(
    opens: Opens, mails: dict[str, Mail], back: Callable[[Opens, Mapping[str, Mail]], None]
) -> None:
    back(opens, mails)
    ann, bob = mails.values()
    store = opens.shop.store
    assert store.get(keys.state(ann.token.profile)) is None, "an open would go by it as if nothing was shown"
    assert store.get(keys.state(bob.token.profile)) is not None, "of whom nothing else is missing"
    for _ in range(3):
        opens.forget()
        opens.look(ann)
        opens.look(bob)
        opens.record()
        opens.shop.clock.advance(timedelta(hours=3))
    assert store.get(keys.state(ann.token.profile)) is not None
    assert opens.used(ann).offer(opens.discount).count == 1
    assert [shown(opens, mail).count(opens.discount) for mail in (ann, bob)] == [1, 1]


def test_a_rebuild_brings_back_with_the_state_what_was_shown(opens: Opens, mails: dict[str, Mail]) -> None:
    shop, ann = opens.shop, mails["ann"]
    repairs = Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)
    assert rebuild(shop.intake, shop.now, restore=repairs.restore_person).absent == 2
    assert shop.store.get(keys.state(ann.token.profile)) is not None
    assert opens.used(ann).offer(opens.discount).count == 1
    opens.forget()
    opens.look(ann)
    opens.record()
    assert shown(opens, ann) == [opens.discount, opens.default]


def test_whoever_is_new_is_there_at_once_and_others_once_they_are_known_to_be_whole(opens: Opens) -> None:
    shop = opens.shop
    ann, bob = shop.people("ann", "bob")
    assert all(shop.store.get(keys.state(one)) for one in (ann, bob))
    shop.store.delete(keys.state(ann))
    assert restore_states(shop.intake, [ann, bob]) == 2


@pytest.mark.parametrize("back", [way for way in WAYS if way is not by_what_was_noted])
def test_a_recorder_brings_it_back_before_anybody_opens(
    opens: Opens, mails: dict[str, Mail], back: Callable[[Opens, Mapping[str, Mail]], None]
) -> None:
    back(opens, mails)
    store, ann = opens.shop.store, mails["ann"]
    opens.following.idle()
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.following.idle()
    assert store.get(keys.state(ann.token.profile)) is not None
    assert opens.used(ann).offer(opens.discount).count == 1
    assert opens.rows("SELECT 1 FROM state_due WHERE profile_id = :who", who=ann.token.profile) == []


def test_what_is_committed_while_a_state_is_brought_back_is_in_it(
    opens: Opens, mails: dict[str, Mail], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, ann = opens.shop, mails["ann"].token.profile
    repairs = Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)
    shown_of = repairs._shown

    def slowly(*given: Any) -> Any:
        set_consent(shop.intake, ann, "email", False, at=shop.now, now=shop.now, via="support", message_id="no")
        return shown_of(*given)

    monkeypatch.setattr(repairs, "_shown", slowly)
    repairs.restore_person(ann)
    data = shop.store.get(keys.state(ann))
    assert isinstance(data, bytes)
    assert decode(data).consent["email"] is False


def test_a_recorder_tries_again_where_a_store_is_away_and_goes_on_with_the_others(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    empty(opens)
    by_signals(opens, mails)
    shop, (ann, bob) = opens.shop, (mail.token.profile for mail in mails.values())
    repairs = Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)

    def restore(profile: int) -> None:
        if profile == ann:
            raise RedisError
        repairs.restore_person(profile)

    publish_due(shop.intake, restore)
    assert [shop.store.get(keys.state(one)) is not None for one in (ann, bob)] == [False, True]
    publish_due(shop.intake, repairs.restore_person)
    assert shop.store.get(keys.state(ann)) is not None
