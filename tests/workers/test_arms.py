"""A/B/n at opens: every fetch, the shadow and the replay show a person the version of their arm."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from campaigns.campaigns import ArmIn, SlotChoice
from render.plan import decode
from render.record import DecisionRecord
from render.replay import replay, same_outcome
from tests.workers.opens import Opens


@pytest.mark.feature("CM-66")
def test_it_shows_each_person_the_offers_of_their_arm_and_no_others(opens: Opens) -> None:
    shop = opens.shop
    names = [f"p{number}" for number in range(12)]
    shop.people(*names)
    red, blue, default = shop.offer(), shop.offer(), shop.offer("neutral")
    slots = [SlotChoice(slot=0, default=default, offers=[red, blue]), SlotChoice(slot=1, default=default)]
    arms = [ArmIn(name="Red", share=0.5), ArmIn(name="Blue", share=0.5, without=[red])]
    mails = opens.send_campaign(slots=slots, arms=arms)
    for _ in range(2):
        for name in names:
            opens.look(mails[name])
        shop.clock.advance(timedelta(hours=3))
    made = [one for one in opens.waiting() if isinstance(one, DecisionRecord)]
    opens.record()
    arm_of = {row.profile_id: row.arm for row in shop.ledger(opens.campaign)}
    offer_of = {profile: (red, blue)[arm] for profile, arm in arm_of.items() if arm is not None}
    assert set(offer_of.values()) == {red, blue}
    decided = opens.rows("SELECT profile_id, slots, shadow, plan_hash FROM decision")
    assert len(decided) == len(made) == 2 * len(names)
    for row in decided:
        assert row.slots["0"] == row.shadow["0"] == offer_of[row.profile_id]
    plan = decode(shop.blobs.get(decided[0].plan_hash))
    assert all(same_outcome(replay(record, plan, None), record) for record in made)
    whole = msgspec.structs.replace(plan, split=msgspec.UNSET)
    assert not all(same_outcome(replay(record, whole, None), record) for record in made)
