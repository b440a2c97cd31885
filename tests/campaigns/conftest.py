"""The shop every test of campaigns works in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from base.clock import FixedClock
from base.db import Sessions
from base.settings import Settings
from base.stores import Store
from signals.products import take_products
from tests.campaigns.catalogue import ITEMS
from tests.campaigns.living import Living, living
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web


@pytest.fixture
def shop(settings: Settings, sessions: Sessions, valkey: Store, clock: FixedClock) -> Shop:
    """An empty shop on the test's own database and key space."""
    return Shop(settings, sessions, valkey, clock)


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """A shop whose source told of four products."""
    assert take_products(shop.intake, shop.source, ITEMS, shop.now).refused == 0
    return shop


@pytest.fixture
def web(shop: Shop) -> Iterator[Web]:
    """The web process on that shop."""
    made = Web(shop)
    yield made
    made.close()


@pytest.fixture(scope="package")
def life() -> Iterator[Living]:
    """A running installation that the tests of audits, previews and reports share."""
    with living("audit") as made:
        yield made
