"""A shop with a relay, a sender and a schedule loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from base.blobs import blobs_from
from base.clock import FixedClock
from base.db import Sessions
from base.settings import Settings
from base.stores import Store
from render.app import create_app
from tests.campaigns.shop import Shop
from tests.workers.opens import Opens
from tests.workers.peergateway import PeerGateway, peer_gateway
from tests.workers.post import Post
from tests.workers.relay import Relay
from tests.workers.texting import Texting
from workers import jobs
from workers.schedule import Scheduler
from workers.sending import Sender


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay that accepts everything until told otherwise."""
    made = Relay()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def shop(settings: Settings, sessions: Sessions, valkey: Store, clock: FixedClock, relay: Relay) -> Shop:
    """An empty shop that sends through the relay."""
    return Shop(replace(settings, smtp_url=relay.url), sessions, valkey, clock)


@pytest.fixture
def sender(shop: Shop) -> Iterator[Sender]:
    """The sender of this process, also for jobs."""
    made = Sender(shop.settings, shop.sessions, shop.store, blobs_from(shop.settings), shop.clock)
    forget = jobs.set_up(made)
    yield made
    forget()
    made.close()


@pytest.fixture
def scheduler(shop: Shop) -> Scheduler:
    """A schedule loop; the queues live in the test's key space."""
    return Scheduler(shop.settings, shop.sessions, shop.store, shop.queues, blobs_from(shop.settings), shop.clock)


@pytest.fixture
def opens(shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender) -> Iterator[Opens]:
    """Readers and a recorder; the render app runs in this process, without a deadline in its way."""
    app = create_app(replace(shop.settings, deadline_ms=5000), shop.clock)
    yield Opens(shop, relay, scheduler, app.test_client())
    app.extensions["parts"].close()


@pytest.fixture
def peer() -> Iterator[PeerGateway]:
    """A gateway for text and push messages that misbehaves on command."""
    with peer_gateway() as made:
        yield made


@pytest.fixture
def texting(shop: Shop, scheduler: Scheduler, peer: PeerGateway) -> Texting:
    """A shop whose campaigns go by that gateway."""
    return Texting(shop, scheduler, peer)


@pytest.fixture
def post(shop: Shop, relay: Relay, scheduler: Scheduler) -> Post:
    """A shop whose mails have envelope senders of their own."""
    return Post(shop, relay, scheduler)
