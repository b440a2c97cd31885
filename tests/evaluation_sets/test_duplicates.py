"""The protocol of duplicates on a small made-up year: what is planted is found, nothing lost is nothing, all is all."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest

from base.errors import InvalidInput
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from workers.evaluation_sets import planted
from workers.evaluation_sets.arms import D2, D3, HELD, HIT, LOSS, QUESTIONS, RANK, WRONG, Judge, figures, seen
from workers.evaluation_sets.duplicates import Variant, compared, resolved
from workers.evaluation_sets.past import Past
from workers.evaluation_sets.planted import DUPLICATE, Filing, duplicate, filed, people
from workers.evaluation_sets.recovery import recovery
from workers.evaluation_sets.retail import Campaign, Redemption, Retail, moment

HOUSEHOLDS = range(1, 261)
CATEGORIES = tuple(range(1, 15))


@pytest.fixture(scope="module")
def retail() -> Retail:
    """A year of 260 households: three categories that each buys often, others now and then, coupons used at times."""
    draw = random.Random(5)
    orders: dict[int, tuple[FoldEvent, ...]] = {}
    for household in HOUSEHOLDS:
        often, told = draw.sample(CATEGORIES, 3), []
        for day in range(draw.randint(0, 6), 364, 7):
            bought = [one for one in CATEGORIES if draw.random() < (0.4 if one in often else 0.10 / one**0.5)]
            if bought:
                at = unix_ms(moment(day) + timedelta(hours=9))
                lines = tuple(Line("", one, 1, 200, coupon=False) for one in bought)
                name = f"{household}-{day}"
                told.append(FoldEvent(time_ms=at, message_id=name, kind="order", lines=lines, order_id=name))
        orders[household] = tuple(told)
    campaigns = tuple(
        Campaign(number, "A", day, day + 20, tuple(HOUSEHOLDS), dict.fromkeys(CATEGORIES[:6], 1))
        for number, day in enumerate((100, 150, 200, 250, 300, 330), start=1)
    )
    used = tuple(
        Redemption(household, one.number, draw.choice(CATEGORIES[:6]), one.starts + 5)
        for one in campaigns for household in HOUSEHOLDS if draw.random() < 0.3
    )  # fmt: skip
    return Retail(orders, {one: str(one) for one in CATEGORIES}, CATEGORIES, campaigns, used)


@pytest.fixture(scope="module")
def judge(retail: Retail) -> Judge:
    return Judge(Past(retail))


def test_it_files_the_share_that_was_asked_for_and_every_order_once(retail: Retail) -> None:
    told = Counter(order.message_id for orders in retail.orders.values() for order in orders)
    for scattered in (False, True):
        filing = filed(retail.orders, 0.2, seed=3, scattered=scattered)
        assert Counter(order.message_id for orders in filing.orders.values() for order in orders) == told
        assert filing.moved == pytest.approx(0.2, abs=0.02)
        second = [profile for profile in filing.truth if profile >= DUPLICATE]
        assert len(second) > 250 if scattered else 80 < len(second) < 160
        assert {filing.truth[profile] for profile in second} == {profile - DUPLICATE for profile in second}
        assert filing == filed(retail.orders, 0.2, seed=3, scattered=scattered)
        assert filing != filed(retail.orders, 0.2, seed=4, scattered=scattered)
    nothing = filed(retail.orders, 0.0, seed=3)
    assert (nothing.orders, nothing.moved) == (retail.orders, 0.0)


def test_its_duplicates_have_the_errors_of_febrl() -> None:
    draw = random.Random(7)
    records = people(list(range(3_000)), draw)
    pairs = [(record, duplicate(record, draw)) for record in records.values()]
    wrong = Counter(sum(one[field] != other[field] for field in planted.FIELDS) for one, other in pairs)
    # Of two names that are exchanged one was drawn to be wrong.
    assert wrong[1] / 3_000 == pytest.approx(0.32, abs=0.05)
    assert wrong[2] / 3_000 == pytest.approx(0.33, abs=0.05)
    share = {field: sum(one[field] != other[field] for one, other in pairs) / 3_000 for field in planted.FIELDS}
    assert share["street"] > share["city"] > share["born"] > 0.04
    bare = [duplicate(record, draw, bare=True) for record in records.values()]
    assert sum(not one["born"] for one in bare) / 3_000 == pytest.approx(0.5, abs=0.05)
    homes = Counter((one["street"], one["number"], one["family"]) for one in records.values())
    assert sum(count for count in homes.values() if count > 1) > 300


def test_it_judges_a_ranking_by_what_was_true_whatever_was_known() -> None:
    scores = np.array([0.9, 0.5, 0.2, 0.8, 0.3, 0.7, 0.6])
    outcomes = np.array([0.0, 1, 0, 0, 1, 0, 0])
    offered = np.array([True, True, True, True, False, True, True])
    right = np.array([False, True, True, True, True, True, True])
    told = figures(scores, outcomes, offered, right, np.array([3, 2, 2]))
    assert told[HIT].tolist() == [0, 0, 0]
    assert told[WRONG].tolist() == [1, 0, 0]
    assert told[HELD].tolist() == [0, 1, 0]
    # The first open's true category stands second, the second's is not offered; nothing came true at the third.
    np.testing.assert_array_equal(told[RANK], [0.5, 0.0, np.nan])
    assert told[LOSS][0] == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    known = figures(scores, outcomes, offered & right, right, np.array([3, 2, 2]))
    assert (known[HIT].tolist(), known[WRONG].sum()) == ([1, 0, 0], 0)


def test_it_tells_what_share_of_a_loss_is_won_back() -> None:
    random_ = np.random.default_rng(1)
    owners = np.repeat(np.arange(200), 5)
    clean = (random_.random(1_000) < 0.5).astype(np.float64)
    apart = clean - np.where(random_.random((3, 1_000)) < 0.3, 0.4, 0.0)
    three_quarters = apart + 0.75 * (clean - apart)
    told = recovery(clean, apart, three_quarters, owners)
    assert told.share is not None
    assert told.share.value == pytest.approx(0.75)
    assert told.loss.low < told.loss.value < told.loss.high
    assert told.loss.value == pytest.approx(0.12, abs=0.02)
    assert told.regained.value == pytest.approx(0.75 * told.loss.value)
    every = np.tile(clean, (3, 1))
    perfect, none = recovery(clean, apart, every, owners).share, recovery(clean, apart, apart, owners).share
    assert perfect is not None
    assert none is not None
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx((1, 1, 1))
    assert (none.value, none.low, none.high) == (0, 0, 0)
    # Better when smaller: the same share, other signs.
    turned = recovery(-clean, -apart, -three_quarters, owners)
    assert turned.share is not None
    assert (turned.share.value, turned.loss.value) == pytest.approx((0.75, -told.loss.value))


def test_it_tells_no_share_of_what_may_be_no_loss() -> None:
    random_ = np.random.default_rng(2)
    owners, clean = np.arange(300), random_.random(300)
    assert recovery(clean, np.tile(clean, (2, 1)), np.tile(clean, (2, 1)), owners).share is None
    noise = random_.normal(0, 1, (2, 300))
    noise -= noise.mean()
    noisy = recovery(clean, clean + noise, np.tile(clean, (2, 1)), owners)
    assert noisy.loss.low < 0 < noisy.loss.high
    assert noisy.share is None
    with pytest.raises(InvalidInput, match="no open"):
        recovery(np.zeros(0), np.zeros((1, 0)), np.zeros((1, 0)), np.zeros(0, dtype=np.int64))


def test_it_loses_nothing_without_duplicates_and_all_comes_back_with_the_truth(retail: Retail, judge: Judge) -> None:
    none, some = (filed(retail.orders, share, seed=1) for share in (0.0, 0.2))
    alone, joined = (seen(filing.orders, filing.truth, retail.orders) for filing in (none, some))
    for told in (judge.same(alone), judge.same(joined), judge.anew(joined)):
        for question in QUESTIONS:
            for measure, values in judge.clean[question].items():
                np.testing.assert_array_equal(told[question][measure], values, err_msg=f"{question} {measure}")


def test_it_sees_what_duplicates_cost_and_what_strangers_do(retail: Retail, judge: Judge) -> None:
    filing = filed(retail.orders, 0.2, seed=1)
    apart = seen(filing.orders, {profile: profile for profile in filing.truth}, retail.orders)
    owners = judge.owners(D3)
    second = {profile - DUPLICATE for profile in filing.truth if profile >= DUPLICATE}
    with_one = np.isin(owners, sorted(second))
    for told in (judge.same(apart)[D3], judge.anew(apart)[D3]):
        assert told[WRONG][with_one].mean() > 0.05
        assert not told[WRONG][~with_one].any()
        assert told[HIT][with_one].mean() < judge.clean[D3][HIT][with_one].mean()
        assert not told[HELD].any()
    assert not judge.clean[D3][WRONG].any()
    of = {household: household - (household % 2 == 0) for household in HOUSEHOLDS}
    joined = judge.same(seen(retail.orders, of, retail.orders))
    assert joined[D3][HELD].mean() > 1
    assert not joined[D3][WRONG].any()
    assert not np.array_equal(joined[D2][LOSS], judge.clean[D2][LOSS])


def test_two_with_customer_numbers_are_not_joined_and_a_duplicate_is() -> None:
    draw = random.Random(2)
    records = people(list(range(1, 241)), draw)
    records |= {number + DUPLICATE: duplicate(records[number], draw) for number in range(1, 81)}
    # The same name and address: 1 and its duplicate, and two customers of their own.
    records[1 + DUPLICATE] = records[1] | {"born": ""}
    records[101] = records[100] | {"born": "1931-01-02"}
    truth = {number: number % DUPLICATE for number in records}
    found = resolved(Filing({}, truth, records, 0.0))
    assert found.stated[1 + DUPLICATE] == 1
    assert (found.stated[101], found.likely[101]) == (101, 101)
    joined = [number for number in range(1, 81) if found.likely[number + DUPLICATE] == number]
    assert len(joined) > 70
    assert sum(found.stated[number + DUPLICATE] == number for number in range(1, 81)) < len(joined)


def test_it_tells_of_a_whole_variant(retail: Retail, judge: Judge) -> None:
    told = compared(judge, retail.orders, [Variant("a fifth", 0.2, seeds=1, anew=1)])
    of = {(one.question, one.measure): one for one in told}
    who = "a fifth: who is who, 1 seed"
    assert of[who, "share of orders under a duplicate"].value == pytest.approx(0.2, abs=0.02)
    assert of[who, "precision of joined profiles, by these and likeness"].value > 0.98
    recall = of[who, "recall of joined profiles, by these and likeness"].value
    assert recall > 0.9
    assert of[who, "recall of joined profiles, by stated matches alone"].value < recall
    title = f"a fifth, same model, 1 seed: {D3}"
    assert of[title, f"{WRONG}: truth"].value == 0
    assert of[title, f"{WRONG}: left apart"].value > of[title, f"{WRONG}: resolved"].value
    assert 0.7 < of[title, f"{WRONG}: share won back"].value <= 1
    assert of[title, f"{WRONG}: share, stated matches alone"].value < 0.5
    assert (f"a fifth, learnt anew, 1 seed: {D3}", f"{HIT}: truth") in of
    stranger = next(one for one in told if "stranger" in one.question and HELD in one.measure)
    assert stranger.value < 0
