"""What people saw and took, as training learns it: no machines, each order once, no bias of position or selection."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from render.record import FetchRecord
from signals import journal
from signals.candidates import MODEL_FEATURES
from signals.moments import unix_ms
from tests.campaigns.shop import Shop
from tests.workers.seen import A_WEEK, PEOPLE, WEEKS, Log
from workers import exposures as reading
from workers import outcomes, response
from workers.boosters import lightgbm
from workers.exposures import LEAST_CHANCE, Exposures, Readers
from workers.showings import Showings


@pytest.fixture
def log(shop: Shop) -> Log:
    """An empty log."""
    return Log(shop)


def ignorant() -> Any:
    """A base that has learnt nothing: the features it saw had nothing to do with the outcomes."""
    chance = np.random.default_rng(2)
    matrix = chance.random((2000, len(MODEL_FEATURES)), dtype=np.float32)
    parameters = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1, "seed": 1}
    return lightgbm.train(parameters, lightgbm.Dataset(matrix, chance.random(2000) < 0.2), num_boost_round=3)


@pytest.mark.feature("DE-24")
@pytest.mark.feature("CM-67")
def test_it_learns_the_same_model_whatever_machines_fetch(log: Log) -> None:
    since, dice = log.shop.now - timedelta(weeks=WEEKS + 2), random.Random(7)
    log.live(dice, since)
    log.store()
    before = log.read()
    base = ignorant()
    taught = response.learnt(base, before)
    assert taught.booster is not None, taught.why
    assert len(before) == PEOPLE * WEEKS * A_WEEK * 2
    assert before.evidence == dict.fromkeys(log.offers.values(), PEOPLE * WEEKS * A_WEEK)

    # Scanners come in the machine lane, or are told only by hindsight; they fetch all and click all. Apple's proxy
    # fetches what nobody looks at.
    flood = 0.3 * PEOPLE * WEEKS * A_WEEK
    kinds = (("machine", "scanner"), ("live", "scanner"), ("machine", "prefetch"), ("live", "undecided"))
    for number in range(round(flood)):
        name, (lane, fetch_class) = dice.choice(log.names), kinds[number % len(kinds)]
        at = since + timedelta(hours=dice.uniform(0, 168 * WEEKS))
        made = log.open(name, at, ("attire", "shoes"), lane=lane, fetch_class=fetch_class)
        if fetch_class == "scanner":
            log.click(name, at + timedelta(seconds=1), made, "scanner")
    log.store()
    after = log.read()
    for column in Exposures.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    again = response.learnt(base, after)
    assert again.booster.model_to_string() == taught.booster.model_to_string()
    assert (again.thresholds, again.values, again.measures) == (taught.thresholds, taught.values, taught.measures)

    # Had the scanners been taken for people, it would be another model.
    with log.shop.sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE \"fetch\" SET fetch_class = 'person' WHERE lane = 'live'")
    fooled = log.read()
    assert len(fooled) > 1.1 * len(before)
    assert response.learnt(base, fooled).booster.model_to_string() != taught.booster.model_to_string()


def test_it_counts_an_undecided_fetch_once_a_person_clicks_in_its_open(log: Log) -> None:
    at = log.shop.now - timedelta(days=20)
    made = log.open("p00", at, ("shoes", "attire"), fetch_class="undecided")
    log.store()
    assert len(log.read()) == 0
    log.click("p00", at + timedelta(minutes=1), made, "scanner")
    log.store()
    assert len(log.read()) == 0
    log.click("p00", at + timedelta(minutes=2), made, "person")
    log.store()
    assert len(log.read()) == 2


@pytest.mark.feature("SU-18")
def test_it_learns_what_was_said_in_a_call_from_what_was_offered_there(log: Log) -> None:
    at = log.shop.now - timedelta(days=20)
    said = {"p00": ("taken", "refused"), "p01": ("refused",), "p02": ()}
    for name, answers in said.items():
        made = log.open(name, at, ("shoes", "attire"), fetch_class="undecided")
        for slot, answer in enumerate(answers):
            log.click(name, at + timedelta(minutes=1), made, "person", slot=slot, outcome=answer, offer=slot + 1)
    # What nobody looked at, and nobody spoke of, is learnt nothing from.
    log.records = [record for record in log.records if not isinstance(record, FetchRecord)]
    log.store()
    found = log.read()
    assert sorted(zip(found.offers.tolist(), found.outcomes.tolist(), strict=True)) == sorted(
        [(log.offers["shoes"], 1), (log.offers["attire"], 0), (log.offers["shoes"], 0)]
    )
    assert set(found.seen_ms.tolist()) == {unix_ms(at)}


@pytest.mark.feature("DE-25")
def test_it_joins_an_order_that_comes_late_and_twice_to_the_right_decision_once(log: Log) -> None:
    now, order_id = log.shop.now, "late-1"
    first, between, second = (now - timedelta(days=days) for days in (20, 19, 17))
    seen = [log.open("p00", at, ("shoes", "attire")) for at in (first, second)]
    log.store()
    assert log.read().outcomes.tolist() == [0, 0, 0, 0]

    # It happened between the two opens, and is told after both, by two shops of one house.
    log.buy("p00", "shoes", between, order_id)
    log.buy("p00", "shoes", between + timedelta(hours=1), order_id)
    log.store()
    found = log.read()
    assert found.outcomes.tolist() == [1, 0, 0, 0]
    assert found.seen_ms.tolist() == sorted(found.seen_ms.tolist())
    for _ in range(2):
        with log.shop.sessions.begin() as session:
            session.connection().exec_driver_sql("DELETE FROM loop_cursor")
            newest = journal.newest(session)
            outcomes.credit(session, log.shop.intake.categories, newest, now)
    with log.shop.sessions.begin() as session:
        rows = session.connection().exec_driver_sql("SELECT decision_id, at, cents FROM outcome").all()
    assert [(row.decision_id, row.at, row.cents) for row in rows] == [(seen[0], between, 2000)]

    # One of which nothing is left was none, until its shop takes it up again.
    for event, told, taken in (
        ("Order Cancelled", {}, [0, 0, 0, 0]),
        ("Order Updated", {"order_status": "placed"}, [1, 0, 0, 0]),
        ("Order Refunded", {}, [0, 0, 0, 0]),
    ):
        log.shop.clock.advance(timedelta(seconds=1))
        properties = {"order_id": order_id} | told
        log.shop.send({"type": "track", "userId": "p00", "event": event, "properties": properties})
        assert log.read().outcomes.tolist() == taken, event


@pytest.mark.feature("DE-25")
def test_it_takes_what_is_left_of_an_order_for_what_was_taken(log: Log) -> None:
    seen, at = (log.shop.now - timedelta(days=days) for days in (20, 19))
    for name in ("p00", "p01"):
        log.open(name, seen, ("shoes", "attire"))
    log.store()
    shoes, attire = ({"product_id": one, "category": one, "price": 20, "quantity": 1} for one in ("shoes", "attire"))

    def tell(name: str, event: str, lines: list[dict[str, Any]], hours: int) -> list[float]:
        said = {"order_id": f"o-{name}", "products": lines}
        when = (at + timedelta(hours=hours)).isoformat()
        log.shop.send({"type": "track", "userId": name, "event": event, "timestamp": when, "properties": said})
        found = log.read()
        # Two rows of each person, in the order of the categories that they were shown.
        return [float(outcome) for outcome in found.outcomes[np.argsort(found.roots, kind="stable")]]

    assert tell("p00", "Order Completed", [shoes, attire], 0) == [1, 1, 0, 0]
    assert tell("p00", "Order Refunded", [shoes], 2) == [0, 1, 0, 0]
    assert tell("p01", "Order Completed", [shoes], 0) == [0, 1, 1, 0]
    assert tell("p01", "Order Updated", [attire], 2) == [0, 1, 0, 1]
    asked = (np.array([log.shop.profile("p01")]), log.shop.now - timedelta(days=30), log.shop.now)
    with log.shop.sessions.begin() as session:
        ((_, _, categories),) = reading.orders_of(session, *asked)
    assert categories == [log.shop.intake.categories.lookup("attire")]


def test_it_waits_until_the_window_has_closed_and_late_orders_have_come(log: Log) -> None:
    for days in (8, 9, 10):
        log.open("p00", log.shop.now - timedelta(days=days), ("shoes", "attire"))
    log.store()
    assert len(log.read()) == 2, "seven days, and two more for orders that are told late"


def test_it_gives_an_order_to_one_exposure_of_its_category(log: Log) -> None:
    now = log.shop.now
    for days in (15, 14, 13):
        log.open("p00", now - timedelta(days=days), ("shoes", "attire"))
    log.buy("p00", "attire", now - timedelta(days=13, hours=12))
    log.buy("p00", "shoes", now - timedelta(days=5))
    log.store()
    assert log.read().outcomes.tolist() == [0, 0, 0, 1, 0, 0], "shoes were bought eight days after the last sight"


def biased(seed: int, count: int = 30_000) -> tuple[Exposures, np.ndarray[Any, Any]]:
    """Exposures whose policy put good chances first and hid the rest, and each row's true chance in the first place."""
    chance = np.random.default_rng(seed)
    features = np.zeros((count, len(MODEL_FEATURES)), dtype=np.float32)
    features[:, :5] = chance.random((count, 5), dtype=np.float32)
    wish, price = features[:, 0], features[:, 1]
    truth = 1 / (1 + np.exp(-(-2.0 + 2.5 * wish - 1.5 * price)))
    # Good ones went first nearly always; bad ones were shown seldom, and then mostly further down.
    shown = np.where(truth > np.median(truth), 0.9, 0.25)
    kept = chance.random(count) < shown
    first = chance.random(count) < np.where(wish > 0.5, 0.8, 0.2)
    positions = np.where(first, 0, 1)
    odds = truth / (1 - truth) * np.where(first, 1.0, 0.35)
    outcomes_ = chance.random(count) < odds / (1 + odds)
    rows = Exposures(
        features=features, outcomes=outcomes_.astype(np.float32), chances=shown, positions=positions,
        roots=np.arange(count), seen_ms=np.arange(count) * 60_000, said=np.full(count, np.nan),
        offers=np.ones(count, dtype=np.int64),
    ).part(kept)  # fmt: skip
    return rows, truth[kept]


