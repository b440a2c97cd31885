"""The drift of a live model, from records of its opens."""

from __future__ import annotations

import random
from datetime import timedelta

import msgspec
import pytest

from campaigns import drift
from campaigns.alarms import standings
from campaigns.drift import Drift
from campaigns.models.campaign import Campaign
from campaigns.models.learning import ModelDrift, ModelMove
from campaigns.watch import measures
from render.model import Model
from tests.campaigns.enlisting import enlisted
from tests.campaigns.shop import Shop
from tests.workers.seen import HABITS, Log
from workers import drifting
from workers.judging import Judge

OPENS = 260


class Living:
    """A model that has been live for five weeks, with opens in its first week and its last."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.log = shop, Log(shop)
        popularity = dict.fromkeys(self.log.categories.values(), 0.5)
        self.model = enlisted(shop, popularity)
        self.campaign = shop.campaign()
        self.since = shop.now - timedelta(weeks=5)
        with shop.sessions.begin() as session:
            session.get_one(Campaign, self.campaign).model_hash = self.model
            step = {"campaign_id": self.campaign, "model_hash": self.model, "reason": "first", "by": "user"}
            session.add(ModelMove(at=self.since, action="live", **step))
        self.judge = Judge(shop.sessions, shop.blobs, shop.settings.subject_key, shop.clock)

    def week(self, weeks_ago: int, *, days: int, said: float, taken: float) -> None:
        """A week of opens of people who bought so many days ago, with promises and how many came true."""
        dice = random.Random(weeks_ago)
        for number in range(OPENS):
            name = self.log.names[number % len(self.log.names)]
            at = self.shop.now - timedelta(weeks=weeks_ago) + timedelta(hours=1 + 166 * number / OPENS)
            shown = (HABITS[number % 2], HABITS[1 - number % 2])
            self.log.open(
                name, at, shown, model=self.model, said=said * dice.uniform(0.5, 1.5), days=days + dice.randint(0, 4),
                campaign=self.campaign,
            )  # fmt: skip
            if dice.random() < taken:
                self.log.buy(name, shown[0], at + timedelta(minutes=1))
        self.log.store()

    def found(self) -> list[Drift]:
        """What has been found so far."""
        with self.shop.sessions.begin() as session:
            rows = session.query(ModelDrift).order_by(ModelDrift.id).all()
            return [msgspec.convert(row.document, Drift) for row in rows]

    def firing(self) -> set[str]:
        """The alarms about models that fire."""
        with self.shop.sessions.begin() as session:
            seen = measures(session, self.shop.blobs, self.shop.store, self.shop.store, self.shop.now)
        return {one.alarm.name for one in standings(seen) if one.is_firing and one.alarm.name.startswith("Model")}


@pytest.fixture
def living(shop: Shop) -> Living:
    return Living(shop)


def test_it_is_silent_while_nothing_moves_and_raises_an_alarm_when_people_change(living: Living) -> None:
    living.week(5, days=9, said=0.2, taken=0.4)
    living.week(3, days=9, said=0.2, taken=0.4)
    living.week(1, days=9, said=0.2, taken=0.4)
    assert living.judge.run()["measured"] == 1
    (steady,) = living.found()
    assert not steady.is_alarm, steady
    assert steady.ratio == pytest.approx(1.0, abs=0.25)
    assert living.judge.run()["measured"] == 0, "once a day"
    assert living.firing() == set()

    living.shop.clock.advance(timedelta(days=7))
    living.week(1, days=40, said=0.5, taken=0.4)
    assert living.judge.run()["measured"] == 1
    moved = living.found()[-1]
    assert moved.is_alarm
    assert moved.score > moved.limit
    assert dict(moved.features)["category.days_since"] > moved.limit
    assert dict(moved.features)["now.weekday"] < moved.limit
    assert living.firing() == {"ModelDrifted"}
    living.shop.clock.advance(timedelta(days=4))
    assert living.firing() == set(), "what is old says nothing of today"


def test_it_sees_that_people_buy_what_they_did_not_buy_before(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "LEAST_TAKEN", 5)
    log, day = living.log, timedelta(days=1)
    closed = living.shop.now - 9 * day
    for week in range(1, 6):
        for place, name in enumerate(log.names):
            at = closed - (7 * week - 1) * day
            for hours in (0, 30):  # What is opened again counts once.
                log.open(name, at + timedelta(hours=hours), ("shoes", "attire"), model=living.model,
                         campaign=living.campaign)  # fmt: skip
            if place % 3 == 0:
                log.buy(name, "shoes", at + 2 * day)
            if place % 8 == 0 or (week == 1 and place % 2 == 0):
                log.buy(name, "attire", at + 2 * day)
    log.store()
    model = Model.load(living.shop.blobs.get(living.model))
    with living.shop.sessions.begin() as session:
        turned = drifting._turned(session, log.archive, model, closed, living.shop.now)
    assert [turn.category for turn in turned] == ["attire", "shoes"]
    assert turned[0].ratio == pytest.approx(11 / 3)
    assert turned[1].ratio == pytest.approx(1.0)
    assert turned[0].low > 1


def test_it_raises_an_alarm_when_promises_break(living: Living) -> None:
    for gap, firing in ((0.2, set()), (0.3, {"ModelPromises"})):
        found = Drift(
            limit=0.2, score=0.1, features=(("cart.lines", 0.1),), ratio=1.0 + 2 * gap, ratio_low=1.0 + gap,
            ratio_high=1.0 + 3 * gap, gap=gap, is_alarm=bool(firing), why="",
        )  # fmt: skip
        with living.shop.sessions.begin() as session:
            document = msgspec.to_builtins(found)
            session.add(ModelDrift(at=living.shop.now, model_hash=living.model, document=document))
        assert living.firing() == firing


def test_it_tells_nothing_of_a_model_that_is_new_or_decides_little(living: Living) -> None:
    assert living.judge.run()["measured"] == 0
    living.week(5, days=9, said=0.2, taken=0.4)
    assert living.judge.run()["measured"] == 0
    with living.shop.sessions.begin() as session:
        session.query(ModelMove).update({"at": living.shop.now - timedelta(days=10)})
    assert living.judge.run()["measured"] == 0
