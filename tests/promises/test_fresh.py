"""Fresh: when the signals API has answered 200, the very next open uses what it was told."""

from __future__ import annotations

import statistics
import threading

import pytest

from base.clock import monotonic
from tests.promises.reader import fetch
from tests.promises.world import World

ROUNDS = 100


def test_it_shows_the_thank_you_in_the_very_next_open_a_hundred_times(world: World) -> None:
    story = world.story("fresh", people=ROUNDS)
    name = story.names[0]
    started = monotonic()
    for name in story.names:
        path = story.mail(name).pictures[0]
        fetch(world.render.url, path)
        world.tell(world.buy(name))
        answer = fetch(world.render.url, path)
    print(monotonic()-started)
