"""Product pictures: fetched once, kept clean, shown at the next open; failures are told and tried again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import msgspec
import pytest
from PIL import Image
from sqlalchemy import text

from base import keys
from base.blobs import blobs_from
from base.downloads import Downloads
from base.queues import QueueName, queue
from campaigns import publish
from signals import productpictures
from signals.productfacts import ProductFacts
from signals.products import Product, take_products
from tests.campaigns.shop import MANAGER, Shop
from tests.misbehaving import HTML, SVG, Misbehaving, bomb, misbehaving, photo, with_secrets
from workers import jobs
from workers.productpictures import Fetched, PictureFetcher
from workers.schedule import Scheduler
from workers.sending import Sender


@pytest.fixture
def web() -> Iterator[Misbehaving]:
    """The server that the feed's links lead to."""
    with misbehaving() as server:
        yield server


@pytest.fixture
def fetcher(shop: Shop) -> PictureFetcher:
    """A fetcher that may reach this machine."""
    downloads = Downloads(loopback=True, seconds=2.0, named="image_link")
    return PictureFetcher(shop.intake, shop.blobs, shop.clock, get=downloads.get)


def feed(shop: Shop, **links: str | None) -> None:
    """A feed of these products with these picture links."""
    items: list[dict[str, Any]] = [
        {"id": name, "title": name, "price": "5 EUR", "availability": "in_stock", "image_link": link}
        for name, link in links.items()
    ]
    assert take_products(shop.intake, shop.source, items, shop.now).refused == 0


def shown(shop: Shop, name: str) -> str:
    """The picture that the next open shows of a product: its hash, or ""."""
    data = shop.store.get(keys.product(name))
    assert isinstance(data, bytes)
    facts = msgspec.msgpack.decode(data, type=ProductFacts)
    with shop.sessions.begin() as session:
        assert session.get_one(Product, name).image_blob == (facts.image or None)
    return facts.image


def faults(shop: Shop) -> dict[str, str]:
    """Why pictures are missing, by product."""
    with shop.sessions.begin() as session:
        return {row.product_id: row.fault for row in productpictures.failures(session, "", 100)}


def test_it_fetches_a_picture_once_and_shows_it_at_the_next_open(
    shop: Shop, web: Misbehaving, fetcher: PictureFetcher
) -> None:
    feed(shop, shoes=web.serve("/shoes.jpg", with_secrets()), socks=None)
    assert shown(shop, "shoes") == ""
    assert fetcher.run() == Fetched(kept=1)
    image = Image.open(BytesIO(shop.blobs.get(shown(shop, "shoes"))))
    assert (image.size, image.info.get("icc_profile")) == ((600, 900), None)
    feed(shop, shoes=web.url("/shoes.jpg"))
    assert fetcher.run() == Fetched()
    assert len(web.seen) == 1


def test_it_follows_a_link_that_changes_and_forgets_one_that_goes(
    shop: Shop, web: Misbehaving, fetcher: PictureFetcher
) -> None:
    feed(shop, shoes=web.serve("/1.jpg", photo()))
    fetcher.run()
    first = shown(shop, "shoes")
    feed(shop, shoes=web.serve("/2.jpg", photo(500, 500)))
    assert shown(shop, "shoes") == first
    fetcher.run()
    assert shown(shop, "shoes") not in ("", first)
    shop.clock.advance(timedelta(hours=1))
    feed(shop, shoes=None)
    assert shown(shop, "shoes") == ""


def test_it_lets_no_slow_answer_stand_for_a_link_that_changed_meanwhile(shop: Shop, web: Misbehaving) -> None:
    old, new = web.serve("/old.jpg", photo()), web.serve("/new.jpg", photo(500, 500))
    feed(shop, shoes=old)

    def overtaken(link: str) -> bytes:
        if link == old:
            feed(shop, shoes=new)
        return Downloads(loopback=True).get(link)

    fetcher = PictureFetcher(shop.intake, shop.blobs, shop.clock, get=overtaken)
    assert fetcher.run() == Fetched(kept=2)
    assert Image.open(BytesIO(shop.blobs.get(shown(shop, "shoes")))).size == (500, 500)


