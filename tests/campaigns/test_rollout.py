"""The steps of a rollout: what each wants, what it leaves, and what the gate's word is worth."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from base import keys
from base.errors import Conflict, InvalidInput, NotFound
from campaigns import rollout
from campaigns.models.campaign import Campaign
from campaigns.models.learning import ModelVerdict
from render.plan import Canary, Live, decode_live
from tests.campaigns.enlisting import enlisted
from tests.campaigns.shop import MANAGER, Shop

OLD, NEW = {1: 0.9}, {2: 0.9}
WITH_BLOBS = ("to_shadow", "to_canary", "to_live", "roll_back")


class Campaigned:
    """A published campaign and two models."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.number = shop.campaign()
        self.old, self.new = enlisted(shop, OLD), enlisted(shop, NEW)

    def move(self, step: str, *arguments: Any, reason: str = "") -> Any:
        """Take one step; what it returns."""
        shop = self.shop
        blobs = (shop.blobs,) if step in WITH_BLOBS else ()
        with shop.sessions.begin() as session:
            return getattr(rollout, step)(
                session, shop.store, *blobs, self.number, *arguments, shop.now, MANAGER, reason
            )

    @property
    def live(self) -> Live:
        """What opens are told."""
        return decode_live(self.shop.store.get(keys.live(self.number)))  # type: ignore[arg-type]

    @property
    def states(self) -> tuple[str, str]:
        """The registry's word on both."""
        with self.shop.sessions.begin() as session:
            return rollout.trained(session, self.old).state, rollout.trained(session, self.new).state


@pytest.fixture
def here(shop: Shop) -> Campaigned:
    return Campaigned(shop)


def test_it_takes_no_step_that_is_not_due(here: Campaigned) -> None:
    with pytest.raises(Conflict, match="through the shadow first"):
        here.move("to_canary", here.new, 0.1)
    with pytest.raises(Conflict, match="nothing was live"):
        here.move("roll_back")
    with pytest.raises(Conflict, match="not on trial"):
        here.move("stop_trial", here.new)
    with pytest.raises(NotFound):
        here.move("to_shadow", "e" * 64)
    here.move("to_shadow", here.new)
    assert (here.live, here.states) == (Live(plan=here.live.plan, brand=here.live.brand), ("trained", "shadow"))
    for share in (0.0, 0.51, 7):
        with pytest.raises(InvalidInput, match="share"):
            here.move("to_canary", here.new, share)
    with pytest.raises(InvalidInput, match="longer than 500"):
        here.move("to_live", here.old, reason="because " * 80)
    here.move("to_live", here.old, reason="first")
    with pytest.raises(Conflict, match="live in this campaign already"):
        here.move("to_live", here.old, reason="again")
    with pytest.raises(Conflict, match="further than that"):
        here.move("to_shadow", here.old)
    here.move("to_canary", here.new, 0.25)
    assert (here.live.model, here.live.canary) == (here.old, Canary(here.new, 0.25))
    here.move("stop_trial", here.new)
    assert (here.live.model, here.live.canary, here.states) == (here.old, None, ("live", "trained"))


def test_it_goes_back_step_by_step_and_from_the_rules_too(here: Campaigned) -> None:
    here.move("to_live", here.old, reason="first")
    here.move("to_live", here.new, reason="second")
    here.move("to_rules", reason="all is strange")
    assert (here.live.model, here.states) == (None, ("retired", "retired"))
    assert [here.move("roll_back") for _ in range(3)] == [here.new, here.old, None]
    with pytest.raises(Conflict, match="nothing was live"):
        here.move("roll_back")


def test_it_lets_a_damaged_model_nowhere_and_leaves_what_runs(here: Campaigned) -> None:
    here.move("to_live", here.old, reason="first")
    before = here.live
    damaged = enlisted(here.shop, {}, b"not a model")
    (Path(here.shop.settings.blob_url) / here.new[:2] / here.new).write_bytes(b"rotten")
    for digest, words in ((damaged, "not a model artefact"), (here.new, "lost or damaged")):
        for step in ("to_shadow", "to_live"):
            with pytest.raises(InvalidInput, match=words):
                here.move(step, digest, reason="let us try")
    assert here.live == before


def test_it_believes_no_verdict_that_is_old_or_of_another_time(here: Campaigned) -> None:
    def tell(against: str | None) -> None:
        document = {"passes": True, "why": "It is worth more.", "evidence": []}
        with here.shop.sessions.begin() as session:
            named = {"campaign_id": here.number, "model_hash": here.new, "against": against}
            session.add(ModelVerdict(at=here.shop.now, passes=True, document=document, **named))

    here.move("to_live", here.old, reason="first")
    tell(None)
    with pytest.raises(Conflict, match="beside something else"):
        here.move("to_live", here.new)
    told_at = here.shop.now
    tell(here.old)
    here.move("to_live", here.new)
    with here.shop.sessions.begin() as session:
        assert not rollout.moves(session, digest=here.new)[0].overridden
        assert session.get_one(Campaign, here.number).model_hash == here.new
    here.move("roll_back")
    here.shop.clock.advance(timedelta(days=8))
    with pytest.raises(Conflict, match=f"last measured on {told_at:%Y-%m-%d}"):
        here.move("to_live", here.new)
