"""Folding: the same state whatever the order of arrival, and what orders, returns and marks do to it."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.features import value
from signals.fold import advance, fold, fold_all
from signals.foldevent import MAIL_KINDS, FoldEvent, Line
from signals.state import MAX_VIEWS, ProfileState, decode, encode, tombstone
from tests.signals.stories import CATEGORIES, MORNING, event, histories, identify, item, order, order_histories

SHOES, ATTIRE = CATEGORIES["shoes"], CATEGORIES["attire"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def take_in(events: list[FoldEvent], cuts: list[int]) -> ProfileState:
    """What intake does: advance by each batch, and fold all stored events again when that cannot be."""
    state, stored = ProfileState(), []
    for start, end in pairwise([0, *sorted(cuts), len(events)]):
        batch = [arrived for arrived in events[start:end] if arrived not in stored]
        stored += batch
        advanced = advance(state, batch)
        state = decode(encode(fold_all(stored) if advanced is None else advanced))
    return state


@settings(max_examples=300)
@given(histories(), st.randoms(use_true_random=False), st.data())
def test_it_gives_the_same_bytes_for_any_order_of_arrival_batches_and_repeats(
    events: list[FoldEvent], chance: random.Random, data: st.DataObject
) -> None:
    shuffled = [*events, *chance.sample(events, len(events) // 2)]
    chance.shuffle(shuffled)
    cuts = data.draw(st.lists(st.integers(0, len(shuffled)), max_size=10))
    assert encode(take_in(shuffled, cuts)) == encode(fold_all(events))


@settings(max_examples=150)
@given(order_histories(), st.randoms(use_true_random=False), st.integers(1, 9))
def test_it_agrees_over_many_orders_repeats_and_corrections(
    events: list[FoldEvent], chance: random.Random, size: int
) -> None:
    nearly = sorted(events, key=lambda arrived: arrived.time_ms + chance.choice((0, 0, 0, 200_000)))
    assert encode(take_in(nearly, list(range(0, len(nearly), size)))) == encode(fold_all(events))


@settings(max_examples=100)
@given(histories())
def test_it_folds_one_event_at_a_time_as_all_at_once(events: list[FoldEvent]) -> None:
    for turn in (1, -1):
        ordered = sorted(events[::turn], key=lambda arrived: arrived.time_ms)
        assert encode(take_in(ordered, list(range(len(ordered))))) == encode(fold_all(events))


@settings(max_examples=50)
@given(histories())
def test_it_takes_the_newest_arrival_as_version_but_not_mails(events: list[FoldEvent]) -> None:
    arrivals = [one.arrival for one in events if one.kind not in MAIL_KINDS]
    assert fold_all(events).version == max(arrivals, default=0)


@settings(max_examples=50)
@given(histories(most=10))
def test_it_leaves_the_given_state_alone(events: list[FoldEvent]) -> None:
    state = fold_all(events)
    before = encode(state)
    later = MORNING + timedelta(days=30)
    for name, properties in (
        ("Order Completed", {"order_id": "new", "products": [item("shoes")]}),
        ("Product Added", item("socks")),
        ("Product Viewed", item("socks")),
        ("Consent Changed", {"purpose": "email", "granted": False}),
        ("Complaint Opened", {}),
        ("Product Reviewed", {"category": "socks", "rating": 1}),
    ):
        advance(state, [event(name, properties, at=later, id=name)])
    assert encode(state) == before


def test_it_brings_the_need_back_after_a_return() -> None:
    bought = order("o1", item("shoes", price="59.99"), item("socks"))
    state = fold(ProfileState(), bought)
    assert value(state, "purchases.count", MORNING, category=SHOES) == 1
    returned = event("Order Refunded", {"order_id": "o1", "products": [item("shoes")]}, at=MORNING + HOUR, id="r")
    assert advance(state, [returned]) is None
    state = fold_all([returned, bought])
    assert value(state, "purchases.count", MORNING, category=SHOES) == 0
    assert value(state, "purchases.days_since", MORNING, category=SHOES) is None
    assert value(state, "purchases.count", MORNING, category=CATEGORIES["socks"]) == 1
    assert (state.orders, state.order_cents) == (1, 1000)


@pytest.mark.parametrize("correction", ["Order Refunded", "Order Cancelled"])
def test_it_forgets_an_order_that_is_wholly_taken_back(correction: str) -> None:
    undone = event(correction, {"order_id": "o1"}, at=MORNING + HOUR, id="r")
    state = fold_all([order("o1", item("shoes")), undone])
    assert (state.orders, state.order_cents, state.categories, state.recent) == (0, 0, {}, ())


def test_a_cancellation_is_void_where_the_shop_says_later_that_the_order_is_placed() -> None:
    bought, gone = order("o1", item("shoes")), event("Order Cancelled", {"order_id": "o1"}, at=MORNING + HOUR, id="c")
    told = {"order_id": "o1", "order_status": "placed", "products": [item("shoes")]}
    for hours, orders in ((0.5, 0), (1, 0), (1.001, 1), (2, 1)):
        stands = event("Order Updated", told, at=MORNING + hours * HOUR, id="u")
        assert fold_all([bought, gone, stands]).orders == orders
    plain = event("Order Updated", {"order_id": "o1", "products": [item("shoes")]}, at=MORNING + 2 * HOUR, id="u")
    assert fold_all([bought, gone, plain]).orders == 0


def test_it_waits_for_the_order_of_an_early_refund() -> None:
    refund = event("Order Refunded", {"order_id": "o1"}, id="r")
    state = fold(ProfileState(), identify({"a": 1}, at=MORNING - DAY))
    state = fold_all([refund])
    late = order("o1", item("shoes"), at=MORNING + DAY)
    assert advance(state, [late]) is None
    assert fold_all([refund, late]).categories == {}
    assert advance(state, [order("o2", item("shoes"), at=MORNING + DAY)]) is not None


def test_it_returns_some_pieces_and_some_money() -> None:
    bought = order("o1", item("shoes", price=50, quantity=3))
    pieces = event("Order Refunded", {"order_id": "o1", "products": [item("shoes", quantity=2)]}, id="r")
    state = fold_all([bought, pieces])
    assert (state.orders, state.order_cents, state.categories[SHOES].cents) == (1, 5000, 5000)
    money = event("Order Refunded", {"order_id": "o1", "total": -20}, id="r2")
    state = fold_all([bought, money])
    assert (state.orders, state.order_cents, state.categories[SHOES].n) == (1, 13000, 1)


def test_it_replaces_what_an_updated_order_holds() -> None:
    update = event("Order Updated", {"order_id": "o1", "products": [item("attire")]}, at=MORNING + HOUR, id="u")
    state = fold_all([order("o1", item("shoes")), update])
    assert (set(state.categories), state.orders) == ({ATTIRE}, 1)


@pytest.mark.parametrize(
    ("told", "goods", "cents"),
    [
        ({"total": 7.5}, {SHOES}, 750), ({"products": []}, set(), 0), ({"products": [], "total": 3}, set(), 300),
        ({"order_status": "shipped"}, {SHOES}, 1_000), ({"products": None}, {SHOES}, 1_000),
    ],
)  # fmt: skip
def test_an_update_changes_what_it_tells_of(told: dict[str, Any], goods: set[int], cents: int) -> None:
    update = event("Order Updated", {"order_id": "o1"} | told, at=MORNING + HOUR, id="u")
    state = fold_all([order("o1", item("shoes")), update])
    assert (state.orders, set(state.categories), state.order_cents) == (1, goods, cents)


@pytest.mark.parametrize("others", [0, 20])
def test_an_update_that_is_dated_before_its_order_leaves_the_order_its_contents(others: int) -> None:
    told = {"order_id": "o1", "coupon": "SPRING", "total": 35, "products": [item("shoes", quantity=2), item("socks")]}
    mailed = {"campaign": {"medium": "email"}}
    bought = event("Order Completed", told, at=MORNING + HOUR, id="o", context=mailed)
    bare = event("Order Updated", {"order_id": "o1", "order_status": "placed", "total": 1}, id="u")
    filled = event("Order Updated", {"order_id": "o1", "products": [item("attire", price=7)]}, id="f")
    between = [order(f"b{number}", item("socks"), at=MORNING + number * HOUR / 30) for number in range(1, others + 1)]
    alone = fold_all([*between, bought])
    for arrival in ([bare, bought], [bought, bare]):
        state = take_in([*between, *arrival], list(range(others, others + 2)))
        assert (state.orders, state.order_cents, state.coupon_orders, state.mail_orders) == (
            1 + others,
            3500 + 1000 * others,
            1,
            1,
        )
        assert (state.categories, state.recent, state.last_order_s) == (
            alone.categories,
            alone.recent,
            alone.last_order_s,
        )
        assert (state.order_keys, state.unmatched) == (alone.order_keys, alone.unmatched)
        state = take_in([*between, filled, *arrival], list(range(others, others + 3)))
        # The goods of the one update, at the total of the next.
        assert (state.orders, state.order_cents, state.mail_orders) == (1 + others, 100 + 1000 * others, 1)
        assert (SHOES in state.categories, ATTIRE in state.categories) == (False, True)
    waiting = take_in([*between, bare], [others])
    assert (waiting.orders, waiting.order_cents) == (1 + others, 100 + 1000 * others)
    other = order("o2", item("shoes"), at=MORNING + DAY)
    assert advance(waiting, [bought]) is None
    assert advance(waiting, [other]) == fold_all([*between, bare, other])


def test_it_counts_an_order_once_that_two_calls_report() -> None:
    twice = [order("o1", item("shoes"), id="web"), order("o1", item("shoes"), at=MORNING + HOUR, id="till")]
    assert fold_all(twice).orders == 1
    assert fold_all(twice) == advance(fold(ProfileState(), twice[0]), twice[1:])


def test_it_takes_an_order_id_for_a_new_order_after_sixteen_others() -> None:
    events = [order("o0", item("shoes")), event("Order Refunded", {"order_id": "o0"}, at=MORNING + HOUR, id="r")]
    events += [order(f"o{number}", item("socks"), at=MORNING + number * DAY) for number in range(1, 17)]
    again = order("o0", item("shoes"), at=MORNING + 20 * DAY, id="again")
    assert advance(fold_all(events), [again]) == fold_all([*events, again])
    assert fold_all([*events, again]).categories[SHOES].n == 1
    assert SHOES not in fold_all([*events[:-1], again]).categories


def test_it_takes_gifts_for_no_need_of_ones_own() -> None:
    bought = order("o1", item("baby-gates"), item("socks"))
    gift = event("Offer Feedback", {"feedback": "gift", "category": "baby-gates"}, at=MORNING + HOUR, id="g")
    state = fold_all([bought, gift])
    assert set(state.categories) == {CATEGORIES["socks"]}
    assert [line.category for line in state.recent] == [CATEGORIES["socks"]]
    assert (state.orders, state.order_cents) == (1, 2000)
    own = order("o2", item("baby-gates"), at=MORNING + DAY)
    assert CATEGORIES["baby-gates"] in fold_all([bought, gift, own]).categories
    flagged = event("Order Completed", {"order_id": "o3", "gift": True, "products": [item("shoes")]})
    assert fold(ProfileState(), flagged).categories == {}


def test_it_forgets_a_word_that_was_taken_back_by_who_said_it() -> None:
    bought = order("o1", item("baby-gates"))
    gift = event("Offer Feedback", {"feedback": "gift", "order_id": "o1", "category": "baby-gates"}, at=MORNING + HOUR)
    back = event("Offer Feedback Withdrawn", {"message_id": gift.message_id}, at=MORNING + 2 * HOUR, id="back")
    assert fold_all([bought, gift]).categories == {}
    state = fold_all([bought, gift, back])
    assert (set(state.categories), state.marks) == ({CATEGORIES["baby-gates"]}, ())
    early = msgspec.structs.replace(back, time_ms=gift.time_ms - 1)
    assert set(fold_all([early, gift, bought]).categories) == {CATEGORIES["baby-gates"]}
    others = msgspec.structs.replace(back, source=back.source + 1)
    assert fold_all([bought, gift, others]).categories == {}
    again = msgspec.structs.replace(gift, time_ms=back.time_ms + 1, message_id="again")
    assert fold_all([bought, gift, back, again]).categories == {}


def test_it_keeps_other_words_as_marks_only() -> None:
    word = event("Offer Feedback", {"feedback": "not for me", "category": "shoes"}, at=MORNING + HOUR, id="g")
    state = fold_all([order("o1", item("shoes")), word])
    assert SHOES in state.categories
    assert value(state, "feedback.category", MORNING, category=SHOES) == "not_for_me"


def test_it_empties_the_cart_with_the_order() -> None:
    steps = [
        event("Product Added", item("shoes", quantity=2), id="a"),
        event("Product Added", item("socks"), at=MORNING + HOUR, id="b"),
        event("Product Removed", item("shoes"), at=MORNING + 2 * HOUR, id="c"),
        event("Product Removed", item("socks"), at=MORNING + 3 * HOUR, id="d"),
    ]
    state = fold_all(steps)
    assert [(line.category, line.quantity) for line in state.cart] == [(SHOES, 1)]
    weighed = [
        event("Product Added", item("shoes", quantity=0.1), at=MORNING + 4 * HOUR, id="e"),
        event("Product Added", item("shoes", quantity=0.2), at=MORNING + 5 * HOUR, id="f"),
        event("Product Removed", item("shoes", quantity=1.05), at=MORNING + 6 * HOUR, id="g"),
        event("Product Removed", item("shoes", quantity=0.25), at=MORNING + 7 * HOUR, id="h"),
    ]
    told = []
    for one in weighed:
        advanced = advance(state, [one])
        assert advanced is not None
        state = advanced
        told.append([(line.quantity, line.millionths) for line in state.cart])
    assert told == [[(2, 1_100_000)], [(2, 1_300_000)], [(1, 250_000)], []]
    assert fold(state, order("o1", item("shoes"), at=MORNING + DAY)).cart == ()


def test_it_knows_the_oldest_complaint_until_it_is_closed() -> None:
    opened = [
        event("Complaint Opened", {"complaint_id": "a"}, id="a"),
        event("Complaint Opened", {"complaint_id": "b"}, at=MORNING + DAY, id="b"),
    ]
    assert value(fold_all(opened), "complaint.days_open", MORNING + 2 * DAY) == 2
    closed = [event("Complaint Closed", {"complaint_id": "a"}, at=MORNING + 2 * DAY, id="c")]
    assert value(fold_all(opened + closed), "complaint.days_open", MORNING + 2 * DAY) == 1
    closed.append(event("Complaint Closed", {}, at=MORNING + 3 * DAY, id="d"))
    assert value(fold_all(opened + closed), "complaint.open", MORNING + 3 * DAY) is False


def test_it_lets_the_newest_trait_win_and_none_take_it_away() -> None:
    told = [identify({"city": "Rome", "age": 40}), identify({"city": "Oslo", "age": None}, at=MORNING + DAY, id="i2")]
    assert fold_all(reversed(told)).traits == {"city": "Oslo"}


def test_it_leaves_a_tombstone_as_it_is() -> None:
    grave = tombstone(7)
    assert fold(grave, order("o1", item("shoes"))) == grave


def test_it_refuses_to_fold_an_older_event_on() -> None:
    state = fold(ProfileState(), order("o1", item("shoes")))
    with pytest.raises(ValueError, match="fold all"):
        fold(state, order("o2", item("shoes"), at=MORNING - DAY))


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("Some Page", {}),
        ("Call Note Added", {}),
        ("Email Opened", {"class": "person"}),
        ("Email Link Clicked", {"class": "person"}),
        ("Product Viewed", item("shoes")),
        ("Product List Viewed", {"category": "attire"}),
    ],
)
def test_it_folds_on_what_only_counts_however_late_it_comes(name: str, properties: dict[str, Any]) -> None:
    known = [
        event(name, properties, at=MORNING, id="m1", arrival=1),
        event("Product Added", item("shoes"), at=MORNING + DAY, id="m2", arrival=2),
        order("o1", item("socks"), at=MORNING + 2 * DAY, arrival=3),
    ]
    late = [event(name, properties, at=MORNING + hours * HOUR, id=f"l{hours}", arrival=9) for hours in (-30, 30, 90)]
    advanced = advance(fold_all(known), late)
    assert advanced is not None
    assert encode(advanced) == encode(fold_all([*known, *late]))
    assert advanced.cart == ()


@settings(max_examples=100)
@given(st.integers(1, 2 * MAX_VIEWS), st.randoms(use_true_random=False), st.integers(1, 5))
def test_it_agrees_over_more_categories_than_are_remembered(most: int, chance: random.Random, size: int) -> None:
    told = []
    for number in range(80):
        category = chance.randint(1, most)
        lines = (Line(f"p{category}", category),)
        look = event("Product Viewed", at=MORNING + chance.randint(0, 40) * HOUR, id=f"m{number}", arrival=number + 1)
        told.append(msgspec.structs.replace(look, lines=lines))
    assert encode(take_in(told, list(range(0, len(told), size)))) == encode(fold_all(told))


def test_it_keeps_every_list_within_its_bound() -> None:
    events = []
    for number in range(60):
        calls = (
            event("Product Added", item("shoes", f"p{number}")),
            event("Offer Feedback", {"feedback": "not for me", "product_id": f"p{number}"}),
            event("Survey Answered", {"survey_id": f"s{number}", "score": 9}),
            event("Complaint Opened", {"complaint_id": f"c{number}"}),
            event("Consent Changed", {"purpose": f"purpose{number}", "granted": True}),
            identify({f"trait{number}": number}),
        )
        for place, call in enumerate(calls):
            moment = call.time_ms + 1000 * number + place
            events.append(msgspec.structs.replace(call, time_ms=moment, message_id=f"{number}-{place}"))
    state = fold_all([*events, identify({"locale": "fi"}, at=MORNING + DAY)])
    sizes = {
        name: len(getattr(state, name)) for name in ("traits", "cart", "marks", "surveys", "complaints", "consent")
    }
    assert sizes == {"traits": 40, "cart": 16, "marks": 16, "surveys": 8, "complaints": 4, "consent": 8}
    assert state.traits["locale"] == "fi"
    assert min(state.complaints) == "c56"
    everything = [Line(f"p{number}", number, 1, 100) for number in range(1, 400)]
    state = fold_all([FoldEvent(time_ms=0, message_id="all", kind="order", lines=tuple(everything))])
    assert (len(state.categories), len(state.recent)) == (160, 12)
    views = [FoldEvent(time_ms=at, message_id=str(at), kind="view", lines=(Line("p", at + 1),)) for at in range(99)]
    assert len(fold_all(views).views) == 24
