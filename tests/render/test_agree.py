"""Processes that meet at one open agree; total caps hold under parallel opens."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from base import keys
from base.clock import SteppedClock, pause
from base.errors import Unavailable
from base.ids import Delivery
from base.settings import Settings
from base.stores import Store
from render.agree import (
    STALE_RESERVATION_MS,
    Agreement,
    Change,
    Names,
    Personal,
    balance,
    change_cap,
    open_cap,
    put_used,
    release,
    reservation,
    settle,
    stale_reservations,
)
from render.hotcluster import hot_store
from render.wire import Hot
from signals.state import encode, tombstone
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import DEFAULT, DISCOUNT, NOON, SHOES, THANKS, TIGHTS, bought, plan, state
from tests.serving import Serve, Served
from tests.streams import entries


@pytest.fixture
def hot(valkey: Store, valkey_url: str) -> Iterator[Hot]:
    made = hot_store(valkey_url)
    yield made
    made.close()


@pytest.fixture
def agreement(hot: Hot) -> Agreement:
    return Agreement(hot)


NAMES = Names.of(Delivery(5, 7, 1))
EMPTY = Personal(None, None, None)


def test_it_lets_the_first_writer_win_and_hands_its_words_to_the_second(agreement: Agreement, valkey: Store) -> None:
    assert agreement.write(NAMES, EMPTY, Change(b"first", used=b"one", entry=b"record")) is None
    assert agreement.write(NAMES, EMPTY, Change(b"second", used=b"two", entry=b"other")) == (None, b"first", b"one")
    assert len(entries(valkey)) == 1
    assert 0 < valkey.ttl(NAMES.shown) <= 60 * 86_400
    assert valkey.ttl(NAMES.used) == -1


def test_it_refuses_to_write_on_a_state_that_has_changed(agreement: Agreement, valkey: Store) -> None:
    valkey.set(NAMES.state, b"before")
    read = Personal(b"before", None, None)
    valkey.set(NAMES.state, b"after")
    assert agreement.write(NAMES, read, Change(b"new", guard="same")) == (b"after", None, None)
    assert agreement.write(NAMES, read, Change(b"mark")) is None


def test_it_never_writes_about_a_person_who_was_erased_meanwhile(agreement: Agreement, valkey: Store) -> None:
    read = Personal(encode(state()), None, None)
    valkey.set(NAMES.state, encode(tombstone()))
    for change in (Change(b"new", guard="same"), Change(b"new", guard="alive"), Change(b"mark")):
        assert agreement.write(NAMES, read, change) == (encode(tombstone()), None, None)
    valkey.set(NAMES.state, encode(state([bought(SHOES, NOON)])))
    assert agreement.write(NAMES, read, Change(b"new", guard="alive")) is None


def test_it_leaves_the_counts_of_another_mail_alone(agreement: Agreement, valkey: Store) -> None:
    valkey.set(NAMES.used, b"theirs")
    assert agreement.write(NAMES, EMPTY, Change(b"new", used=b"mine")) == (None, None, b"theirs")
    assert agreement.write(NAMES, EMPTY, Change(b"new")) is None
    assert valkey.get(NAMES.used) == b"theirs"


def test_it_runs_scripts_on_a_server_that_forgot_them(agreement: Agreement, valkey: Store) -> None:
    valkey.script_flush()
    assert agreement.write(NAMES, EMPTY, Change(b"new")) is None
    valkey.script_flush()
    open_cap(valkey, 1, 1)
    assert agreement.reserve([1], "a", 1000).taken == (1,)


def test_it_takes_a_cap_once_for_one_open_and_never_below_zero(agreement: Agreement, valkey: Store) -> None:
    open_cap(valkey, 1, 2)
    assert open_cap(valkey, 1, 99) is False
    for _ in range(3):
        assert agreement.reserve([1], "a", 1000) == ((1,), (), ())
    assert agreement.reserve([1], "b", 1000).taken == (1,)
    assert agreement.reserve([1, 2], "c", 1000) == ((), (1, 2), (2,))
    agreement.release([1], "a")
    agreement.release([1], "a")
    assert balance(valkey, 1) == 1
    assert balance(valkey, 2) is None
    assert change_cap(valkey, 2, 5, 2) is None
    assert balance(valkey, 2) is None


def test_it_changes_a_caps_total_once_however_often_it_is_told(agreement: Agreement, valkey: Store) -> None:
    open_cap(valkey, 1, 10, taken=3)
    assert agreement.reserve([1], "5.7.1.1", 1000).taken == (1,)
    for _ in range(2):
        assert change_cap(valkey, 1, 15, 10) == 11
    assert change_cap(valkey, 1, 8, 15) == 4
    valkey.hdel(keys.cap(1), "total")
    for _ in range(2):
        assert change_cap(valkey, 1, 10, 8) == 6, "a cap that does not know its total is told"
    assert list(stale_reservations(valkey, 1, 1001 + STALE_RESERVATION_MS)) == ["5.7.1.1"]


def test_it_names_reservations_whose_open_was_lost(agreement: Agreement, valkey: Store) -> None:
    open_cap(valkey, 1, 9)
    for number, name in enumerate(("old", "settled", "young")):
        agreement.reserve([1], name, 1000 + number // 2 * STALE_RESERVATION_MS)
    settle(valkey, 1, "settled")
    assert list(stale_reservations(valkey, 1, 1001 + STALE_RESERVATION_MS)) == ["old"]
    assert release(valkey, 1, "old")
    assert not release(valkey, 1, "old")
    assert balance(valkey, 1) == 7


JUNK_CAPS: dict[str, Callable[[Store], object]] = {
    "word": lambda store: store.hset(keys.cap(1), "left", "abc"),
    "empty": lambda store: store.hset(keys.cap(1), "left", ""),
    "fraction": lambda store: store.hset(keys.cap(1), "left", "1.5"),
    "zeros": lambda store: store.hset(keys.cap(1), "left", "007"),
    "space": lambda store: store.hset(keys.cap(1), "left", " 7"),
    "too large": lambda store: store.hset(keys.cap(1), "left", "9" * 19),
    "no number": lambda store: store.hset(keys.cap(1), "left", "nan"),
    "another kind": lambda store: (store.delete(keys.cap(1)), store.rpush(keys.cap(1), "x")),
}


@pytest.mark.parametrize("junk", JUNK_CAPS)
def test_it_takes_what_is_no_cap_for_a_lost_one_until_one_takes_its_place(
    agreement: Agreement, valkey: Store, junk: str
) -> None:
    open_cap(valkey, 1, 10)
    agreement.reserve([1], "5.7.1.1", 1000)
    JUNK_CAPS[junk](valkey)
    assert balance(valkey, 1) is None
    assert agreement.reserve([1], "5.7.1.2", 1000) == ((), (1,), (1,))
    agreement.release([1], "5.7.1.1")
    assert not release(valkey, 1, "5.7.1.1")
    assert change_cap(valkey, 1, 20, 10) is None
    assert open_cap(valkey, 1, 10, taken=4)
    assert not open_cap(valkey, 1, 10, taken=5)
    assert (balance(valkey, 1), change_cap(valkey, 1, 12, 10)) == (6, 8)
    assert agreement.reserve([1], "5.7.1.2", 1000).taken == (1,)


def test_it_passes_over_what_is_no_reservation(agreement: Agreement, valkey: Store) -> None:
    open_cap(valkey, 1, 9)
    agreement.reserve([1], "old", 1000)
    valkey.hset(keys.cap(1), mapping={b"somebody": b"abc", b"\xff": b"5", b"nobody": b"", b"total": b"many"})
    assert list(stale_reservations(valkey, 1, 1001 + STALE_RESERVATION_MS)) == ["old"]
    assert change_cap(valkey, 1, 12, 9) == 11


def test_it_writes_over_keys_of_another_kind(agreement: Agreement, valkey: Store) -> None:
    for name in NAMES:
        valkey.rpush(name, "x")
    assert agreement.write(NAMES, EMPTY, Change(b"new", used=b"mine", guard="same")) is None
    assert valkey.mget(NAMES.shown, NAMES.used) == [b"new", b"mine"]
    valkey.delete(NAMES.used)
    valkey.rpush(NAMES.used, "x")
    assert not put_used(valkey, 5, b"mine", b"theirs")
    assert put_used(valkey, 5, b"", b"theirs")
    assert valkey.get(NAMES.used) == b"theirs"


def test_it_says_unavailable_for_a_store_that_takes_no_writes(agreement: Agreement, valkey: Store) -> None:
    open_cap(valkey, 1, 9)
    valkey.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(Unavailable):
            agreement.reserve([1], "a", 1000)
    finally:
        valkey.config_set("min-replicas-to-write", 0)


def test_it_names_reservations_by_delivery_and_open() -> None:
    assert reservation("7.1", 5, 2, 180_500) == "5.7.1.2.3"


@pytest.fixture
def render(mail: Mail, render_settings: Settings, serve: Serve, tmp_path: Path) -> Served:
    """Two processes of four threads, as in production, at noon."""
    clock = tmp_path / "clock"
    SteppedClock(clock, NOON).close()
    # As many clients at once as here are a burst to a busy machine; what is left out in one has tests of its own.
    served = serve("render", replace(render_settings, render_workers=2, clock_file=clock, deadline_ms=60_000))
    # What is published from now on is in effect within the second that processes may hold what they read.
    mail.published = lambda: pause(0.3)
    return served


def at_once(paths: Sequence[str], beside: Callable[[], None] | None = None) -> list[tuple[int, bytes]]:
    """GET all paths at the same time, each on a connection of its own."""
    start = threading.Barrier(len(paths) + (beside is not None))

    def get(path: str) -> tuple[int, bytes]:
        start.wait()
        with urllib.request.urlopen(urllib.request.Request(path, headers=browser()), timeout=30) as answer:
            return answer.status, answer.read()

    with ThreadPoolExecutor(len(paths) + 1) as pool:
        if beside is not None:
            pool.submit(lambda: (start.wait(), beside()))
        return list(pool.map(get, paths))


@pytest.mark.feature("EC-10")
def test_it_makes_one_decision_for_five_blocks_fetched_while_signals_change(mail: Mail, render: Served) -> None:
    mail.publish(plan(slots=5))

    def signals() -> None:
        for number in range(40):
            mail.know(state([bought(SHOES, NOON)] if number % 2 else []), profile=mail.delivery.profile)

    for profile in range(100, 112):
        mail.delivery = Delivery(profile, 7, 1)
        mail.know(state())
        answers = at_once([render.url + mail.url(slot) for slot in range(5)], signals)
        assert [status for status, _ in answers] == [200] * 5
        fetches = [made for made in mail.fetches() if made.profile == profile]
        decisions = [made for made in mail.decisions() if made.profile == profile]
        assert len(fetches) == 5
        assert {made.decision for made in fetches} == {made.id for made in decisions}
        assert len(decisions) == 1
        assert sorted(mail.lane().served) == [(slot, "picture") for slot in range(5)]
        assert all(sights[-1].decision == decisions[0].id for sights in mail.lane().shown.values())


def test_it_never_shows_more_than_a_total_cap_under_parallel_opens(mail: Mail, render: Served) -> None:
    """However busy the machine is, which may leave a cap over for the mails that are opened afterwards."""
    caps = {DISCOUNT: 5, TIGHTS: 3}
    mail.publish(plan(discount={"cap_total": 5}, tights={"cap_total": 3}))

    def pictures(profile: int) -> list[str]:
        mail.delivery = Delivery(profile, 7, 1)
        mail.know(state())
        return [render.url + mail.url(), render.url + mail.url(dark=True)]

    def shown() -> list[int]:
        return [made.slots[0].offer for made in mail.decisions()]

    paths = [path for profile in range(200, 224) for path in pictures(profile)]
    assert {status for status, _ in at_once(paths)} == {200}
    assert len(shown()) == 24
    for offer, total in caps.items():
        assert shown().count(offer) == total - (balance(mail.store, offer) or 0) <= total

    people = 24
    while {offer: shown().count(offer) for offer in caps} != caps and people < 64:
        assert {status for status, _ in at_once(pictures(200 + people))} == {200}
        people += 1
    assert {offer: shown().count(offer) for offer in caps} == caps
    assert shown().count(DEFAULT) == people - 5 - 3
    assert {made.fetch_class for made in mail.fetches()} == {"person"}


def test_it_gives_back_what_it_reserved_for_an_open_that_another_began(mail: Mail, render: Served) -> None:
    """Whichever process wins, what is reserved in the end is what is shown."""
    mail.publish(plan(slots=2, discount={"cap_total": 100}, thanks={"cap_total": 100}))

    def signals() -> None:
        mail.know(state([bought(SHOES, NOON)]), profile=mail.delivery.profile)

    for profile in range(300, 320):
        mail.delivery = Delivery(profile, 7, 1)
        mail.know(state())
        at_once([render.url + mail.url(slot) for slot in (0, 1)], signals)
    shown = [slot.offer for made in mail.decisions() for slot in made.slots]
    for offer in (DISCOUNT, THANKS):
        assert 100 - (balance(mail.store, offer) or 0) == shown.count(offer)
