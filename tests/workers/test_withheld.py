"""Effects of showing: who was kept on neutral content by lot, what is learnt from it, and when it is not enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from base.db import transaction
from campaigns.models.campaign import HoldoutAssignment
from campaigns.models.learning import ModelMove
from render.eligibility import Situation
from render.facts import Facts
from render.plan import Canary, Live
from render.scoring import contexts
from render.uplift import Uplift
from signals.candidates import MODEL_FEATURES, candidate_matrix
from tests.campaigns.shop import Shop
from tests.render import shoe_shop
from tests.workers.seen import Log
from workers import persuasion, withheld
from workers.withheld import Withheld

SHARE = 0.25


@pytest.fixture
def log(shop: Shop) -> Log:
    """An empty log."""
    return Log(shop)


def assign(log: Log, held: dict[str, bool], campaign: int = 7) -> None:
    """Who was drawn into a campaign's content holdout, long ago."""
    with log.shop.sessions.begin() as session:
        for name, is_held in held.items():
            session.add(
                HoldoutAssignment(
                    campaign_id=campaign, kind="content", profile_id=log.profiles[name], held=is_held, share=SHARE,
                    assigned_at=log.shop.now - timedelta(days=90),
                )
            )  # fmt: skip


def first_open(log: Log, name: str, days: float, *, neutral: bool = False, **changes: Any) -> None:
    """A person's first look at a mail, so many days ago; the records say what the open was decided as."""
    log.open(name, log.shop.now - timedelta(days=days), ("shoes", "attire"), **changes)
    made = log.records[-3]
    log.records[-3] = msgspec.structs.replace(
        made, open_number=1, neutral=neutral, **({"rung": "default", "reason": "content holdout"} if neutral else {})
    )


def read(log: Log, **limits: Any) -> Withheld:
    with transaction(log.shop.sessions) as session:
        return withheld.withheld(session, log.archive, log.model, log.shop.now, **limits)


def test_it_sees_what_was_withheld_as_what_was_shown(log: Log) -> None:
    shown, held, both, machine, never = "p00", "p02", "p04", "p06", "p08"
    assign(log, {shown: False, held: True, both: True, machine: False, never: True})
    assign(log, {both: True}, campaign=0)
    day, now = timedelta(days=1), log.shop.now
    first_open(log, shown, 30)
    first_open(log, held, 30, neutral=True)
    first_open(log, both, 30, neutral=True)
    first_open(log, machine, 30, lane="machine", fetch_class="scanner")
    first_open(log, shown, 20, campaign=7)
    log.buy(shown, "attire", now - 27 * day)
    log.buy(shown, "shoes", now - 22 * day)
    log.buy(held, "shoes", now - 29 * day)
    log.store()
    found = read(log)
    # Two offers each: what the open showed, and what it would have shown.
    assert (found.people(True), found.people(False), len(found)) == (1, 1, 4)
    assert found.chances[found.shown].tolist() == [1 - SHARE] * 2
    assert found.chances[~found.shown].tolist() == [SHARE] * 2
    assert found.outcomes[found.shown].tolist() == [0.0, 1.0], "shoes too late, after a week; attire within it"
    assert found.outcomes[~found.shown].tolist() == [1.0, 0.0]
    # Both like shoes and opened at the same hour, so what is known of their open is the same to the bit.
    assert found.features[found.shown].tobytes() == found.features[~found.shown].tobytes()
    bought = shoe_shop.bought(log.categories["shoes"], now - 39 * day)
    facts = Facts(state=shoe_shop.state([bought]), sent_at_ms=0, model=log.model)
    at = Situation(log.plan, facts, now - 30 * day)
    offers = [log.plan.offer_by_id[number] for number in log.offers.values()]
    assert found.features[found.shown].tobytes() == candidate_matrix(at.plain, contexts(at, offers), at.now).tobytes()