@pytest.mark.feature("DE-33")
def test_it_takes_the_bias_of_position_and_selection_out() -> None:
    rows, truth = biased(3)
    base = ignorant()
    naive, _ = response.fitted(
        base, rows.features, rows.outcomes, np.ones(len(rows)), np.zeros(len(rows), dtype=np.int64)
    )
    fair, levels = response.fitted(base, rows.features, rows.outcomes, rows.weights, rows.positions)
    assert levels[1] - levels[0] == pytest.approx(np.log(0.35), abs=0.25)

    def at_first(trees: Any, level: float) -> np.ndarray[Any, Any]:
        margin = base.predict(rows.features, raw_score=True) + trees.predict(rows.features, raw_score=True) + level
        return np.asarray(1 / (1 + np.exp(-margin)))

    fresh = rows.features[:, 0]
    groups = [fresh < 0.5, fresh >= 0.5]
    weights = rows.weights
    flat = response.levels(
        base.predict(rows.features, raw_score=True) + naive.predict(rows.features, raw_score=True),
        rows.outcomes, np.ones(len(rows)), np.zeros(len(rows), dtype=np.int64),
    )  # fmt: skip
    errors = {
        name: max(
            abs(np.average(said[group], weights=weights[group]) / np.average(truth[group], weights=weights[group]) - 1)
            for group in groups
        )
        for name, said in (("naive", at_first(naive, flat[0])), ("fair", at_first(fair, levels[0])))
    }
    assert errors["naive"] > 0.3, "who takes places for taste undervalues what was put last"
    assert errors["fair"] < 0.5 * errors["naive"], errors
    assert errors["fair"] < 0.2, errors


