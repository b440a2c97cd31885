"""Models on their way through a campaign: shadow, canary, live, and back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from base import keys
from base.errors import Conflict
from base.ids import Delivery
from campaigns import rollout
from render.plan import Canary
from render.trial import takes_part
from tests.campaigns.shop import MANAGER
from tests.promises.world import until
from tests.workers.opens import Opens
from tests.workers.trials import Trials


def states(trials: Trials) -> dict[str, str]:
    rows = trials.opens.rows("SELECT hash, state FROM model")
    return {row.hash: row.state for row in rows}


@pytest.mark.feature("DE-23")
def test_it_leads_a_model_from_the_shadow_to_live_and_back_with_every_decision_naming_its_model(opens: Opens) -> None:
    trials = Trials(opens, 12)
    old, new, campaign = trials.likes_shoes, trials.likes_attire, trials.campaign
    trials.move("to_live", old, reason="the first")
    shoes = trials.look()
    everybody = {mail.token.profile for mail in trials.mails.values()}
    assert trials.decided() == dict.fromkeys(everybody, (old, trials.shoes))

    # In the shadow it alters nothing, not even the live key; what it would have shown is on record.
    live_key = opens.shop.store.get(keys.live(campaign))
    trials.move("to_shadow", new)
    assert opens.shop.store.get(keys.live(campaign)) == live_key
    assert trials.look() == shoes
    assert trials.decided() == dict.fromkeys(everybody, (old, trials.shoes))
    opens.shop.clock.advance(timedelta(minutes=5))
    before = opens.rows("SELECT id, public_sha256 FROM decision ORDER BY id")
    assert trials.judge.run()["asked"] == 1
    assert opens.rows("SELECT id, public_sha256 FROM decision ORDER BY id") == before
    shadows = opens.rows("SELECT slots, differs, model_hash FROM model_shadow")
    assert len(shadows) == 2 * len(everybody), "both looks of everybody, that before it began too"
    assert all(row.differs and row.model_hash == new and row.slots["0"] == trials.attire for row in shadows)
    assert states(trials) == {old: "live", new: "shadow"}

    # As a canary it decides the deliveries drawn for it, and those alone, at every open.
    trials.move("to_canary", new, 0.5)
    drawn = {one for one in everybody if takes_part(Canary(new, 0.5), Delivery(one, campaign, 1))}
    assert 0 < len(drawn) < len(everybody)
    for _ in range(2):
        trials.look()
        expected = {one: (new, trials.attire) if one in drawn else (old, trials.shoes) for one in everybody}
        assert trials.decided() == expected
    assert states(trials) == {old: "live", new: "canary"}

    # Live only by the gate's leave or with a reason, which stays on record.
    with pytest.raises(Conflict, match="gate does not let"):
        trials.move("to_live", new)
    trials.move("to_live", new, reason="the season has begun")
    trials.look()
    assert trials.decided() == dict.fromkeys(everybody, (new, trials.attire))
    assert states(trials) == {old: "retired", new: "live"}
    with opens.shop.sessions.begin() as session:
        step = rollout.moves(session, campaign_id=campaign)[0]
        assert (step.action, step.overridden, step.reason) == ("live", True, "the season has begun")

    # Back again: a process holds what it knew of the campaign for less than a second of the machine's clock.
    with opens.shop.sessions.begin() as session:
        shop = opens.shop
        rolled = rollout.roll_back(session, shop.store, shop.blobs, campaign, shop.now, MANAGER, "it sold less")
    assert rolled == old

    def is_back() -> bool:
        trials.look(fresh=False)
        return set(trials.decided().values()) == {(old, trials.shoes)}

    until(is_back, "the old model to decide", seconds=30)
    assert states(trials) == {old: "live", new: "retired"}
    actions = [row.action for row in opens.rows("SELECT action FROM model_move ORDER BY id")]
    assert actions == ["live", "shadow", "canary", "live", "rollback"]
