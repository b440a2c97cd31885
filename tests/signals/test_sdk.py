"""The stock SDKs of Segment and RudderStack, unchanged, against a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rudderstack.analytics
import segment.analytics

from base.settings import Settings
from tests.serving import Serve
from tests.signals.sending import Desk, address

SDKS = {"segment": segment.analytics.Client, "rudderstack": rudderstack.analytics.Client}
ORDER = {
    "order_id": "o-1",
    "total": 79.5,
    "products": [{"product_id": "p1", "category": "Running Shoes", "price": 79.5, "quantity": 1}],
}


class Sdk:
    """A client of one SDK, and the errors it reports."""

    def __init__(self, name: str, url: str, key: str = "shop") -> None:
        self.failures: list[Exception] = []
        self.client: Any = SDKS[name](write_key=key, host=url, max_retries=1, on_error=self._failed)

    def _failed(self, error: Exception, _batch: object) -> None:
        self.failures.append(error)

    def finish(self) -> None:
        """Send what is queued and end the client's thread."""
        self.client.flush()
        self.client.join()


@pytest.mark.feature("DE-01")
@pytest.mark.parametrize("name", SDKS)
def test_it_takes_every_call_of_a_stock_sdk(name: str, desk: Desk, serve: Serve, settings: Settings) -> None:
    sdk = Sdk(name, address(serve, settings, desk))
    then = datetime.now(UTC) - timedelta(days=2)
    sdk.client.identify("u1", {"email": "Ann@Example.com", "first_name": "Ann"}, timestamp=then)
    sdk.client.track("u1", "Order Completed", ORDER, timestamp=then + timedelta(hours=1))
    sdk.client.page("u1", None, None, {"url": "https://shop.example.com/"})
    sdk.client.screen("u1", "Cart")
    sdk.client.group("u1", "g1")
    sdk.client.track(None, "Product Viewed", {"product_id": "p2", "category": "Hats"}, anonymous_id="a1")
    sdk.client.alias("a1", "u1")
    sdk.finish()

    assert sdk.failures == []
    assert desk.rows("SELECT type FROM event ORDER BY id") == [
        ("identify",), ("track",), ("page",), ("screen",), ("group",), ("track",), ("alias",),
    ]  # fmt: skip
    person = desk.root("user_id", "u1")
    assert desk.root("email", "ann@example.com") == desk.root("anonymous_id", "a1") == person
    state = desk.state(person)
    assert (state.orders, state.order_cents, state.traits["first_name"]) == (1, 7950, "Ann")
    assert state.views[desk.category("hats")].n == 1


@pytest.mark.parametrize("name", SDKS)
def test_it_tells_a_stock_sdk_that_its_key_is_wrong(name: str, desk: Desk, serve: Serve, settings: Settings) -> None:
    sdk = Sdk(name, address(serve, settings, desk), key="nobody")
    sdk.client.track("u1", "Order Completed", ORDER)
    sdk.finish()

    assert len(sdk.failures) == 1
    assert desk.rows("SELECT count(*) FROM event") == [(0,)]
