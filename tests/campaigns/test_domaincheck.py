"""The self-check of a render address, put to TLS servers that are right and wrong in every way it knows."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from werkzeug.serving import make_server

from base.environment import environment
from base.settings import Settings
from base.tokens import TokenKeys
from campaigns.domaincheck import addresses, examine
from render.app import create_app
from tests.authority import NOW, Authority
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web
from tests.serving import serving

App = Callable[..., Any]


class Place(NamedTuple):
    """What is needed to serve the render app by TLS, and to look at it."""

    app: App
    authority: Authority
    tokens: TokenKeys

    def check(
        self, app: App | None = None, host: str = "localhost", days: int = 200, *, trusted: bool = True
    ) -> dict[str, tuple[bool, str]]:
        """What is found at https://localhost, served by this app with such a certificate."""
        context = self.authority.certificate(host, days)
        server = make_server("127.0.0.1", 0, app or self.app, threaded=True, ssl_context=context)
        authority = str(self.authority.path) if trusted else None
        with serving(server):
            url = f"https://localhost:{server.server_port}"
            found = examine(url, self.tokens, NOW, ssl.create_default_context(cafile=authority))
            return {one.check: (one.well, one.words) for one in found}


@pytest.fixture
def place(settings: Settings, valkey: object, tmp_path: Path) -> Iterator[Place]:
    app = create_app(replace(settings, deadline_ms=5000))
    yield Place(app, Authority(tmp_path), TokenKeys.from_settings(settings))
    app.extensions["parts"].close()


def changed(app: App, change: Callable[[str, list[tuple[str, str]]], tuple[str, list[tuple[str, str]]]]) -> App:
    """The app behind something that changes its answers."""

    def behind(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        return app(environ, lambda status, headers, *rest: start(*change(status, headers), *rest))

    return behind


@pytest.mark.feature("OP-12")
def test_it_finds_a_sound_address_well_in_every_step(place: Place) -> None:
    found = place.check()
    assert [(check, well) for check, (well, _) in found.items()] == [
        ("name", True), ("certificate", True), ("picture", True), ("one-click", True),
    ]  # fmt: skip
    assert f"until {NOW + timedelta(days=200):%Y-%m-%d}" in found["certificate"][1]


@pytest.mark.feature("OP-12")
@pytest.mark.parametrize(
    ("served", "words"),
    [
        ({"days": -3}, "has expired"),
        ({"days": 5}, "runs out on"),
        ({"host": "pictures.example.com"}, "is not for localhost"),
        ({"trusted": False}, "cannot be trusted"),
    ],
)
def test_it_says_what_is_wrong_with_a_certificate(place: Place, served: dict[str, Any], words: str) -> None:
    found = place.check(**served)
    assert list(found) == ["name", "certificate"]
    assert found["certificate"][0] is False
    assert words in found["certificate"][1]


@pytest.mark.feature("OP-12")
def test_it_says_what_is_wrong_with_the_answers(place: Place) -> None:
    moved = changed(place.app, lambda _, headers: ("301 Moved", [*headers, ("Location", "https://www.example.com/x")]))
    kept = changed(place.app, lambda status, headers: (
        status, [(name, "max-age=3600" if name == "Cache-Control" else value) for name, value in headers],
    ))  # fmt: skip
    tagged = changed(place.app, lambda status, headers: (status, [*headers, ("ETag", '"x"')]))
    other = changed(place.app, lambda status, headers: (status, [("Content-Type", "text/html")]))
    away = changed(place.app, lambda _, headers: ("404 Not Found", headers))
    for app, wrong, words in (
        (moved, {"picture", "one-click"}, "is redirected to www.example.com"),
        (kept, {"picture"}, "without Cache-Control: no-store"),
        (tagged, {"picture"}, "with ETag"),
        (other, {"picture"}, "text/html"),
        (away, {"picture", "one-click"}, "answered with 404"),
    ):
        found = place.check(app)
        assert {check for check, (well, _) in found.items() if not well} == wrong
        assert words in found["picture"][1]


@pytest.mark.parametrize(
    ("url", "check", "words"),
    [
        ("https://no-such-host.invalid", "name", "cannot be resolved"),
        ("http://localhost", "certificate", "is not encrypted"),
        ("https://localhost:1", "certificate", "does not answer"),
    ],
)
def test_it_stops_at_what_everything_else_stands_on(url: str, check: str, words: str) -> None:
    tokens = TokenKeys({1: b"k" * 64}, 1)
    *before, last = examine(url, tokens, NOW)
    assert (all(found.well for found in before), last.check, last.well) == (True, check, False)
    assert words in last.words


def test_it_gives_a_brand_the_address_that_the_settings_name_for_it(settings: Settings) -> None:
    read = Settings.from_environment({
        "LATEBIND_RENDER_URL": "https://r.example.com/",
        "LATEBIND_BRAND_URLS": "Stride=https://img.stride.example/,Ex=https://img.stride.example",
    })  # fmt: skip
    assert Settings.from_environment(environment(read)) == read
    assert read.render_base("Stride") == "https://img.stride.example"
    assert read.render_base("") == "https://r.example.com"
    assert [(one.url, one.brands) for one in addresses(read)] == [
        ("https://r.example.com", ("",)), ("https://img.stride.example", ("Stride", "Ex")),
    ]  # fmt: skip


def test_it_is_shown_to_admins_on_a_page_and_by_the_api(shop: Shop, web: Web) -> None:
    page = web.desk("admin").get("/system/addresses")
    assert page.status_code == 200
    assert "is not encrypted" in page.text
    (address,) = web.program("admin").told("GET", "/system/addresses")["addresses"]
    assert address["url"] == shop.settings.render_url
    assert [(one["check"], one["well"]) for one in address["checks"]] == [("name", True), ("certificate", False)]
    assert web.program("manager").call("GET", "/system/addresses").status_code == 403