def test_it_bounds_what_a_rare_choice_weighs() -> None:
    rows, _ = biased(2, 1000)
    rare = replace(rows, chances=np.full(len(rows), 1e-9))
    assert rare.weights.max() == pytest.approx(1 / LEAST_CHANCE)


def test_it_leaves_the_base_where_exposures_are_few_or_say_nothing() -> None:
    rows, _ = biased(3, 3000)
    few = response.learnt(ignorant(), rows.part(slice(0, 500)))
    assert few.booster is None
    assert "too few" in few.why
    chance = np.random.default_rng(5)
    noise = Exposures(
        features=chance.random((8000, len(MODEL_FEATURES)), dtype=np.float32),
        outcomes=(chance.random(8000) < 0.1).astype(np.float32), chances=np.ones(8000),
        positions=np.zeros(8000, dtype=np.int64), roots=np.arange(8000), seen_ms=np.arange(8000) * 600_000,
        said=np.full(8000, np.nan), offers=np.ones(8000, dtype=np.int64),
    )  # fmt: skip
    nothing = response.learnt(ignorant(), noise)
    assert nothing.booster is None
    assert "no better" in nothing.why
    assert nothing.measures["explored"] == 0.0


def test_it_joins_two_boosters_into_the_sum_of_their_scores() -> None:
    rows, _ = biased(4, 4000)
    base = ignorant()
    trees, _ = response.fitted(base, rows.features, rows.outcomes, rows.weights, rows.positions)
    whole = response.joined(base, trees)
    scores = [one.predict(rows.features, raw_score=True) for one in (whole, base, trees)]
    np.testing.assert_allclose(scores[0], scores[1] + scores[2], atol=1e-9)
    assert whole.num_trees() == base.num_trees() + trees.num_trees()


