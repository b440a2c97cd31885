"""The kept counts of the ledger are those of its rows after every move, and can be made anew from them."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

from sqlalchemy import delete, text

from campaigns import accounting, deliveries, settling, tally, transitions
from campaigns.models import Delivery, DeliveryCount, SentFacts
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from workers.schedule import Scheduler
from workers.sending import Sender


def counted(shop: Shop, campaign: int) -> dict[tuple[str, str], int]:
    """The rows themselves, counted."""
    return dict(Counter((row.state, row.reason or "") for row in shop.ledger(campaign)))


def kept(shop: Shop, campaign: int) -> dict[tuple[str, str], int]:
    """What the ledger says without counting."""
    with shop.sessions.begin() as session:
        return tally.counts(session, campaign)


def test_it_keeps_the_counts_of_the_rows_through_every_move(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people(*(f"p{number}" for number in range(40)))
    shop.people("deaf", consent=False)
    campaign = shop.campaign(needs_consent=["email"])
    relay.at_rcpt = lambda name: {"p1": "550 5.1.1 gone", "p2": "451 4.3.0 later"}.get(name.partition("@")[0], "")
    relay.at_dot = lambda name: "drop" if name.startswith("p3@") else ""
    shop.schedule(campaign)
    scheduler.tick()
    assert kept(shop, campaign) == counted(shop, campaign) == {("queued", ""): 40, ("skipped", "no_consent"): 1}
    ids = [row.id for row in shop.ledger(campaign)]
    sender.send(ids[:20])
    assert kept(shop, campaign) == counted(shop, campaign)
    with shop.sessions.begin() as session:
        rows = deliveries.claim(session, ids[20:30], "lost", shop.now)
    assert kept(shop, campaign)[("claimed", "")] == 10
    with shop.sessions.begin() as session:
        deliveries.release(session, rows[:5])
        lost = next(row.id for row in accounting.listing(session, campaign, state="unknown"))
        settling.resolve(session, lost, "failed", shop.now, MANAGER)
        tally.fold(session)
    shop.clock.advance(timedelta(hours=1))
    scheduler.tick()
    assert kept(shop, campaign) == counted(shop, campaign)
    with shop.sessions.begin() as session:
        waiting = accounting.account(session, campaign)["queued"]
        assert transitions.cancel(session, campaign, shop.now, MANAGER) == waiting > 20
        tally.fold(session)
    assert kept(shop, campaign) == counted(shop, campaign)
    with shop.sessions.begin() as session:
        session.execute(delete(DeliveryCount))
        assert tally.counts(session, campaign) == {}
        tally.rebuild(session, campaign)
    assert kept(shop, campaign) == counted(shop, campaign)
    with shop.sessions.begin() as session:
        session.execute(delete(SentFacts))
        session.execute(delete(Delivery).where(Delivery.campaign_id == campaign))
    assert kept(shop, campaign) == {}


def test_it_loses_no_count_while_others_move_fold_and_rebuild(shop: Shop, scheduler: Scheduler) -> None:
    shop.people(*(f"p{number}" for number in range(60)))
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    over = threading.Event()

    def keep() -> None:
        rounds = 0
        while not over.is_set():
            with shop.sessions.begin() as session:
                tally.rebuild(session, campaign) if rounds % 3 == 0 else tally.fold(session)
            rounds += 1

    def move(part: list[int]) -> None:
        for _ in range(15):
            with shop.sessions.begin() as session:
                claimed = deliveries.claim(session, part, "mover", shop.now)
            with shop.sessions.begin() as session:
                deliveries.release(session, claimed)

    keepers = [threading.Thread(target=keep) for _ in range(2)]
    movers = [threading.Thread(target=move, args=(ids[start::3],)) for start in range(3)]
    for thread in (*keepers, *movers):
        thread.start()
    for thread in movers:
        thread.join()
    over.set()
    for thread in keepers:
        thread.join()
    assert kept(shop, campaign) == {("queued", ""): 60}
    with shop.sessions.begin() as session:
        tally.fold(session)
        assert session.scalar(text("SELECT count(*) FROM delivery_count")) == 1
