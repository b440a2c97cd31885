"""Loops of write and read: a signal told, and the very next open, beside others who write and read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from base.clock import monotonic
from tests.promises.reader import fetch
from tests.promises.world import World


def write_and_read(world: World, readers: int, rounds: int, others: int) -> list[float]:
    """Have each reader buy, open, give back and open again, so many rounds of both, while others buy and open.

    Returns the seconds of each signal and its open together. Raises AssertionError for an open that shows what the one
    before it did, as if it did not know of the signal.
    """
    story = world.story("loop", people=readers)
    background = world.story("noise", people=others)
    seconds: list[float] = []
    done = threading.Event()

    def noise(name: str) -> None:
        while not done.is_set():
            world.tell(world.buy(name, category="socks", product="socks-1"))
            fetch(world.render.url, background.mail(name).pictures[0])

    def loop(name: str) -> None:
        path = story.mail(name).pictures[0]
        last = fetch(world.render.url, path).body
        for _ in range(rounds):
            order = world.buy(name)
            for call in (order, world.give_back(order)):
                started = monotonic()
                world.tell(call)
                answer = fetch(world.render.url, path)
                seconds.append(monotonic() - started)
                assert answer.body != last, "the open after the answer did not know of it"
                last = answer.body

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
    return seconds
