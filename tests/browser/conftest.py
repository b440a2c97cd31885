"""The whole system in a folder of its own, and a real Chromium in front of it.

SCREENSHOTS=<folder> keeps the pictures that the README shows.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from base.clock import monotonic, pause
from base.processes import free_port
from base.settings import Settings
from tests.browser.visitor import Visits
from tests.campaigns.living import living
from workers.up import System

PORTS = ("WEB", "RENDER", "SIGNALS", "SMTP", "INBOX", "POSTGRES", "VALKEY")
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
_numbers = itertools.count(1)


@dataclass
class Site:
    """The running system as somebody at a browser meets it."""

    system: System
    browser: Browser
    signed_in: dict[str, Any] = field(default_factory=dict)

    @property
    def web(self) -> str:
        return self.system.settings.web_url

    def page(self, role: str, **options: Any) -> Page:
        """A browser of one's own, signed in with this role; `options` are Playwright's."""
        if role not in self.signed_in:
            self.signed_in[role] = self._sign_in(role)
        context = self.browser.new_context(
            **({"viewport": {"width": 1280, "height": 860}} | options), storage_state=self.signed_in[role]
        )
        page = context.new_page()
        page.goto(self.web)
        return page

    def _sign_in(self, role: str) -> Any:
        """The cookies of somebody who has just signed in; once a role, since tries are limited."""
        user = next(user for user in self.system.access.users if user["role"] == role)
        page = self.browser.new_context().new_page()
        page.goto(self.web)
        page.fill("#email", user["email"])
        page.fill("#password", user["password"])
        page.click("main button")
        page.wait_for_load_state("networkidle")
        return page.context.storage_state()

    def tell(self, **call: Any) -> None:
        """One call of a shop to the signals API."""
        secret = base64.b64encode(f"{self.system.access.write_key}:".encode()).decode()
        body = json.dumps({"messageId": f"browser-{next(_numbers)}"} | call).encode()
        request = urllib.request.Request(
            f"{self.system.settings.signals_url}/v1/{call['type']}",
            body,
            {"Content-Type": "application/json", "Authorization": f"Basic {secret}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert not json.load(answer).get("rejected")

    def mails(self, address: str) -> list[dict[str, Any]]:
        """What the inbox holds for an address."""
        url = f"http://127.0.0.1:{self.system.settings.inbox_port}/mails.json?to={address}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something to become true; fail naming it."""
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        pause(0.2)


def keep(page: Page, name: str) -> None:
    """Keep a screenshot where SCREENSHOTS says; else look at nothing."""
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))


@pytest.fixture(scope="module")
def site(chromium: Browser) -> Iterator[Site]:
    """Everything that `latebind up` runs, ended with the tests that want it: its loops would go on beside others."""
    folder = Path(tempfile.mkdtemp(prefix="latebind-browser-"))
    folder.chmod(0o755)
    environ = {f"LATEBIND_{name}_PORT": str(free_port()) for name in PORTS}
    # A loaded machine is no reason for a default: what deadlines do has tests of its own.
    environ |= {"LATEBIND_VAR": str(folder), "LATEBIND_RENDER_WORKERS": "1", "LATEBIND_DEADLINE_MS": "5000"}
    system = System(Settings.from_environment(environ))
    try:
        system.start()
        yield Site(system, chromium)
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def visits(chromium: Browser) -> Iterator[Visits]:
    """An installation whose people and clock the tests move, with its pages served."""
    with living("pages") as life:
        life.world.serve("campaigns")
        yield Visits(life, chromium)
