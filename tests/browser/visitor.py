"""People in front of the pages: by role, on a desktop or a phone, in light or dark, with or without scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, StorageState, ViewportSize

from campaigns import people
from tests.campaigns.living import Living
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import PASSWORD
from tests.serving import ROOT

Scheme = Literal["light", "dark"]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Resolves when all that was to be drawn is on the page: whatever it set off to load has been asked for by then."""
FADED = """() => Promise.all(document.getAnimations()
    .filter(one => one instanceof CSSTransition).map(one => one.finished.catch(() => null))).then(() => null)"""
"""Resolves when no colour is on its way to another."""
NAMES = {"manager": "Mara Manager", "support": "Sam Support", "admin": "Ada Admin"}


@dataclass
class Visitor:
    """Somebody's page. `troubles` are errors on the console and requests that failed or were refused."""

    page: Page
    url: str
    scripts: bool = True
    troubles: list[str] = field(default_factory=list)
    _loading: int = 0

    def __post_init__(self) -> None:
        self.page.on("request", lambda _request: self._load(1))
        self.page.on("requestfinished", lambda _request: self._load(-1))
        self.page.on("requestfailed", lambda _request: self._load(-1))
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))

    def _heard(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.troubles.append(f"{said.text} {said.location.get('url', '')}")

    def _load(self, more: int) -> None:
        self._loading += more

    def go(self, path: str) -> Response | None:
        """Open a page of ours and wait until nothing more is loaded and what was is drawn."""
        answer = self.page.goto(self.url + path)
        while self.scripts:
            self.page.evaluate(DRAWN)
            if self._loading <= 0:
                break
        return answer

    def press(self, name: str) -> None:
        """Press the button of this name and wait for what follows."""
        self.page.get_by_role("button", name=name, exact=True).first.click()
        self.page.wait_for_load_state("networkidle")

    def follow(self, name: str) -> None:
        """Follow the link of this name."""
        self.page.get_by_role("link", name=name).first.click()
        self.page.wait_for_load_state("networkidle")

    @property
    def text(self) -> str:
        """What the page says."""
        return self.page.inner_text("body")

    def sees_in(self, scheme: Scheme) -> None:
        """See the page that is open in another scheme."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate(DRAWN)
        self.page.evaluate(FADED)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def faults(self) -> list[Any]:
        """What axe-core finds against WCAG 2.2 AA: rule, and the elements."""
        if not self.page.evaluate("'axe' in window"):
            self.page.add_script_tag(path=AXE)
        # Of what passes it need not say where: it would look for a selector of every element on the page.
        found = self.page.evaluate(
            "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})"
            ".then(result => result.violations.map("
            "one => [one.id, one.nodes.slice(0, 3).map(node => node.target.join(' ') + ': ' + node.failureSummary)]))",
            RULES,
        )
        return list(found)

    def keep(self, name: str) -> None:
        """Keep a picture of the whole page where SCREENSHOTS names a folder."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@dataclass
class Visits:
    """The pages under their address, and who is signed in where."""

    life: Living
    chromium: Browser
    _kept: dict[str, StorageState] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.life.world.apps["campaigns"].url

    @contextmanager
    def visit(
        self,
        role: str = "",
        *,
        scheme: Scheme = "light",
        phone: bool = False,
        scripts: bool = True,
        strict: bool = True,
    ) -> Iterator[Visitor]:
        """A fresh window; with a role, signed in. `strict` False lets axe-core past the pages' own policy."""
        context = self.chromium.new_context(
            viewport=PHONE if phone else DESKTOP,
            color_scheme=scheme,
            java_script_enabled=scripts,
            bypass_csp=not strict,
            storage_state=self._signed_in(role) if role else None,
        )
        try:
            yield Visitor(context.new_page(), self.url, scripts)
        finally:
            context.close()

    def _signed_in(self, role: str) -> StorageState:
        if role not in self._kept:
            self._add(role)
            context: BrowserContext = self.chromium.new_context()
            visitor = Visitor(context.new_page(), self.url)
            visitor.go("/sign-in")
            visitor.page.fill("#email", f"{role}@example.com")
            visitor.page.fill("#password", PASSWORD)
            visitor.press("Sign in")
            assert "Sign out" in visitor.text
            self._kept[role] = context.storage_state()
            context.close()
        return self._kept[role]

    def _add(self, role: str) -> None:
        world = self.life.world
        with world.sessions.begin() as session:
            if all(user.email != f"{role}@example.com" for user in people.users(session)):
                people.create_user(
                    session, f"{role}@example.com", NAMES[role], PASSWORD, [role], world.clock.now(), MANAGER
                )
