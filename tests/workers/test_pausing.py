"""Pausing, resuming and cancelling at random moments, with senders that are lost: the accounts stay exact."""

from __future__ import annotations

import random

import pytest

from campaigns import deliveries
from tests.campaigns.shop import Shop
from tests.workers.pausing import prepared
from tests.workers.relay import Relay
from workers.sending import Sender


@pytest.mark.feature("CM-16")
def test_it_keeps_exact_accounts_whatever_is_pressed_or_lost_at_any_moment(shop: Shop, relay: Relay) -> None:
    sender = Sender(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock, handing=2)

    def lose(ids: list[int], lot: random.Random) -> None:
        """What a sender leaves that dies before it marks, or after: claimed rows, some being handed over."""
        with shop.sessions.begin() as session:
            claimed = deliveries.claim(session, lot.sample(ids, 2), "lost", shop.now)
        with shop.sessions.begin() as session:
            deliveries.hand_over(session, claimed[: lot.randrange(3)], "lost", shop.now)

    trials = prepared(shop, relay, sender, lose)
    for seed in range(15):
        trials.run(seed)
    assert sum(trials.outcomes.values()) == 15 * 4
    assert min(trials.outcomes[state] for state in ("accepted", "unknown", "skipped")) > 0, trials.outcomes
    done = {what for what, number in trials.moves.items() if number}
    assert {"pause, done", "resume, done", "cancel, done", "resume, refused"} <= done
    sender.close()
