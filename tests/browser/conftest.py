"""A real browser on a running installation. Without Chromium the tests are skipped, except in continuous integration."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.visitor import Site
from tests.campaigns.living import Living, living


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium: the one that LATEBIND_CHROMIUM names, else the one on the path."""
    path = os.environ.get("LATEBIND_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "there is no Chromium: install it, or name it by LATEBIND_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # Chromium's own sandbox cannot be used as root; what is opened here is ours.
        made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture(scope="package")
def life() -> Iterator[Living]:
    """A running installation with its pages behind gunicorn."""
    with living("browser") as made:
        made.world.serve("campaigns")
        yield made


@pytest.fixture(scope="package")
def site(life: Living, chromium: Browser) -> Site:
    """The pages as people visit them."""
    return Site(life, chromium)