def test_it_keeps_the_reason_of_every_failure(shop: Shop, web: Misbehaving, fetcher: PictureFetcher) -> None:
    feed(
        shop,
        lies=web.serve("/lies.jpg", HTML),
        drawn=web.serve("/drawn.svg", SVG, "image/svg+xml"),
        bomb=web.serve("/bomb.png", bomb(30_000, 30_000), "image/png"),
        wide=web.serve("/wide.png", bomb(50_000, 40), "image/png"),
        short=web.serve("/short.jpg", photo()[:3000]),
        inside=web.redirect("/inside.jpg", "http://169.254.169.254/latest/meta-data/"),
        slow=web.drip("/slow.jpg"),
        good=web.serve("/good", photo(fmt="WEBP"), "text/plain"),
    )
    assert fetcher.run() == Fetched(kept=1, failed=7)
    assert faults(shop) == {
        "lies": "is not a picture in JPEG, PNG, GIF or WebP",
        "drawn": "is not a picture in JPEG, PNG, GIF or WebP",
        "bomb": "has more than 20 million pixels",
        "wide": "is 50,000 by 40 pixels; a side may have at most 12,000",
        "short": "is cut off or damaged",
        "inside": "leads to an address that is not on the public internet",
        "slow": "took longer than 2 seconds",
    }
    assert shown(shop, "good")
    assert not any(shown(shop, name) for name in faults(shop))


def test_it_tries_again_later_and_then_no_more(shop: Shop, web: Misbehaving, fetcher: PictureFetcher) -> None:
    feed(shop, shoes=web.serve("/shoes.jpg", HTML))
    tries = 0
    for _ in range(40):
        assert fetcher.run().failed <= 1
        tries = len(web.seen)
        shop.clock.advance(timedelta(hours=6))
    assert tries == len(productpictures.BACK_OFF) + 1
    web.serve("/shoes.jpg", photo())
    with shop.sessions.begin() as session:
        assert productpictures.try_again(session, ["shoes"], shop.now) == 1
    assert fetcher.run() == Fetched(kept=1)
    assert faults(shop) == {}


def test_it_tries_failed_pictures_again_when_an_offer_with_them_is_published(
    shop: Shop, web: Misbehaving, fetcher: PictureFetcher
) -> None:
    feed(shop, shoes=web.serve("/shoes.jpg", HTML))
    fetcher.run()
    assert fetcher.run() == Fetched()
    offer, default = shop.offer(product="shoes"), shop.offer("neutral")
    slots = [{"slot": 0, "default": default, "offers": [offer]}, {"slot": 1, "default": default, "offers": []}]
    number = shop.campaign(published=False)
    with shop.sessions.begin() as session:
        session.execute(
            text("UPDATE campaign SET slots = CAST(:slots AS jsonb) WHERE id = :id"),
            {"id": number, "slots": msgspec.json.encode([{"mode": "rules"} | slot for slot in slots]).decode()},
        )
    with shop.sessions.begin() as session:
        publish.publish(session, shop.store, shop.blobs, number, shop.now, MANAGER, is_sending=False)
    web.serve("/shoes.jpg", photo())
    assert fetcher.run() == Fetched(kept=1)


def test_it_keeps_a_picture_that_a_person_uploaded(shop: Shop, web: Misbehaving, fetcher: PictureFetcher) -> None:
    feed(shop, shoes=web.serve("/1.jpg", photo()))
    fetcher.run()
    with shop.sessions.begin() as session:
        productpictures.upload(session, "shoes", "f" * 64, shop.now)
    shop.clock.advance(timedelta(hours=1))
    feed(shop, shoes=web.serve("/2.jpg", photo(500, 500)))
    assert fetcher.run() == Fetched()
    assert shown(shop, "shoes") == "f" * 64


def test_it_takes_up_what_a_killed_worker_left(shop: Shop, web: Misbehaving, fetcher: PictureFetcher) -> None:
    feed(shop, shoes=web.serve("/shoes.jpg", photo()))
    with shop.sessions.begin() as session:
        assert len(productpictures.claim(session, shop.now, 10)) == 1
    assert fetcher.run() == Fetched()
    shop.clock.advance(productpictures.LEASE)
    assert fetcher.run() == Fetched(kept=1)


def test_it_bounds_what_one_job_does(shop: Shop, web: Misbehaving) -> None:
    feed(shop, **{f"p{number}": web.url("/none") for number in range(9)})
    calls: list[str] = []

    def counted(link: str) -> bytes:
        calls.append(link)
        return HTML

    assert PictureFetcher(shop.intake, shop.blobs, shop.clock, get=counted).run(most=4).failed == 4
    assert len(calls) == 4


def test_it_has_the_schedule_loop_enqueue_one_job_that_a_worker_runs(
    shop: Shop, web: Misbehaving, fetcher: PictureFetcher, sender: Sender, scheduler: Scheduler
) -> None:
    feed(shop, shoes=web.serve("/shoes.jpg", photo()))
    for _ in range(11):
        scheduler.tick()
    work = queue(QueueName.WORK, shop.queues)
    assert work.count == 1
    forget = jobs.set_up(sender, fetcher)
    jobs.work(QueueName.WORK, shop.queues, burst=True)
    forget()
    assert shown(shop, "shoes")
    assert blobs_from(shop.settings).exists(shown(shop, "shoes"))
    for _ in range(6):
        scheduler.tick()
    assert work.count == 0
