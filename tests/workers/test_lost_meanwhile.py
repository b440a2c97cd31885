"""What the hot store loses while somebody's state is brought back, or while opens are not on record yet."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from base import keys
from base.clock import pause
from base.errors import Unavailable
from campaigns.erasure import erase_person
from render import agree
from signals import belonging
from signals.due import MOST_FAILED, publish_due
from signals.rebuild import rebuild
from signals.state import decode
from tests.campaigns.shop import MANAGER
from tests.promises.reader import Mail
from tests.workers.opens import Opens
from tests.workers.test_emptied_store import by_signals, empty, shown
from workers.following import Following
from workers.recorder import TAKE_OVER_MS, Recorder
from workers.recording import write
from workers.repair import Repairs


@pytest.fixture
def repairs(opens: Opens) -> Repairs:
    shop = opens.shop
    return Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)


@pytest.fixture
def ann(opens: Opens) -> Mail:
    """A mail with an offer that may be shown once."""
    return opens.send("ann", discount={"cap_person": 1})["ann"]


def later(opens: Opens, *mails: Mail) -> None:
    """More opens, hours apart, and what recorders do in between."""
    for _ in range(3):
        opens.shop.clock.advance(timedelta(hours=3))
        opens.forget()
        for mail in mails:
            opens.look(mail)
        opens.record()
        opens.following.idle()


def is_there(opens: Opens, profile: int) -> bool:
    return opens.shop.store.get(keys.state(profile)) is not None


def is_erased(opens: Opens, profile: int) -> bool:
    data = opens.shop.store.get(keys.state(profile))
    return isinstance(data, bytes) and decode(data).erased


@pytest.mark.feature("CM-36")
def test_a_personal_cap_holds_where_all_is_lost_before_the_open_is_on_record(
    opens: Opens, ann: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens.look(ann)
    shop = opens.shop

    def slowly(*given: Any) -> Any:
        empty(opens)
        by_signals(opens, {"ann": ann})
        assert is_there(opens, ann.token.profile), "nothing on record says that anything was shown"
        return write(*given)

    with monkeypatch.context() as patched:
        patched.setattr("workers.recorder.write", slowly)
        opens.recorder.step(block_ms=1)
    later(opens, ann)
    assert shown(opens, ann).count(opens.discount) == 1
    assert is_there(opens, ann.token.profile)
    assert shop.store.get(keys.used(ann.token.profile)) is not None


@pytest.mark.feature("CM-36")
def test_a_personal_cap_holds_where_all_is_lost_again_while_it_comes_back(
    opens: Opens, ann: Mail, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens.look(ann)
    opens.record()
    empty(opens)
    shown_of = repairs._shown

    def slowly(*given: Any) -> Any:
        empty(opens)
        return shown_of(*given)

    monkeypatch.setattr(repairs, "_shown", slowly)
    repairs.restore_person(ann.token.profile)
    later(opens, ann)
    assert shown(opens, ann).count(opens.discount) == 1


@pytest.mark.feature("CM-36")
@pytest.mark.parametrize("by", ["a signal", "a rebuild"])
@pytest.mark.parametrize("junk", [b"junk", b"\x00"])
def test_a_personal_cap_holds_where_something_else_is_under_the_state_s_key(
    opens: Opens, ann: Mail, repairs: Repairs, junk: bytes, by: str
) -> None:
    opens.look(ann)
    opens.record()
    empty(opens)
    opens.shop.store.set(keys.state(ann.token.profile), junk)
    if by == "a signal":
        by_signals(opens, {"ann": ann})
        opens.following.idle()
    else:
        rebuild(opens.shop.intake, opens.shop.now, restore=repairs.restore_person)
    assert opens.used(ann).offer(opens.discount).count == 1
    later(opens, ann)
    assert shown(opens, ann).count(opens.discount) == 1


@pytest.mark.feature("CM-36")
def test_a_total_cap_comes_back_once_what_was_taken_of_it_is_on_record(opens: Opens) -> None:
    mails = opens.send("ann", "bob", "cat", "dan", discount={"cap_total": 2})
    store, cap = opens.shop.store, keys.cap(opens.discount)
    opens.look(mails["ann"])
    opens.look(mails["bob"])
    killed = Recorder(opens.parts, Following(opens.parts))
    killed.prepare()
    assert killed._next(1), "it holds them, and stores none"
    store.delete(cap)
    later(opens, mails["cat"])
    assert store.exists(cap) == 0, "nobody knows how much is left"
    pause(TAKE_OVER_MS / 1000 + 0.5)
    later(opens, *mails.values())
    assert agree.balance(store, opens.discount) == 0
    assert [shown(opens, mail).count(opens.discount) for mail in mails.values()] == [1, 1, 0, 0]


def test_some_who_cannot_be_brought_back_keep_nobody_else_waiting(opens: Opens, repairs: Repairs) -> None:
    mails = opens.send(*(f"p{number}" for number in range(MOST_FAILED + 3)))
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    empty(opens)
    by_signals(opens, mails)
    people = sorted(mail.token.profile for mail in mails.values())

    def restore(profile: int) -> None:
        if profile in people[:MOST_FAILED]:
            raise Unavailable("The node")
        repairs.restore_person(profile)

    for _ in range(40):
        publish_due(opens.shop.intake, restore)
    assert [is_there(opens, one) for one in people] == [False] * MOST_FAILED + [True] * 3


@pytest.mark.feature("SU-13")
def test_no_trace_is_left_of_whoever_is_erased_while_their_state_is_brought_back(
    opens: Opens, ann: Mail, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens.look(ann)
    opens.record()
    empty(opens)
    shop, profile, shown_of = opens.shop, ann.token.profile, repairs._shown
    erasing = threading.Thread(target=erase_person, args=(shop.intake, shop.blobs, profile, shop.now, MANAGER))

    def slowly(*given: Any) -> Any:
        erasing.start()
        erasing.join()
        return shown_of(*given)

    monkeypatch.setattr(repairs, "_shown", slowly)
    repairs.restore_person(profile)
    assert list(shop.store.scan_iter(match=f"{{{profile}}}:*")) == [keys.state(profile).encode()]
    assert is_erased(opens, profile)


def test_a_tombstone_that_is_lost_comes_back_with_the_next_open(opens: Opens, ann: Mail) -> None:
    shop, profile = opens.shop, ann.token.profile
    erase_person(shop.intake, shop.blobs, profile, shop.now, MANAGER)
    empty(opens)
    opens.forget()
    opens.look(ann)
    opens.record()
    assert is_erased(opens, profile)
    assert opens.count("decision") == 0


def test_somebody_who_is_held_keeps_no_record_waiting(opens: Opens, repairs: Repairs, ann: Mail) -> None:
    """As by an import, which holds its people for a whole piece of a file."""
    opens.look(ann)
    opens.shop.store.delete(keys.used(ann.token.profile))
    with opens.shop.sessions.begin() as session:
        belonging.lock_roots(session, [ann.token.profile])
        opens.record()
        assert opens.shop.store.get(keys.used(ann.token.profile)) is None
    repairs.counts.follow()
    assert opens.shop.store.get(keys.used(ann.token.profile)) is not None
