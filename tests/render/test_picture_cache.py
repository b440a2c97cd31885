"""Pictures are kept by what they show: equal ones are drawn once, whoever asks, and the memory they take is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from base.blobs import FolderBlobs
from base.clock import FixedClock, monotonic
from base.ids import Delivery
from render.cache import Picture, PictureCache
from render.creative import Palette
from render.fonts import Fonts
from render.parts import Parts
from render.pictures import Pictures, Wanted
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import CREATIVE, state

READERS = 12


@pytest.mark.feature("OP-08")
def test_it_draws_what_many_want_at_once_a_single_time(app: Flask, mail: Mail, parts: Parts) -> None:
    drawn = parts.metrics.total("drawings")
    paths = []
    for profile in range(1, READERS + 1):
        mail.know(state(), profile=profile)
        mail.delivery = Delivery(profile, 7, 1)
        paths.append(mail.url())
    together = Barrier(READERS)

    def fetch(path: str) -> bytes:
        client = app.test_client()
        together.wait()
        body: bytes = client.get(path, headers=browser()).data
        return body

    with ThreadPoolExecutor(READERS) as pool:
        bodies = set(pool.map(fetch, paths))
    assert len(bodies) == 1
    assert parts.metrics.total("drawings") == drawn + 1
    assert {made.sha256 for made in mail.fetches()} == {Picture(bodies.pop(), "").sha256}
    # Everybody after them is served from memory: the share that is can be read off /metrics.
    client = app.test_client()
    for path in paths:
        client.get(path, headers=browser())
    answers = {rung: parts.metrics.total("answers", rung) for rung in ("cached", "drawn")}
    assert (sum(answers.values()), answers["cached"] >= READERS) == (2 * READERS, True)
    assert parts.metrics.total("drawings") == drawn + 1


def test_it_knows_a_design_by_its_content(tmp_path: Path) -> None:
    """Publishing anew draws nothing anew; a design of another name that looks the same is the same."""
    drawn: list[int] = []
    pictures = Pictures(Fonts.load(), FolderBlobs(tmp_path), PictureCache(), drawn=lambda: drawn.append(1))
    fields: dict[str, str | int] = {"offer.headline": "For you", "offer.unused": "a"}
    first = Wanted("plan 1", CREATIVE, fields, (600, 200), "jpg", False, "en", "USD", 200_000)
    twin = msgspec.structs.replace(CREATIVE, id=8, name="A copy")
    alike = (
        first,
        first._replace(source="plan 2"),
        first._replace(creative=twin),
        first._replace(fields=fields | {"offer.unused": "b"}),
    )
    assert len({pictures.get(wanted, monotonic() + 30).body for wanted in alike}) == len(drawn) == 1
    grey = msgspec.structs.replace(CREATIVE, palette_light=Palette(surface="#eeeeee"))
    others = (
        first._replace(source="plan 3", creative=grey),
        first._replace(fields={"offer.headline": "For all"}),
        first._replace(dark=True),
        first._replace(size=(300, 100)),
        first._replace(fmt="png"),
    )
    assert len({pictures.get(wanted, monotonic() + 30).body for wanted in (first, *others)}) == len(drawn) == 6
    pictures.close()


def test_it_hands_a_picture_over_once_and_again_after_a_week(client: FlaskClient, mail: Mail, noon: FixedClock) -> None:
    for _ in range(9):
        assert client.get(mail.url(), headers=browser()).status_code == 200
        noon.advance(timedelta(days=1))
    handed = [made.body is not None for made in mail.fetches()]
    assert handed == [True, *[False] * 6, True, False]


def test_it_keeps_no_more_bytes_than_it_may_and_what_was_shown_last() -> None:
    cache = PictureCache(max_bytes=10_000)
    for number in range(50):
        cache.put(number, Picture(bytes(1_400), "image/png"))
        assert cache.size <= 10_000
        assert cache.get(0 if number < 20 else 19) is not None or number > 20
    assert len(cache) == 5
    cache.put("huge", Picture(bytes(20_000), "image/png"))
    assert (cache.get("huge"), len(cache)) == (None, 5)
    cache.put("whole", Picture(bytes(9_000), "image/png"))
    assert (len(cache), cache.size) == (1, 9_600)
