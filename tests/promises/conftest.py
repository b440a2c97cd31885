"""One world for all suites: whoever kills a part of it starts it again, whoever moves its clock moves it on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.promises.ground import DEADLINE_MS, Ground, grounded
from tests.promises.world import World
from tests.serving import Served


@pytest.fixture(scope="package")
def ground() -> Iterator[Ground]:
    """The world with what it stands on, to be broken and mended."""
    with grounded("promise", fsync=False) as made:
        yield made


@pytest.fixture
def world(ground: Ground) -> World:
    """The running world. No deadline is in the way of its opens: this machine runs other things too."""
    return ground.world


@pytest.fixture(scope="package")
def prompt(ground: Ground) -> Served:
    """A render process beside the others, with the deadline of production."""
    return ground.world.serve("prompt render", deadline_ms=DEADLINE_MS, render_workers=1)
