"""The intake's app with a shop of each platform, and what they post to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from base.clock import SteppedClock
from signals.state import ProfileState
from tests.signals.sending import Desk

KEY = b"s" * 32
SECRET = "shpss_not-a-real-one"


@dataclass
class Shops:
    """The signals app with one shop of each platform."""

    http: FlaskClient
    desk: Desk
    clock: SteppedClock
    hooks: dict[str, str]
    sources: dict[str, int]

    def post(self, platform: str, topic: str, body: Any, *, secret: str = SECRET) -> TestResponse:
        """What a shop posts, signed."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        made = base64.b64encode(hmac.new(secret.encode(), data, hashlib.sha256).digest()).decode()
        names = {"shopify": "X-Shopify-Topic X-Shopify-Hmac-Sha256",
                 "woocommerce": "X-WC-Webhook-Topic X-WC-Webhook-Signature"}[platform].split()  # fmt: skip
        heads = dict(zip(names, (topic, made), strict=True))
        return self.http.post(self.hooks[platform], data=data, headers=heads, content_type="application/json")

    def told(self, platform: str, topic: str, body: Any) -> str:
        """What came of a call that is answered 200."""
        answer = self.post(platform, topic, body)
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        return str(answer.json["outcome"])

    def events(self) -> list[tuple[str, str]]:
        """The stored events about orders: names and order ids."""
        rows = self.desk.rows("SELECT name, order_id FROM event WHERE order_id IS NOT NULL ORDER BY name, message_id")
        return [(name, order) for name, order in rows]

    def state(self, user: str) -> ProfileState:
        """What is known of a customer, apart from the number of the newest signal."""
        found = self.desk.state(self.desk.root("user_id", user))
        found.version = 0
        return found

    def topics(self) -> dict[tuple[str, str], int]:
        rows = self.desk.rows("SELECT topic, outcome, number FROM shop_topic")
        return {(topic, outcome): number for topic, outcome, number in rows}
