"""`POST /v1/webhooks/shopify/<hook>` and `/v1/webhooks/woocommerce/<hook>`: what a shop tells of orders and customers.

The signature goes over the raw body and is checked before anything is read. What is signed is answered 200 once it is
in effect, also where nothing of it is kept or it cannot be understood: shops end a webhook that is refused for hours.
All of that is counted by topic, and what cannot be read is listed among the refused signals.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from flask import Blueprint, Response, current_app, jsonify, request

from base.clock import Clock
from base.db import transaction
from base.errors import InvalidInput, NotFound
from base.logs import logger
from base.settings import Settings
from signals import requests, shopify, shoporders, shops, woocommerce
from signals.intake import Intake
from signals.lanes import Lanes
from signals.providers import Forged, document
from signals.shopreading import text
from signals.shops import Outcome, Platform, Shop

_PING: Final = re.compile(rb"webhook_id=[0-9]{1,20}")
"""What WooCommerce posts, unsigned, to see whether an address answers, before it lets a webhook be active."""
_TOPIC: Final = re.compile(r"[a-z0-9_]{1,40}[/.][a-z0-9_/.]{1,60}")
_HEADS: Final[dict[Platform, tuple[str, str]]] = {
    "shopify": ("X-Shopify-Topic", "X-Shopify-Hmac-Sha256"),
    "woocommerce": ("X-WC-Webhook-Topic", "X-WC-Webhook-Signature"),
}
_log = logger("signals")
blueprint = Blueprint("shops", __name__, url_prefix="/v1/webhooks")


class ShopHooks:
    """What the calls of shops are read and settled with."""

    def __init__(self, settings: Settings, intake: Intake, clock: Clock, lanes: Lanes) -> None:
        self._key = settings.subject_key
        self._intake = intake
        self._clock = clock
        self._lanes = lanes

    def take(self, platform: Platform, hook: str) -> Outcome | None:
        """Settle the present request; None for a ping. Raises NotFound, Forged, Unavailable."""
        with self._lanes.small():
            body = requests.body_of(request)
            with transaction(self._intake.sessions) as session:
                shop = shops.shop_by_hook(session, platform, hook, self._key, self._intake.hash_key)
            if shop is None:
                raise NotFound("webhook")
            if platform == "woocommerce" and _PING.fullmatch(body):
                return None
            topic, signature = (request.headers.get(name, "") for name in _HEADS[platform])
            if not shops.is_signed(body, signature, shop.secret):
                self._count(shop, "", "forged")
                raise Forged("The signature does not fit.")
            outcome = self._settle(shop, topic if _TOPIC.fullmatch(topic) else "other", body)
            self._count(shop, topic if _TOPIC.fullmatch(topic) else "other", outcome)
            return outcome

    def _settle(self, shop: Shop, topic: str, body: bytes) -> Outcome:
        now, told = self._clock.now(), None
        try:
            told = document(body)
            if not isinstance(told, dict):
                raise InvalidInput("", "must be an object")
            read = shopify.read if shop.platform == "shopify" else woocommerce.read
            said = read(topic, told, shop)
        except InvalidInput as error:
            _log.warning("shop call unreadable", source=shop.sender.id, topic=topic, field=error.field)
            number = text(told.get("id")) if isinstance(told, dict) else ""
            shoporders.refuse(self._intake, shop, topic, number, error, now)
            return "unreadable"
        if said is None:
            return "unknown topic"
        if not said:
            return "passed"
        if said.erase:
            shoporders.ask_to_erase(self._intake, shop, topic, said.erase, now)
            return "to be erased"
        shoporders.settle(self._intake, shop, said, now)
        return "taken"

    def _count(self, shop: Shop, topic: str, outcome: Outcome) -> None:
        if outcome == "forged":
            _log.warning("shop call forged", source=shop.sender.id)
        self._intake.settle(partial(_tally, shop.sender.id, topic, outcome, self._clock))


def _tally(source: int, topic: str, outcome: Outcome, clock: Clock, session: Any) -> None:
    shops.tally(session, source, topic, outcome, clock.now())


@blueprint.post("/<any(shopify, woocommerce):platform>/<hook>")
def take(platform: Platform, hook: str) -> Response:
    """Take a shop's call. 403 when it is not signed with the shop's secret."""
    hooks: ShopHooks = current_app.extensions["shops"]
    outcome = hooks.take(platform, hook)
    return jsonify(success=True, outcome=outcome or "ping")
