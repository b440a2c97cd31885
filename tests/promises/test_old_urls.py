"""Every URL that a released version mailed is answered by this one, after its key was rotated away from minting."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec import structs

from base import keys
from base.clock import FixedClock
from base.settings import Settings
from base.stores import Store
from base.tokens import Purpose, TokenKeys
from base.values import KEY_BYTES, TOKEN_KEY_BYTES
from render.app import create_app
from render.encode import CONTENT_TYPES
from render.plan import Live, digest, encode, encode_live
from tests.promises.ground import MONDAY
from tests.promises.minting import DELIVERIES, FOLDER
from tests.render.mail import Mail, size_of
from tests.render.shoe_shop import plan, state

RELEASED: list[dict[str, Any]] = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> Settings:
    """The keys of all released versions, and a new one that mints since."""
    old = {version["key_id"]: bytes.fromhex(version["key"]) for version in RELEASED}
    read = Settings.from_environment({"LATEBIND_VAR": str(tmp_path / "var")})
    return replace(
        read,
        redis_url=valkey_url,
        token_keys=old | {200: secrets.token_bytes(TOKEN_KEY_BYTES)},
        record_key=secrets.token_bytes(KEY_BYTES),
        deadline_ms=5000,
    )


def publish(store: Store, settings: Settings) -> None:
    """The campaigns the URLs belong to are live, and their people are known."""
    for delivery in DELIVERIES:
        made = plan_of(delivery.campaign)
        store.set(keys.plan(digest(made)), made)
        store.set(keys.live(delivery.campaign), encode_live(Live(plan=digest(made))))
        Mail(store, settings, delivery=delivery).know(state())


def plan_of(campaign: int) -> bytes:
    """The plan of the shoe shop under another campaign's number."""
    return encode(structs.replace(plan(slots=4), campaign=campaign))


def check(client: FlaskClient, url: dict[str, Any], is_live: bool) -> None:
    """One URL gets what its reader expects."""
    answer = client.get(url["path"], headers={"User-Agent": "Mozilla/5.0 (X11) Thunderbird/140.0"})
    if url["kind"] == "picture":
        assert (answer.status_code, answer.content_type) == (200, CONTENT_TYPES[url["format"]])
        assert size_of(answer.data) == tuple(url["size"])
    elif url["kind"] == "click":
        assert answer.status_code == (302 if is_live else 503)
    else:
        assert answer.status_code == 200


@pytest.mark.feature("OP-17")
@pytest.mark.parametrize("released", RELEASED, ids=[version["version"] for version in RELEASED])
def test_it_answers_every_url_of_a_released_version_after_its_key_was_rotated(
    released: dict[str, Any], valkey: Store, settings: Settings
) -> None:
    clock = FixedClock(MONDAY)
    tokens, first = TokenKeys.from_settings(settings), released["urls"][0]["path"][3:54]
    assert tokens.mint(tokens.read(first, Purpose.PICTURE)) != first, "another key mints now"
    for is_live in (True, False):
        valkey.flushdb()
        if is_live:
            publish(valkey, settings)
        app = create_app(settings, clock)
        client = app.test_client()
        try:
            neutral = client.get("/o/forged.png").data
            for url in released["urls"]:
                check(client, url, is_live)
                if url["kind"] == "picture":
                    assert client.get(url["path"]).data != neutral
        finally:
            app.extensions["parts"].close()


def test_it_has_the_urls_of_a_release() -> None:
    assert RELEASED
    kinds = {"picture", "click", "html", "view", "unsubscribe"}
    assert all({url["kind"] for url in version["urls"]} == kinds for version in RELEASED)
