"""Offers that rest: after so many showings, ignored showings, answers; against an oracle that walks day by day."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from render.arbitration import Fatigue
from render.decide import decide
from render.explanation import explain
from render.facts import DAY_MS, NO_USE, Answers, OfferUse, Used, decode_used, encode_used
from render.fatigue import resting
from render.faults import validate
from tests.render import shoe_shop as shop

KINDS = ("shown", "ignored", "taken", "refused")
OFFER, GROUP = 5, "shoes"


def used_of(events: list[tuple[int, str]]) -> Used:
    """What is kept after these (day, "shown" | "taken" | "refused") in order."""
    used = Used()
    for day, what in events:
        if what == "shown":
            used = used.reserved([(OFFER, GROUP)], day * DAY_MS)
        else:
            used = used.answered(OFFER, GROUP, "taken" if what == "taken" else "refused", day * DAY_MS)
    return decode_used(encode_used(used))


def rests_by_the_oracle(rest: Fatigue, events: list[tuple[int, str]], today: int) -> bool:
    """Walk over the days: each may fill the measure, and then so many days are off."""
    off_until, counted = 0, list[int]()
    for day in range(today + 1):
        for at, what in events:
            if at != day:
                continue
            wanted = "shown" if rest.after == "ignored" else rest.after
            if rest.after == "ignored" and what == "taken":
                counted = []
            if what != wanted or day < off_until:
                continue
            counted.append(day)
            if len([one for one in counted if one > day - rest.within_days]) == rest.times:
                off_until, counted = day + rest.off_days, []
    return today < off_until


# In one day a showing comes before what was done about it, as it does in life.
STREAMS = st.lists(st.tuples(st.integers(0, 130), st.sampled_from(["shown", "taken", "refused"])), max_size=14).map(
    lambda events: sorted(events, key=lambda event: (event[0], event[1] != "shown"))
)


@pytest.mark.feature("CM-35")
@pytest.mark.parametrize("of", ["offer", "group"])
@settings(max_examples=300)
@given(
    events=STREAMS,
    after=st.sampled_from(KINDS),
    times=st.integers(1, 4),
    within=st.sampled_from([1, 7, 30]),
    off=st.sampled_from([1, 14, 60]),
)
def test_it_rests_as_the_oracle_says(
    of: Any, events: list[tuple[int, str]], after: Any, times: int, within: int, off: int
) -> None:
    rest = Fatigue(after, times, within, off, of)
    offer = shop.offer(OFFER, "cross-sell", group=GROUP, fatigue=(rest,))
    for today in (0, 29, 30, 31, 59, 60, 61, 90, 130, 189, 190, 191):
        known = [event for event in events if event[0] <= today]
        found = resting(offer, used_of(known), today * DAY_MS)
        assert (found is not None) == rests_by_the_oracle(rest, known, today), (today, known)


@pytest.mark.feature("CM-35")
def test_it_counts_within_thirty_days_and_comes_back_after_sixty_to_the_millisecond() -> None:
    rest = Fatigue("ignored", times=2, within_days=30, off_days=60)
    plan = shop.plan(discount={"fatigue": (rest,)})
    first = shop.NOON_MS - 200 * DAY_MS
    for gap, counts in ((30 * DAY_MS - 1, True), (30 * DAY_MS, False)):
        used = Used().reserved([(shop.DISCOUNT, None)], first).reserved([(shop.DISCOUNT, None)], first + gap)
        off = first + gap + 60 * DAY_MS
        for now, is_off in ((off - 1, counts), (off, False)):
            found = resting(plan.offer_by_id[shop.DISCOUNT], used, now)
            assert (found is not None) == is_off
    taken = used.answered(shop.DISCOUNT, None, "taken", first + 1)
    assert resting(plan.offer_by_id[shop.DISCOUNT], taken, first + 30 * DAY_MS) is None


def test_it_shows_the_next_offer_and_says_why() -> None:
    rest = Fatigue("ignored", times=3, within_days=30, off_days=60)
    plan = shop.plan(discount={"fatigue": (rest,)})
    used = Used(offers={shop.DISCOUNT: OfferUse(3, shop.SENT_MS, (shop.SENT_MS - 2, shop.SENT_MS - 1, shop.SENT_MS))})
    decision = decide(plan, shop.facts(shop.state(), used=used), shop.NOON, seed=1)
    assert decision.offers == (shop.TIGHTS,)
    assert decision.slots[0].candidates[0].rule == "resting: ignored"
    sentence = explain(decision, plan)[0].others[0].sentence
    assert sentence == (
        "“discount” was not shown: it rests: it was ignored 3 times within 30 days, so it is left out for 60 days."
    )


def test_it_reads_what_was_kept_before_answers_were() -> None:
    old = encode_used(Used(offers={1: NO_USE}))
    assert decode_used(bytes([0x93]) + old[1:-3]) == Used(offers={1: NO_USE})
    assert decode_used(bytes([0x95]) + old[1:-1]) == Used(offers={1: NO_USE}), "and before others were"


@pytest.mark.parametrize("of", ["offer", "group"])
def test_what_happened_under_another_profile_of_the_person_counts(of: Literal["offer", "group"]) -> None:
    refused, ignored = Fatigue("refused", 2, 30, 60, of), Fatigue("ignored", 3, 30, 60, of)
    offer = replace(shop.plan().offer_by_id[shop.DISCOUNT], group="shoes", fatigue=(refused, ignored))
    at = shop.NOON_MS - DAY_MS
    here = Used().answered(offer.id, "shoes", "refused", at).reserved([(offer.id, "shoes")], at)
    there = Used().answered(offer.id, "shoes", "refused", at - 1)
    assert resting(offer, here, shop.NOON_MS) is None
    assert resting(offer, here.beside([there]), shop.NOON_MS) is refused
    seen = [Used().reserved([(offer.id, "shoes")], at - number) for number in (1, 2)]
    assert resting(offer, here.beside(seen), shop.NOON_MS) is ignored
    clicked = Used().answered(offer.id, "shoes", "taken", at - 1)
    assert resting(offer, here.beside([*seen, clicked]), shop.NOON_MS) is None, "it was not ignored each time"


def test_an_open_leaves_the_count_of_other_profiles_as_it_is() -> None:
    one, two = Used().reserved([(1, "a")], 10), Used().reserved([(1, None), (2, "b")], 20).answered(2, "b", "taken", 21)
    used = Used().reserved([(1, "a")], 30)
    both = used.beside([one, two])
    assert both == used.beside([two, one])
    assert both.offer(1) == OfferUse(3, 30, (10, 20, 30))
    assert (both.group("a").count, both.group("b").count, both.answers_to(2).taken) == (2, 1, (21,))
    assert both.beside(()) == used
    later = both.reserved([(2, "b")], 40).answered(2, "b", "refused", 41)
    assert later.others == both.others
    assert later.offer(2) == OfferUse(2, 40, (20, 40))
    assert later.group_answers_to("b") == Answers((21,), (41,))
    assert decode_used(encode_used(later)) == later


def test_it_does_not_publish_a_rest_that_means_nothing() -> None:
    plan = shop.plan()
    wrong = (Fatigue("shown", 0, 1, 1), Fatigue("taken", 1, 1, 1, "group"))
    offers = tuple(replace(one, fatigue=wrong) if one.id == shop.DISCOUNT else one for one in plan.offers)
    assert validate(replace(plan, offers=offers)) == [
        "offers[0].fatigue[0].times: must be at least 1",
        "offers[0].fatigue[1].of: names the offer's group, and it has none",
    ]
