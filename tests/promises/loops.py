"""Loops of write and read: a signal told, and the very next open, beside others who write and read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from base.clock import monotonic
from tests.promises.reader import fetch
from tests.promises.world import World


@dataclass
class Loops:
    """The seconds of each signal and its open together, and how many opens were answered without what is known.

    Those had a store that did not answer in its time, as on a machine that is busy: a cheaper rung stands in (EC-16).
    """

    seconds: list[float] = field(default_factory=list)
    too_slow: int = 0


def write_and_read(world: World, readers: int, rounds: int, others: int) -> Loops:
    """Have each reader buy, open, give back and open again, so many rounds of both, while others buy and open.

    Raises AssertionError for an open in time that does not show what belongs to what was told just before it.
    """
    story = world.story("loop", people=readers)
    background = world.story("noise", people=others)
    found = Loops()
    done = threading.Event()

    def noise(name: str) -> None:
        while not done.is_set():
            world.tell(world.buy(name, category="socks", product="socks-1"))
            fetch(world.render.url, background.mail(name).pictures[0])

    def in_time(path: str) -> bytes:
        world.at_hand(path)
        return fetch(world.render.url, path).body

    def loop(name: str) -> None:
        path = story.mail(name).pictures[0]
        first = world.buy(name)
        # A thank-you names its reader, so each has a picture of their own.
        pictures = {"discount": in_time(path)}
        world.tell(first)
        pictures["thanks"] = in_time(path)
        world.tell(world.give_back(first))
        for _ in range(rounds):
            order = world.buy(name)
            for call, offer in ((order, "thanks"), (world.give_back(order), "discount")):
                slow = world.too_slow()
                started = monotonic()
                world.tell(call)
                answer = fetch(world.render.url, path)
                found.seconds.append(monotonic() - started)
                if answer.body != pictures[offer]:
                    assert world.too_slow() > slow, "the open after the answer did not know of it"
                    found.too_slow += 1

    with ThreadPoolExecutor(readers + others) as pool:
        noises = [pool.submit(noise, name) for name in background.names]
        loops = [pool.submit(loop, name) for name in story.names]
        try:
            for one in loops:
                one.result()
        finally:
            done.set()
        for one in noises:
            one.result()
    return found
