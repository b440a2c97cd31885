"""Every page, as people with any screen, theme and ability meet it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Site
from tests.serving import ROOT

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
PAGES = {
    "manager": ("/", "/campaigns/", "/campaigns/new", "/offers/", "/offers/new"),
    "support": ("/customers/", "/customers/?q=nobody%40example.com"),
    "admin": ("/system/",),
}
TABS = ("audience", "message", "offers", "schedule", "results", "preview", "ledger")
CHECK = """() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})
    .then(found => found.violations.map(
        one => one.id + ': ' + one.nodes.map(node => node.html.slice(0, 160)).join(' | ')))"""


def draft(site: Site) -> str:
    """The path of a campaign that is a draft; made when there is none."""
    page = site.page("manager")
    page.goto(f"{site.web}/campaigns/?q=a+draft+with+a+name")
    if page.locator("main a.card").count() == 0:
        page.goto(f"{site.web}/campaigns/new")
        page.fill("[name=name]", "A draft with a name that is as long as names of campaigns tend to become in time")
        page.click("main form button.btn-primary")
        page.wait_for_selector("text=would be mailed now")
        return page.url.removeprefix(site.web).rsplit("/", 1)[0]
    return str(page.locator("main a.card").first.get_attribute("href"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_no_barriers(site: Site, scheme: Any) -> None:
    found: dict[str, list[str]] = {}
    tabs = tuple(f"{draft(site)}/{tab}" for tab in TABS)
    for role, paths in (PAGES | {"manager": (*PAGES["manager"], *tabs)}).items():
        page = site.page(role, color_scheme=scheme, bypass_csp=True)
        for path in paths:
            page.goto(site.web + path)
            page.wait_for_load_state("networkidle")
            page.add_script_tag(path=str(AXE))
            violations: list[str] = page.evaluate(CHECK)
            if violations:
                found[path] = violations
    assert found == {}


def test_it_fits_a_phone(site: Site) -> None:
    wide = {}
    tabs = tuple(f"{draft(site)}/{tab}" for tab in TABS)
    for role, paths in (PAGES | {"manager": (*PAGES["manager"], *tabs)}).items():
        page = site.page(role, viewport={"width": 390, "height": 844})
        for path in paths:
            page.goto(site.web + path)
            page.wait_for_load_state("networkidle")
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > 390:
                wide[path] = width
    assert wide == {}


def test_it_works_without_scripts(site: Site) -> None:
    page = site.page("manager", java_script_enabled=False)
    page.goto(f"{site.web}{draft(site)}/audience")
    page.click("text=Count now")
    assert "would be mailed now" in page.inner_text("body")
    page.goto(f"{site.web}/offers/new")
    page.fill("[name=name]", "Made without scripts")
    page.fill("[name=landing]", "https://www.example.com/")
    page.click("button:has-text('Save'):visible")
    assert "Saved." in page.inner_text("main, .page-wrapper")