def test_it_reads_the_same_in_shares_and_in_other_processes(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    since, dice = log.shop.now - timedelta(weeks=6), random.Random(3)
    for number in range(120):
        at = since + timedelta(hours=number, minutes=dice.uniform(0, 59))
        log.open(log.names[number % PEOPLE], at, ("shoes", "attire") if number % 3 else ("attire", "shoes"))
        if number % 4 == 0:
            log.buy(log.names[number % PEOPLE], "shoes", at + timedelta(hours=1))
    log.store()
    whole = log.read()
    assert len(whole) == 240
    assert 20 < whole.outcomes.sum() <= 30

    monkeypatch.setattr(reading, "APART", 1)
    apart = log.read(readers=Readers(log.shop.settings.database_url, 2))
    for column in Exposures.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(apart, column), getattr(whole, column))

    # Of more decisions than are wanted an even part is read, and what it is hangs on the ids alone.
    part = log.read(most=60)
    assert 60 <= len(part) <= 180, "every decision showed two offers"
    np.testing.assert_array_equal(log.read(most=60).seen_ms, part.seen_ms)


def test_it_joins_orders_as_going_through_them_one_by_one_does() -> None:
    dice = np.random.default_rng(8)
    count, day_ms = 400, 86_400_000
    seen_ms = np.sort(dice.integers(0, 40 * day_ms, count))
    shown = Showings(
        features=np.zeros((count, len(MODEL_FEATURES)), dtype=np.float32), chances=np.ones(count),
        positions=np.zeros(count, dtype=np.int64), roots=dice.integers(1, 9, count), seen_ms=seen_ms,
        said=np.ones(count), offers=np.ones(count, dtype=np.int64), categories=dice.integers(1, 6, count),
        decisions=np.arange(count), agreed=np.zeros(count, dtype=np.bool_),
    )  # fmt: skip
    orders = [
        (int(root), int(at), dice.integers(1, 8, 2).tolist())
        for root, at in zip(dice.integers(0, 11, 300), dice.integers(-day_ms, 60 * day_ms, 300), strict=True)
    ]
    orders += [(int(shown.roots[0]), int(seen_ms[0]), [int(shown.categories[0])])]
    expected = np.zeros(count, dtype=np.bool_)
    for root, at, categories in orders:
        for category in categories:
            before = [
                row for row in range(count)
                if shown.roots[row] == root and shown.categories[row] == category and seen_ms[row] < at
            ]  # fmt: skip
            if before and at - seen_ms[before[-1]] <= 7 * day_ms:
                expected[before[-1]] = True
    found = reading._taken(shown, lambda roots: iter([one for one in orders if one[0] in roots]))
    assert 40 < expected.sum() < 300
    np.testing.assert_array_equal(found, expected)
