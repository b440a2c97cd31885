"""What is learnt of stored orders: planted truth is found again, and what is set by hand wins."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cache

import pytest
from sqlalchemy import text

from campaigns import relations
from campaigns.admin_log import SYSTEM
from campaigns.relations import ByHandIn
from render.plan import decode_live
from render.relations import LEAST_PEOPLE, Learnt, Relations, encode
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.orders import Placement
from tests.campaigns.shop import Shop
from tests.conftest import NOON
from tests.damage import damaged_signal
from workers.relations import COUNTED, LEAST_TOGETHER, RelationsLearner, Tally
from workers.schedule import Scheduler

DAY_MS = 86_400_000
CAMERA, CARD, TRIPOD, PASTA, SAUCE, GIFTS, NOISE = 1, 2, 3, 4, 5, 6, range(10, 40)
PLANTED = {(CAMERA, CARD): 0.6, (CAMERA, TRIPOD): 0.3, (PASTA, SAUCE): 0.5}


def placed(at_ms: int, *categories: int, quantity: int = 1, gift: bool = False) -> Placement:
    """An order of these categories, so many units of each."""
    lines = tuple(Line(f"p{category}", category, quantity, 100, gift) for category in categories)
    return Placement(FoldEvent(time_ms=at_ms, message_id="o", kind="order", lines=lines))


def tallied(people: Iterable[Iterable[Placement]], hidden: frozenset[int] = frozenset()) -> Relations:
    tally = Tally(NOON, hidden)
    for placements in people:
        tally.add(placements)
    return Relations.load(encode(tally.learnt()))


def baskets(dice: random.Random) -> Iterator[list[Placement]]:
    """3,000 orders: the planted pairs, and categories that fall together by chance alone, some of them often."""
    for number in range(3_000):
        chosen = {one for place, one in enumerate(NOISE) if dice.random() < 0.3 / (1 + place)}
        for (bought, other), likely in PLANTED.items():
            if dice.random() < 0.12:
                chosen |= {bought, other} if dice.random() < likely else {bought}
        chosen |= {other for other in (CARD, TRIPOD, SAUCE) if dice.random() < 0.03}
        yield [placed(unix_ms(NOON) - number * 60_000, *sorted(chosen))] if chosen else []


@cache
def market() -> Relations:
    return tallied(baskets(random.Random(40)))


@pytest.mark.feature("CM-40")
def test_it_finds_the_planted_pairs_and_no_other() -> None:
    found = {(one, other) for one in market().learnt.complements for other in market().complements(one)}
    assert {tuple(sorted(pair)) for pair in found} == set(PLANTED)
    assert market().complements(CAMERA) == (CARD, TRIPOD)
    card = next(one for one in market().learnt.complements[CAMERA] if one.other == CARD)
    orders = [{line.category for line in one.lines} for bought in baskets(random.Random(40)) for one in bought]
    both = sum({CAMERA, CARD} <= held for held in orders)
    alone = [sum(category in held for held in orders) for category in (CAMERA, CARD)]
    assert card.support == both
    assert card.lift == pytest.approx(both * len(orders) / (alone[0] * alone[1]), abs=1e-3)


@pytest.mark.feature("CM-40")
@pytest.mark.parametrize(("orders", "known"), [(LEAST_TOGETHER - 1, ()), (LEAST_TOGETHER, (CARD,))])
def test_it_asks_for_a_least_number_of_orders(orders: int, known: tuple[int, ...]) -> None:
    pairs = [[placed(unix_ms(NOON) - 1, CAMERA, CARD)] for _ in range(orders)]
    others = [[placed(unix_ms(NOON) - 1, PASTA)] for _ in range(3_000)]
    assert tallied(pairs + others).complements(CAMERA) == known


def test_it_learns_nothing_of_sensitive_categories_voided_orders_or_gifts() -> None:
    bought = [[placed(unix_ms(NOON) - 1, CAMERA, GIFTS)] for _ in range(100)]
    void = [placed(unix_ms(NOON) - 1, PASTA, SAUCE) for _ in range(100)]
    for placement in void:
        placement.cancel()
    given = [[placed(unix_ms(NOON) - 1, TRIPOD, CARD, gift=True)] for _ in range(100)]
    others = [[placed(unix_ms(NOON) - 1, 99)] for _ in range(3_000)]
    learnt = tallied([*bought, void, *given, *others], frozenset({GIFTS})).learnt
    assert learnt.complements == {}
    assert set(learnt.units) == {CAMERA, 99}
    # A present was bought all the same.
    assert learnt.buyers["p3"] == 100
    assert "p4" not in learnt.buyers


TRUTH = {1: 30, 2: 60, 3: 120, 4: 240}
"""Category -> the median days after which it is bought again."""


def rhythms(dice: random.Random) -> Iterator[list[Placement]]:
    """Two years of 600 people; one in three never comes back after some purchase, and all else is cut off by now."""
    for _ in range(600):
        placements = []
        for category, median in TRUTH.items():
            at = -dice.uniform(0, 730)
            while at < 0:
                placements.append(placed(unix_ms(NOON) + int(at * DAY_MS), category))
                if dice.random() < 0.33:
                    break
                at += median * dice.lognormvariate(0, 0.35)
        yield placements


@pytest.mark.feature("CM-29")
def test_it_learns_after_how_long_things_are_bought_again() -> None:
    known = tallied(rhythms(random.Random(29)))
    for category, median in TRUTH.items():
        assert known.interval_days(category) == pytest.approx(median, rel=0.1), category
    few = [[placed(unix_ms(NOON) - day * DAY_MS, CARD) for day in (1, 31)] for _ in range(29)]
    assert tallied(few).interval_days(CARD) is None


def counted(shop: Shop) -> dict[str, int]:
    """People per product as plain SQL over the stored orders finds them, net of whole returns."""
    query = text("""
        SELECT line->>'product_id' AS product, count(DISTINCT e.profile_id) AS people
        FROM event e CROSS JOIN json_array_elements(e.figures->'properties'->'products') AS line
        WHERE e.name = 'Order Completed' AND e.event_time >= :since AND e.event_time < :until
          AND NOT EXISTS (SELECT 1 FROM event r WHERE r.name = 'Order Refunded' AND r.event_time < :until
                          AND r.order_id = e.order_id)
        GROUP BY 1
    """)
    with shop.sessions.begin() as session:
        return {
            row.product: row.people
            for row in session.execute(query, {"since": shop.now - COUNTED, "until": shop.now})
            if row.people >= LEAST_PEOPLE
        }


@pytest.mark.feature("CM-43")
def test_it_counts_people_as_the_data_does_at_that_instant_and_has_opens_read_it(
    shop: Shop, scheduler: Scheduler
) -> None:
    names = [f"p{number}" for number in range(LEAST_PEOPLE + 5)]
    bought = [shop.order(name, "tea", shop.now - timedelta(days=1), f"{name}-tea") for name in names]
    bought += [shop.order(name, "milk", shop.now - timedelta(days=2)) for name in names[: LEAST_PEOPLE + 2]]
    bought += [shop.order(name, "salt", shop.now - timedelta(days=2)) for name in names[: LEAST_PEOPLE - 1]]
    bought += [shop.order(name, "rice", shop.now - COUNTED - timedelta(days=1)) for name in names]
    shop.send(*bought)
    back = {"type": "track", "userId": "p0", "event": "Order Refunded", "properties": {"order_id": "p0-tea"}}
    shop.send(back)
    campaign = shop.campaign(published=True)
    learner = RelationsLearner(shop.sessions, shop.blobs, shop.clock)
    shop.clock.advance(timedelta(seconds=1))
    with damaged_signal(shop.sessions, shop.profile("p1")):
        left = Relations.load(shop.blobs.get(str(learner.run(is_asked=True))))
    assert left.learnt.buyers == {"tea-1": LEAST_PEOPLE + 3, "milk-1": LEAST_PEOPLE + 1}, "all others are counted"
    digest = learner.run(is_asked=True)
    known = Relations.load(shop.blobs.get(str(digest)))
    assert known.learnt.buyers == counted(shop) == {"tea-1": LEAST_PEOPLE + 4, "milk-1": LEAST_PEOPLE + 2}
    assert known.bought_with("tea-1") == {"milk-1": LEAST_PEOPLE + 1}
    scheduler.tick()
    live = shop.store.get(f"live:{campaign}")
    assert isinstance(live, bytes)
    assert decode_live(live).relations == digest


@pytest.mark.feature("CM-40")
def test_it_lets_what_is_set_by_hand_win_at_once_and_after_the_next_lesson(shop: Shop) -> None:
    shop.send(shop.order("a", "camera", shop.now), shop.order("a", "card", shop.now))
    with shop.sessions.begin() as session:
        slugs = {row.slug: row.id for row in session.execute(text("SELECT slug, id FROM category"))}
        relations.keep(session, shop.blobs, Learnt(until_ms=unix_ms(shop.now)), shop.now)
        pair = ByHandIn(kind="pair", category="camera", other="card")
        row = relations.set_by_hand(session, shop.blobs, pair, shop.now, SYSTEM)
        relations.set_by_hand(
            session, shop.blobs, ByHandIn(kind="interval", category="card", days=90), shop.now, SYSTEM
        )
        number = row.id

    def known() -> Relations:
        with shop.sessions.begin() as session:
            found = relations.load(session, shop.blobs)
            assert found is not None
            return found

    assert known().complements(slugs["camera"]) == (slugs["card"],)
    assert known().interval_days(slugs["card"]) == 90
    RelationsLearner(shop.sessions, shop.blobs, shop.clock).run(is_asked=True)
    assert known().complements(slugs["camera"]) == (slugs["card"],)
    with shop.sessions.begin() as session:
        relations.remove_by_hand(session, shop.blobs, number, shop.now, SYSTEM)
    assert known().complements(slugs["camera"]) == ()


def test_it_is_due_once_a_day_where_an_offer_asks_for_it(shop: Shop, scheduler: Scheduler) -> None:
    def is_due() -> bool:
        with shop.sessions.begin() as session:
            return relations.is_due(session, shop.now)

    shop.send(shop.order("a", "tea", shop.now))
    assert not is_due()
    assert RelationsLearner(shop.sessions, shop.blobs, shop.clock).run() is None
    with shop.sessions.begin() as session:
        relations.set_by_hand(session, shop.blobs, ByHandIn(kind="interval", category="tea", days=9), shop.now, SYSTEM)
    assert is_due()
    scheduler.tick()
    scheduler.tick()
    assert shop.queues.llen("rq:queue:work") == 1
    assert RelationsLearner(shop.sessions, shop.blobs, shop.clock).run() is not None
    assert not is_due()
    shop.clock.advance(relations.EVERY)
    assert is_due()
