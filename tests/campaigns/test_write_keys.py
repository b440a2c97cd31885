"""A write key within calls: pages, the API and the copy of all that is kept of somebody never show it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from signals import reading, writekeys
from signals.intake import take
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told

KEY = "shop-secret_KEY-77"


def sent(shop: Shop, *calls: dict[str, Any] | bytes) -> list[str]:
    """Calls that carry the key they come by; what became of each."""
    bodies = [call if isinstance(call, bytes) else msgspec.json.encode(call | {"writeKey": KEY}) for call in calls]
    return [outcome.status for outcome in take(shop.intake, shop.source, bodies, shop.now)]


@pytest.mark.parametrize("earlier", [True, False], ids=["stored with it, as before", "stored now"])
def test_nobody_is_shown_a_write_key_that_came_in_a_call(
    shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch, *, earlier: bool
) -> None:
    (ann,) = shop.people("ann")
    view = {"type": "track", "event": "Product Viewed", "userId": "ann", "timestamp": "2025-01-05T10:00:00Z"}
    first, second = view | {"messageId": "m1"}, view | {"messageId": "m1", "event": "Product Shared"}
    with monkeypatch.context() as before:
        if earlier:
            before.setattr(writekeys, "dropped", lambda call: False)
            before.setattr(reading, "without", lambda body: body)
        assert sent(shop, first, second) == ["accepted", "conflict"]
        broken = f'{{"type": "track", "userId": "ann", "writeKey": "{KEY}", "event": }}'.encode()
        assert sent(shop, view | {"event": " "}, {"batch": [view | {"writeKey": KEY}], "userId": "ann"}, broken) == [
            "rejected", "rejected", "rejected",
        ]  # fmt: skip
    assert sent(shop, first) == ["duplicate"]

    admin = web.program("admin")
    listed = admin.told("GET", "/signals")["signals"]
    shown = [(one["kind"], one["number"]) for one in listed if one["name"] not in ("identify", "Consent Changed")]
    assert sorted(kind for kind, _ in shown) == ["contradicting", "refused", "refused", "refused", "taken"]
    for kind, number in shown:
        for answer in (
            admin.call("GET", f"/signals/{kind}/{number}"),
            web.desk("admin").get(f"/stream/{kind}/{number}"),
            web.desk("support").get(f"/stream/{kind}/{number}"),
        ):
            assert answer.status_code == 200
            assert KEY not in answer.text, (kind, number)
    copy = admin.call("GET", f"/customers/{ann}/export")
    kept = told(copy)
    assert [len(kept[part]) for part in ("signals", "contradictions", "refused")] == [3, 1, 3]
    assert KEY not in copy.text
    assert "Product Viewed" in str(kept["signals"])
    copy.close()
