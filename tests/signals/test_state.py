"""The state's byte form, its document, and its size."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.fold import fold_all
from signals.foldevent import FoldEvent, Line
from signals.gaps import days_back, gaps_of, longer
from signals.household import Household
from signals.moments import DAY_S
from signals.state import (
    NONE,
    CartLine,
    CategoryStats,
    ProfileState,
    Views,
    decode,
    document,
    encode,
    interval,
    queried,
)
from tests.signals.stories import histories

DAY_MS = 86_400_000
UNASKED = {
    "format", "version", "last_ms", "erased", "recent", "order_keys", "unmatched", "complaints", "coupon_orders",
    "since_s", "last_order_s", "last_note_s", "last_click_s", "last_open_s", "cart_day", "checkout_day",
    "scores.as_of_s",
    "cart.product", "cart.quantity", "cart.cents", "marks.day",
}  # fmt: skip
"""What no query asks of a state, by place in its document."""
YEAR_BEGAN_MS = 1_735_689_600_000


@settings(max_examples=100)
@given(histories())
def test_it_comes_back_from_its_bytes_and_gives_queries_all_but_what_none_asks_for(events: list[FoldEvent]) -> None:
    state = fold_all(events, segments=(3, 9))
    state.intents, state.intent_top = {"puppy": 0.93, "baby": 0.04}, "puppy"
    state.household = Household(2, (0, 2019), grown=1, oldest=1978, role="partner")
    assert encode(decode(encode(state))) == encode(state)
    short = queried(state)
    in_words = {"categories": short.pop("bought", {}), "views": short.pop("seen", {})}
    whole = document(state)
    assert in_words == {name: {key: words(told) for key, told in whole.pop(name).items()} for name in in_words}
    assert lacking(whole, short) <= UNASKED


@pytest.mark.parametrize(
    "damaged",
    [
        encode(ProfileState(traits={"city": "Bonn"})).replace(b"Bonn", b"Bo\xffn"),
        encode(ProfileState())[:-1],
        b"\xdc\x00\xff" + encode(ProfileState())[3:] + b"\x91" * 100_000,
        bytes.fromhex("cf63fc3591a0b1c2d3e4f5"),
        b"",
    ],
    ids=["text", "cut", "deep", "number", "nothing"],
)
def test_bytes_that_are_no_state_are_told_in_one_way(damaged: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(damaged)


def words(told: dict[str, Any]) -> str:
    """What SQL reads of a category that was bought or looked at."""
    if "days" not in told:
        return f"{told['n']} {told['last_day']}"
    between = NONE if told["interval_days"] is None else told["interval_days"]
    return " ".join(map(str, (told["n"], told["cents"], between, *reversed(told["days"]))))


def lacking(whole: dict[str, Any], part: dict[str, Any]) -> set[str]:
    """What is in the whole and not in the part, by place; what is empty or none, and a count of zero, is nothing."""
    missing = set()
    for name, value in whole.items():
        if name not in part:
            if value not in (None, "", [], {}) and (value != 0 or name.endswith(("_s", "_day"))):
                missing.add(name)
        elif name == "scores":
            missing |= {f"{name}.{field}" for key in value for field in lacking(value[key], part[name][key])}
        elif name in ("cart", "marks"):
            pairs = zip(value, part[name], strict=True)
            missing |= {f"{name}.{field}" for one, other in pairs for field in lacking(one, other)}
        else:
            assert part[name] == value, name
    assert part.keys() <= whole.keys()
    return missing


def test_a_cart_that_was_stored_without_parts_of_units_is_read() -> None:
    plain = msgspec.msgpack.decode(encode(ProfileState(cart=(CartLine("p1", 3, 2, 1000),))))
    assert plain[15] == [["p1", 3, 2, 1000, 0]]
    plain[15][0].pop()
    assert decode(msgspec.msgpack.encode(plain)).cart == (CartLine("p1", 3, 2, 1000),)


def test_it_has_the_same_bytes_whatever_order_its_maps_were_filled_in() -> None:
    forth, back = ProfileState(traits={"a": 1, "b": 2}), ProfileState(traits={"b": 2, "a": 1})
    assert encode(forth) == encode(back)
    assert list(back.traits) == ["b", "a"]


def test_it_says_in_its_document_what_sql_would_have_to_unpack() -> None:
    days = (0, 0, 7, 14, 300)
    events = [
        FoldEvent(
            time_ms=YEAR_BEGAN_MS + day * DAY_MS + place,
            message_id=f"m{place}",
            kind="order",
            lines=(Line("p", 5, 2, 99),),
        )
        for place, day in enumerate(days)
    ]
    category = document(fold_all(events))["categories"]["5"]
    first = 1827
    assert category == {
        "n": 5,
        "cents": 990,
        "last_s": (first + 300) * 86_400,
        "last_day": first + 300,
        "days": [first + 300, first + 14, first + 7, first, first],
        "interval_days": 7.0,
        "coupons": 0,
    }


@given(st.lists(st.integers(-3000, 6000), min_size=1, max_size=12))
def test_it_keeps_days_in_gaps_of_a_byte(days: list[int]) -> None:
    days.sort(reverse=True)
    assert days_back(days[0], gaps_of(days)) == days


@given(st.lists(st.integers(0, 700), max_size=30))
def test_it_keeps_the_newest_gaps(steps: list[int]) -> None:
    gaps, moment = longer(b"", None, 0, 9), 0
    days = [0]
    for step in steps:
        gaps, moment = longer(gaps, moment, moment + step * 86_400, 9), moment + step * 86_400
        days.insert(0, days[0] + step)
    kept = days_back(days[0], gaps)
    assert kept == days[: len(kept)]
    assert len(kept) == min(len(days), 10) or 255 not in gaps


@pytest.mark.parametrize(
    ("days", "expected"),
    [([5], None), ([9, 5, 5], None), ([9, 5, 5, 4], 2.5), ([900, 300, 100], 400.0), ([30, 20, 13, 3], 10.0)],
)
def test_it_takes_the_median_gap_of_three_or_more_days(days: list[int], expected: float | None) -> None:
    assert interval(gaps_of(days)) == expected


def household(seed: int, categories: int, lines: int) -> ProfileState:
    """A year of weekly baskets over so many categories, with the traits and words of a talkative customer."""
    chance = random.Random(seed)
    events = [
        FoldEvent(
            time_ms=YEAR_BEGAN_MS + (7 * week + chance.randrange(3)) * DAY_MS + chance.randrange(DAY_MS),
            message_id=f"week-{week}",
            kind="order",
            arrival=10_000_000 + week,
            order_id=f"order-{seed}-{week}",
            lines=tuple(
                Line(str(chance.randrange(800_000, 10**7)), category, chance.randint(1, 4), chance.randint(50, 2000))
                for category in chance.sample(range(1, categories + 1), lines)
            ),
        )
        for week in range(52)
    ]
    traits = {"first_name": "Maria", "locale": "en-US", "timezone": "America/New_York", "currency": "USD"}
    demographics = {"age": "45-54", "household_size": "4", "household_kids": "2", "income": "50-74K"}
    words = {"email": True, "tracking": True, "profiling": True}
    events += [
        FoldEvent(time_ms=YEAR_BEGAN_MS, message_id="who", kind="traits", traits={**traits, **demographics}),
        FoldEvent(time_ms=YEAR_BEGAN_MS, message_id="may", kind="consent", consent=words),
    ]
    state = fold_all(events)
    state.household = Household(
        2, (2012, 2014, 2019), grown=1, oldest=1978, size=5, whole=True, role="partner", sure=80
    )
    return state


@pytest.mark.parametrize("lines", [15, 20, 30])
def test_it_fits_in_four_kilobytes_for_150_categories_bought_weekly(lines: int) -> None:
    sizes = sorted(len(encode(household(seed, 150, lines))) for seed in range(100))
    assert sizes[98] <= 4096


def test_it_fits_in_four_kilobytes_when_more_categories_are_bought_than_are_kept() -> None:
    assert max(len(encode(household(seed, 221, 40))) for seed in range(10)) <= 4096


def test_what_sql_reads_of_categories_is_a_few_words_in_the_order_in_which_postgresql_keeps_them() -> None:
    days = CategoryStats(3, 900, 40 * DAY_S, bytes((5, 9)))
    told = queried(ProfileState(categories={12: days, 3: CategoryStats(1, 350, DAY_S)}, views={4: Views(2, DAY_S)}))
    assert list(told["bought"].items()) == [("3", "1 350 - 1"), ("12", "3 900 7.0 26 35 40")]
    assert told["seen"] == {"4": "2 1"}