def test_it_looks_at_an_even_part_of_many(log: Log) -> None:
    names = log.names[:12]
    assign(log, {name: place % 2 == 0 for place, name in enumerate(names)})
    for place, name in enumerate(names):
        first_open(log, name, 30, neutral=place % 2 == 0)
    log.store()
    whole, part = read(log), read(log, most=2)
    assert (whole.people(True), whole.people(False)) == (6, 6)
    assert (part.people(True), part.people(False)) == (2, 2)
    assert set(part.roots.tolist()) < set(whole.roots.tolist())


def test_it_knows_what_decided_when_a_neutral_open_was_not(shop: Shop) -> None:
    number = shop.campaign()
    steps: list[tuple[str, str | None, float | None]] = [
        ("shadow", "b", None), ("live", "a", None), ("canary", "b", 0.2), ("canary", "b", 0.4), ("stop", "b", None),
        ("canary", "b", 0.1), ("live", "b", None), ("rollback", "a", None), ("rules", None, None),
    ]  # fmt: skip
    with shop.sessions.begin() as session:
        for place, (action, model, share) in enumerate(steps):
            session.add(
                ModelMove(at=shop.now + timedelta(hours=place), campaign_id=number, action=action, model_hash=model,
                          share=share, reason="", by="x")
            )  # fmt: skip
    with transaction(shop.sessions) as session:
        since, lives = withheld._reigns(session, number)
    assert lives == [
        Live(), Live(model="a"), Live(model="a", canary=Canary("b", 0.2)), Live(model="a", canary=Canary("b", 0.4)),
        Live(model="a"), Live(model="a", canary=Canary("b", 0.1)), Live(model="b"), Live(model="a"), Live(),
    ]  # fmt: skip
    assert since == [shop.now + timedelta(hours=place) for place in range(1, len(steps))]


def by_lot(people: int, moved: float, share: float = 0.3, seed: int = 1) -> Withheld:
    """People of whom a half is moved by what they are shown; those who buy most anyway are the others."""
    random = np.random.default_rng(seed)
    features = random.random((people, len(MODEL_FEATURES)), dtype=np.float32)
    shown = random.random(people) >= share
    is_moved = features[:, 0] > 0.5
    chance = np.where(is_moved, 0.10, 0.30) + moved * (is_moved & shown)
    return Withheld(
        features=features,
        shown=shown,
        outcomes=(random.random(people) < chance).astype(np.float64),
        chances=np.where(shown, 1 - share, share),
        roots=np.arange(people),
    )


@pytest.mark.feature("DE-26")
def test_it_finds_whom_showing_moves_and_not_who_buys_anyway() -> None:
    found = persuasion.learnt(by_lot(4_500, moved=0.2))
    assert found.is_used, found.why
    assert found.qini is not None
    assert found.qini.low > 0
    model = Uplift.load(found.artefact)
    others = by_lot(2_000, moved=0.2, seed=2)
    effects = model.predict(others.features)
    is_moved = others.features[:, 0] > 0.5
    assert effects[is_moved].mean() == pytest.approx(0.2, abs=0.06)
    assert effects[~is_moved].mean() == pytest.approx(0.0, abs=0.06)
    first, _, last = found.parts
    assert first.measured is not None
    assert last.measured is not None
    assert first.measured.low > last.measured.high


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (by_lot(0, 0.2), "not enough data: no campaign keeps people on neutral content"),
        (by_lot(3_000, 0.2), "1,000 of either are wanted"),
        (replace(by_lot(4_000, 0.2), outcomes=np.r_[np.ones(60), np.zeros(3_940)]), "purchases in one of the groups"),
        (by_lot(3_600, 0.0), "it cannot be told whom offers move"),
    ],
    ids=["nobody", "few people", "few purchases", "no effect"],
)
def test_it_says_what_is_missing_where_effects_cannot_be_learnt(made: Withheld, said: str) -> None:
    found = persuasion.learnt(made)
    assert (found.is_used, found.artefact) == (False, b"")
    assert said in found.why
    assert found.why.startswith("not enough data: ")
