"""What a model on trial is worth, by lot and by logs, and what the gate makes of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from sqlalchemy import text

from campaigns.gate import Evidence, weighed
from campaigns.models.campaign import Campaign
from render.arbitration import Policy
from render.decide import decide
from render.model import Model
from render.plan import Plan
from render.record import CandidateRecord, DecisionFacts, DecisionRecord, SlotRecord
from signals import exchange, journal
from signals.exchange import Given
from signals.state import encode
from tests.render import shoe_shop as shop
from tests.workers.opens import Opens
from tests.workers.trials import Trials
from workers import outcomes, worth
from workers.counterfactual import retold
from workers.worth import compared

SEEDS = 200


def passed(seed: int, effect: float, mails: int = 6000, share: float = 0.3) -> bool:
    """Whether the gate lets a model pass whose mails earn `effect` more orders of 40 than 8 in a hundred."""
    chance = np.random.default_rng(seed)
    people = chance.integers(0, mails // 2, mails)
    drawn = chance.random(mails) < share
    bought = chance.random(mails) < 0.08 * (1 + np.where(drawn, effect, 0.0))
    cents = np.where(bought, chance.lognormal(8.2, 0.4, mails), 0.0)
    return weighed([compared(cents, drawn, people, orders=int(bought.sum()))]).passes


def test_it_stops_worse_models_and_passes_clearly_better_ones() -> None:
    worse = sum(passed(seed, -0.15) for seed in range(SEEDS))
    better = sum(passed(seed, 0.4) for seed in range(SEEDS))
    assert worse <= 0.05 * SEEDS
    assert better >= 0.8 * SEEDS


def test_it_takes_the_mails_of_one_person_together() -> None:
    chance = np.random.default_rng(3)
    people = np.repeat(np.arange(300), 20)
    drawn = chance.random(len(people)) < 0.5
    cents = np.repeat(chance.lognormal(5, 1, 300), 20)
    drawn_by_person = np.repeat(chance.random(300) < 0.5, 20)
    alike = compared(cents, drawn_by_person, people, orders=500)
    apart = compared(cents, drawn_by_person, np.arange(len(people)), orders=500)
    assert alike.high - alike.low > 4 * (apart.high - apart.low), "20 mails of one person are not 20 people"
    mixed = compared(cents, drawn, people, orders=500)
    assert mixed.low < 0 < mixed.high


@pytest.mark.parametrize(
    ("changes", "passes", "words"),
    [
        ({}, True, "no less than 2%"),
        ({"low": -2.1, "high": 9.0}, False, "may be worth more than 2% less"),
        ({"low": -2.0, "high": 9.0}, True, "no less"),
        ({"difference": -9.0, "low": -12.0, "high": -3.0}, False, "is worth less"),
        ({"effective": 99.0}, False, "99, and 100 are needed"),
        ({"orders": 29}, False, "29 credited orders, 30 are needed"),
        ({"refused": "all choices were certain"}, False, "all choices were certain"),
    ],
)
def test_it_says_why(changes: dict[str, object], passes: bool, words: str) -> None:
    base = Evidence(
        method="canary", new=103.0, present=100.0, difference=3.0, low=1.0, high=5.0, opened=900, orders=80,
        effective=200.0,
    )  # fmt: skip
    verdict = weighed([msgspec.structs.replace(base, **changes)])
    assert verdict.passes == passes
    assert words in verdict.why


def test_it_passes_nothing_on_one_finding_that_another_contradicts() -> None:
    good = Evidence(
        method="logs", present=100.0, difference=5.0, low=1.0, high=9.0, opened=900, orders=80, effective=200.0
    )
    bad = msgspec.structs.replace(good, method="canary", difference=-9.0, low=-15.0, high=-4.0)
    assert weighed([good]).passes
    assert not weighed([good, bad]).passes
    assert "nothing was measured yet" in weighed([]).why


def record_of(seed: int, policy: Policy, model: Model, slots: int) -> tuple[Plan, DecisionRecord]:
    """A decision of a plan whose slots draw, as its record tells it."""
    plan = shop.plan(mode="model", slots=slots, boots={"category": shop.SHOES, "value_cents": 900})
    offers = tuple(msgspec.structs.replace(one, value_cents=one.value_cents or 1000) for one in plan.offers)
    drawing = tuple(msgspec.structs.replace(slot, policy=policy) for slot in plan.slots)
    plan = msgspec.structs.replace(plan, slots=drawing, offers=offers)
    state = shop.state()
    decision = decide(plan, shop.facts(state, model=model), shop.NOON, seed)
    made = DecisionRecord(
        id="d", at_ms=shop.NOON_MS, profile=1, campaign=7, occurrence=1, lane="live", open_number=1, plan="p",
        model=model.hash, seed=seed, rung="model", sent_ms=shop.SENT_MS, propensity=decision.propensity,
        slots=tuple(
            SlotRecord(one.slot, one.offer, one.creative, one.propensity,
                       msgspec.convert(msgspec.to_builtins(one.candidates), tuple[CandidateRecord, ...]),
                       one.margin, one.held, one.product, one.policy)
            for one in decision.slots
        ),
        products={"tights-1": msgspec.msgpack.encode(shop.product())},
        personal=DecisionFacts(state=encode(state), fields=tuple(one.fields for one in decision.slots)),
    )  # fmt: skip
    return plan, made


@pytest.mark.parametrize("slots", [1, 2])
def test_it_tells_how_likely_another_model_shows_the_same(slots: int) -> None:
    policy = Policy(kind="epsilon", epsilon=0.4, top=3)
    old = Model.load(shop.model_bytes())
    new = Model.load(shop.model_bytes({shop.SHOES: 0.1, shop.ATTIRE: 0.9}))
    told, seen = {}, Counter[tuple[int, ...]]()
    for seed in range(600):
        plan, made = record_of(seed * 7919, policy, old, slots)
        shown = tuple(slot.offer for slot in made.slots)
        found = retold(made, plan, new)
        told[shown] = found.chance
        seen[tuple(slot.offer for slot in found.decision.slots)] += 1
        assert found.unsupported == pytest.approx(0.0), "each of the best three has a chance with both"
        assert retold(made, plan, old).chance == pytest.approx(made.propensity)
    assert len(told) > 2
    for shown, chance in told.items():
        assert seen[shown] / 600 == pytest.approx(chance, abs=0.07)
    assert sum(told.values()) == pytest.approx(1.0)

    plan, made = record_of(1, Policy(), old, slots)
    certain = retold(made, plan, new)
    assert (certain.chance, certain.unsupported) == (0.0, 1.0), "greedy: another choice had no chance"
    assert retold(made, plan, old)[1:] == (1.0, 0.0)


def test_it_measures_a_canary_by_the_mails_that_were_drawn_for_it(opens: Opens) -> None:
    trials = Trials(opens, 14)
    trials.move("to_shadow", trials.likes_attire)
    trials.move("to_canary", trials.likes_attire, 0.5)
    trials.look()
    new: list[str] = []
    old: list[str] = []
    for name, mail in trials.mails.items():
        model, _ = trials.decided()[mail.token.profile]
        (new if model == trials.likes_attire else old).append(name)
    assert new
    assert old, "the rules decide the others"
    trials.shop.clock.advance(timedelta(minutes=1))
    for name, times in ((new[0], 2), (old[0], 1)):
        for number in range(times):
            trials.shop.send(trials.shop.order(name, "attire", trials.shop.now, f"{name}-{number}"))
    with opens.shop.sessions.begin() as session:
        outcomes.credit(session, trials.shop.intake.categories, journal.newest(session), trials.shop.now)
    trials.shop.clock.advance(timedelta(days=8))
    with opens.shop.sessions.begin() as session:
        row = session.get_one(Campaign, trials.campaign)
        early = worth.of_canary(session, row, trials.shop.now)
        found = worth.of_canary(session, row, trials.shop.now + timedelta(days=2))
        logs = worth.of_logs(session, row, trials.likes_attire, trials.shop.now + timedelta(days=2))
    assert early is not None
    assert early.refused == "no mail of each kind was opened", "late orders are waited for"
    assert found is not None
    assert (found.opened, found.orders) == (14, 3)
    assert found.new == pytest.approx(2 * 2000 / len(new))
    assert found.present == pytest.approx(2000 / len(old))
    assert found.low < found.difference < found.high
    with opens.shop.sessions.begin() as session:
        session.execute(text("UPDATE outcome SET currency = 'usd' WHERE cents > 0"))
        exchange.set_own(session, "EUR", trials.shop.now)
        unknown = worth.of_canary(session, row, trials.shop.now + timedelta(days=2))
        rates = list(exchange.read_rates(["currency,day,rate", "USD,2026-01-01,0.5"], "EUR", Given()))
        exchange.give(session, rates, "EUR", Given())
        halved = worth.of_canary(session, row, trials.shop.now + timedelta(days=2))
    assert unknown is not None
    assert halved is not None
    assert (unknown.orders, unknown.new, unknown.present) == (3, 0.0, 0.0)
    assert (halved.new, halved.present) == (found.new / 2, found.present / 2)
    assert logs.refused == "no open of people has its outcome yet", "none was decided once more yet"
    assert trials.judge.run()["asked"] == 1
    with opens.shop.sessions.begin() as session:
        row = session.get_one(Campaign, trials.campaign)
        logs = worth.of_logs(session, row, trials.likes_attire, trials.shop.now + timedelta(days=2))
    assert logs.opened == len(old)
    assert "certain" in str(logs.refused), "nothing was explored, so nothing is known"
