"""Replenishment: who is due to restock by their own rhythm, each due item once."""

from __future__ import annotations

import threading
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select

from campaigns import audience
from campaigns.campaigns import Replenish
from campaigns.models import Delivery, ReplenishEntry
from tests.campaigns.shop import Shop

COFFEE = Replenish(categories=["coffee"], ratio=1.0, until=3.0)


def rhythm(shop: Shop, name: str, category: str, every: int, last: int, orders: int = 5) -> None:
    """Orders `every` so many days, the newest `last` days ago."""
    days = [last + every * number for number in range(orders)]
    shop.send(*(shop.order(name, category, shop.now - timedelta(days=day)) for day in sorted(days, reverse=True)))


def freeze(shop: Shop, campaign: int, occurrence: int) -> set[int]:
    """Freeze a run; who gets a mail."""
    with shop.sessions.begin() as session:
        audience.freeze(session, campaign, occurrence, shop.now, shop.settings.hash_key)
        query = select(Delivery.profile_id).where(
            Delivery.campaign_id == campaign, Delivery.occurrence == occurrence, Delivery.state == "queued"
        )
        return set(session.scalars(query))


def entries(shop: Shop, campaign: int) -> list[tuple[int, int]]:
    """The due items entered: (profile, run)."""
    with shop.sessions.begin() as session:
        rows = session.scalars(select(ReplenishEntry).where(ReplenishEntry.campaign_id == campaign)).all()
        return sorted((row.profile_id, row.occurrence) for row in rows)


@pytest.mark.feature("CM-20")
def test_it_mails_who_is_due_by_their_own_rhythm(shop: Shop) -> None:
    weekly, _fresh, _rare, _few, _late, both = shop.people("weekly", "fresh", "rare", "few", "late", "both")
    rhythm(shop, "weekly", "coffee", every=7, last=8)
    rhythm(shop, "fresh", "coffee", every=7, last=3)
    rhythm(shop, "rare", "coffee", every=30, last=20)
    rhythm(shop, "few", "coffee", every=7, last=8, orders=2)  # two purchases are no rhythm yet
    rhythm(shop, "late", "coffee", every=7, last=40)  # past `until`: they buy elsewhere
    rhythm(shop, "both", "coffee", every=7, last=7)
    rhythm(shop, "both", "soap", every=10, last=12)
    campaign = shop.campaign(
        kind="replenishment", replenish=msgspec.structs.replace(COFFEE, categories=["coffee", "soap"])
    )
    assert freeze(shop, campaign, 1) == {weekly, both}
    assert entries(shop, campaign) == sorted([(weekly, 1), (both, 1), (both, 1)])


@pytest.mark.feature("CM-20")
def test_it_enters_a_due_item_once_however_many_signals_and_runs_come(shop: Shop) -> None:
    (ann,) = shop.people("ann")
    rhythm(shop, "ann", "coffee", every=7, last=8)
    campaign = shop.campaign(kind="replenishment", replenish=COFFEE)
    for start in range(0, 1000, 100):
        shop.send(
            *(
                {"type": "track", "userId": "ann", "event": "Product Viewed",
                 "properties": {"product_id": f"coffee-{start + number}", "category": "coffee"}}
                for number in range(100)
            )
        )  # fmt: skip
        assert freeze(shop, campaign, 1) == {ann}
    assert entries(shop, campaign) == [(ann, 1)]
    for occurrence in (2, 3):
        shop.clock.advance(timedelta(days=1))
        assert freeze(shop, campaign, occurrence) == set()
    assert entries(shop, campaign) == [(ann, 1)]
    # The next purchase makes a new item, due a week later.
    shop.send(shop.order("ann", "coffee", shop.now))
    assert freeze(shop, campaign, 4) == set()
    shop.clock.advance(timedelta(days=8))
    assert freeze(shop, campaign, 5) == {ann}
    assert entries(shop, campaign) == [(ann, 1), (ann, 5)]


@pytest.mark.feature("CM-20")
def test_it_enters_nobody_again_who_was_merged_into_somebody_else(shop: Shop) -> None:
    _old, ann = shop.people("old", "ann")
    rhythm(shop, "ann", "coffee", every=7, last=8)
    campaign = shop.campaign(kind="replenishment", replenish=COFFEE)
    assert freeze(shop, campaign, 1) == {ann}
    shop.send({"type": "alias", "userId": "old", "previousId": "ann"})
    assert shop.profile("ann") != ann
    assert freeze(shop, campaign, 2) == set()


def test_it_enters_an_item_once_when_runs_are_frozen_at_the_same_time(shop: Shop) -> None:
    (ann,) = shop.people("ann")
    rhythm(shop, "ann", "coffee", every=7, last=8)
    campaign = shop.campaign(kind="replenishment", replenish=COFFEE)
    with shop.sessions.begin() as session:
        audience.count(session, campaign, shop.now, shop.settings.hash_key)
    barrier = threading.Barrier(4)

    def run() -> None:
        barrier.wait()
        freeze(shop, campaign, 1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entries(shop, campaign) == [(ann, 1)]
    assert len(shop.ledger(campaign)) == 1
