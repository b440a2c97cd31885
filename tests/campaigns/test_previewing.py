"""Previews and "what now" against the endpoint: the same bytes, byte for byte, under the same facts."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from base import keys
from campaigns import offers, publish
from tests.campaigns.living import Living
from tests.campaigns.shop import MANAGER
from tests.promises.reader import GMAIL, Mail, fetch
from tests.promises.world import Story, World

_numbers = itertools.count(1)
NOW = re.compile(r'alt="The picture as it would be drawn now" src="data:image/\w+;base64,([^"]+)"')
OPEN = re.compile(r'href="(/customers/\d+/opens/[0-9a-f]{32})"')
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def drawn(world: World, mail: Mail, *, dark: bool = False) -> dict[int, str]:
    """The hashes of what the endpoint answers now, by slot."""
    paths = mail.dark if dark else mail.pictures
    return {slot: sha256(fetch(world.render.url, path, GMAIL).body) for slot, path in paths.items()}


def story(life: Living, **changes: Any) -> Story:
    """A campaign of its own, sent to one person; its hero calls them by name and the second place shows a price."""
    discount = {"fields": {"headline": "{{ profile.first_name }}, 10 % off"}} | changes.pop("discount", {})
    return life.world.story(f"look{next(_numbers)}", slots=2, discount=discount, **changes)


# --- CM-23: the preview as the campaign is written, at a time, with what might have been


def previewed(life: Living, made: Story, at: datetime, **supposed: Any) -> dict[int, str]:
    """The preview's pictures by slot, through the API."""
    asked = {"profile": made.mail().token.profile, "at": at.isoformat()} | supposed
    told = life.web.program("manager").told("POST", f"/campaigns/{made.campaign}/preview", asked)
    for slot in told["slots"]:
        assert sha256(base64.b64decode(slot["picture"])) == slot["sha256"]
        assert slot["picture"] in told["html"], "the mail around shows these very pictures"
    return {slot["slot"]: slot["sha256"] for slot in told["slots"]}


def shoes(world: World) -> int:
    return int(world.rows("SELECT id FROM category WHERE slug = 'shoes'")[0].id)


@pytest.mark.feature("CM-23")
@pytest.mark.parametrize("opened_before", [False, True], ids=["first open", "opened before"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_previews_what_the_endpoint_serves_had_they_bought(life: Living, opened_before: bool, dark: bool) -> None:
    world, made = life.world, story(life)
    if opened_before:
        drawn(world, made.mail())
    at = world.clock.now() + 2 * MINUTE
    ahead = previewed(life, made, at, bought=[shoes(world)], dark=dark)
    as_it_is = previewed(life, made, at, dark=dark)
    world.clock.set(at)
    world.tell(world.buy(made.names[0]))
    assert drawn(world, made.mail(), dark=dark) == ahead
    assert ahead[0] != as_it_is[0]


@pytest.mark.feature("CM-23")
def test_it_previews_what_the_endpoint_serves_after_an_end_a_sale_out_and_a_complaint(life: Living) -> None:
    world = life.world
    end = world.clock.now() + 24 * HOUR
    made = story(life, discount={"ends_at": end}, attire={"shows_price": True})
    for at in (end - SECOND, end, end + 30 * HOUR):
        ahead = previewed(life, made, at)
        world.clock.set(at)
        assert drawn(world, made.mail()) == ahead, at
    at = world.clock.now() + HOUR
    ahead = previewed(life, made, at, complained=True)
    world.clock.set(at)
    said = {"complaint_id": made.names[0], "text": "It squeaks."}
    world.tell({"type": "track", "userId": made.names[0], "event": "Complaint Opened", "properties": said})
    assert drawn(world, made.mail()) == ahead
    world.stock(made.product, 0)
    world.settle()
    at = world.clock.now() + HOUR
    sold_out = previewed(life, made, at)
    world.clock.set(at)
    assert drawn(world, made.mail()) == sold_out


@pytest.mark.feature("CM-23")
def test_it_previews_the_price_and_the_stock_of_the_moment(life: Living) -> None:
    world, made = life.world, story(life, discount={"purpose_category": "shoes"})
    world.tell(world.buy(made.names[0]))
    for price, quantity in (("49.90 EUR", 5), ("39.90 EUR", 1), ("39.90 EUR", 0)):
        world.stock(made.product, quantity, price)
        world.settle()
        world.clock.advance(2 * HOUR)
        ahead = previewed(life, made, world.clock.now())
        assert drawn(world, made.mail()) == ahead


@pytest.mark.feature("CM-23")
def test_it_previews_a_change_before_it_is_published(life: Living) -> None:
    world, made = life.world, story(life)
    rewrite(life, made, "Shoes, 15 % off")
    at = world.clock.now() + MINUTE
    ahead, before = previewed(life, made, at), drawn(world, made.mail())
    assert ahead[0] != before[0]
    world.shop.publish(made.campaign)
    world.settle()
    world.clock.set(at)
    assert drawn(world, made.mail()) == ahead


@pytest.mark.feature("CM-23")
def test_it_previews_a_mail_before_it_is_sent(life: Living) -> None:
    world = life.world
    tag = f"unsent{next(_numbers)}"
    made = world.story(tag, slots=2, send=False, discount={"fields": {"headline": "{{ profile.first_name }}, 10 %"}})
    profile = world.shop.known()[made.names[0]]
    at = world.clock.now() + MINUTE
    asked = {"profile": profile, "at": at.isoformat(), "bought": [shoes(world)]}
    told = life.web.program("manager").told("POST", f"/campaigns/{made.campaign}/preview", asked)
    world.send(made.campaign)
    (mail,) = world.mails(made.campaign)
    world.clock.set(at)
    world.tell(world.buy(made.names[0]))
    assert drawn(world, mail) == {slot["slot"]: slot["sha256"] for slot in told["slots"]}


# --- SU-16: beside what they saw, what they would see now


def page(life: Living, made: Story) -> str:
    """Support's page of the person's newest open."""
    support = life.web.desk("support")
    profile = life.world.shop.known()[made.names[0]]
    (newest, *_) = OPEN.findall(support.get(f"/customers/{profile}").text)
    return support.get(newest).text


def now_shown(page: str) -> list[str]:
    return [sha256(base64.b64decode(found)) for found in NOW.findall(page)]


def switch(life: Living, made: Story, change: Callable[..., object], *more: Any) -> None:
    with life.world.sessions.begin() as session:
        change(session, life.world.store, made.campaign, *more, life.world.clock.now(), MANAGER)
    life.world.settle()


def pin(life: Living, made: Story) -> None:
    """Switch the campaign off with a picture."""
    picture = life.web.shop.blobs.put(fetch(life.world.render.url, made.mail().pictures[0]).body)
    with life.world.sessions.begin() as session:
        publish.kill(session, life.world.store, made.campaign, life.world.clock.now(), MANAGER, picture=picture)
    life.world.settle()


def withdraw_tracking(life: Living, made: Story) -> None:
    life.world.tell(life.world.shop.consent(made.names[0], False, "tracking"))


def rewrite(life: Living, made: Story, headline: str) -> None:
    """Change what the discount says, without publishing it."""
    with life.world.sessions.begin() as session:
        content = offers.content(offers.offer(session, made.discount))
        changed = msgspec.structs.replace(content, fields={"headline": headline})
        offers.update_offer(session, made.discount, changed, life.world.clock.now(), MANAGER)


def republish(life: Living, made: Story) -> None:
    rewrite(life, made, "Shoes, 20 % off")
    life.world.shop.publish(made.campaign)
    life.world.settle()


def sell_out(life: Living, made: Story) -> None:
    life.world.tell(life.world.buy(made.names[0]))
    life.world.stock(made.product, 0)
    life.world.settle()


SITUATIONS: Mapping[str, Callable[[Living, Story], object]] = {
    "the same open stands": lambda life, made: life.world.clock.advance(10 * MINUTE),
    "the hold is over": lambda life, made: life.world.clock.advance(2 * HOUR),
    "the look goes on": lambda life, made: life.world.clock.advance(5 * SECOND),
    "bought since": lambda life, made: life.world.tell(life.world.buy(made.names[0])),
    "sold out": sell_out,
    "switched off": lambda life, made: switch(life, made, publish.kill),
    "switched off with a picture": pin,
    "withdrawn": lambda life, made: switch(life, made, publish.withdraw_offer, made.discount),
    "published anew": republish,
    "tracking withdrawn": withdraw_tracking,
    "state lost": lambda life, made: life.world.store.delete(keys.state(made.mail().token.profile)),
    "state damaged": lambda life, made: life.world.store.set(keys.state(made.mail().token.profile), b"\xc1none"),
}


@pytest.mark.feature("SU-16")
@pytest.mark.parametrize("what", SITUATIONS)
def test_it_shows_beside_an_open_what_the_endpoint_would_answer_now(life: Living, what: str) -> None:
    world, made = life.world, story(life)
    seen = drawn(world, made.mail())
    world.recorded()
    world.clock.advance(MINUTE)
    SITUATIONS[what](life, made)
    told = page(life, made)
    shown = now_shown(told)
    assert shown == list(drawn(world, made.mail()).values())
    stays = what in ("the same open stands", "the hold is over", "the look goes on")
    assert (shown == list(seen.values())) == stays
    assert told.count("What they would see now") == 2
    same = sum(before == after for before, after in zip(seen.values(), shown, strict=True))
    assert told.count("The same:") >= same
    assert (told.count("Another:") > 0) == (not stays and what != "published anew")


@pytest.mark.feature("SU-16")
def test_it_goes_by_a_cap_that_is_used_up(life: Living) -> None:
    world = life.world
    made = life.world.story(f"look{next(_numbers)}", people=2, slots=2, discount={"cap_total": 1})
    first, second = made.names
    fetch(world.render.url, made.mail(first).pictures[0])
    world.recorded()
    fetch(world.render.url, made.mail(second).pictures[0])
    world.recorded()
    world.settle()
    world.clock.advance(2 * HOUR)
    support = life.web.desk("support")
    profile = world.shop.known()[second]
    (newest, *_) = OPEN.findall(support.get(f"/customers/{profile}").text)
    assert now_shown(support.get(newest).text) == list(drawn(world, made.mail(second)).values())


@pytest.mark.feature("SU-16")
def test_it_shows_the_defaults_to_who_is_held_out(life: Living) -> None:
    world = life.world
    made = world.story(f"look{next(_numbers)}", people=6, slots=2, content_holdout=0.5)
    held = {row.profile_id for row in world.shop.ledger(made.campaign) if row.holdout == "content"}
    assert 0 < len(held) < 6
    support = life.web.desk("support")
    for name in made.names:
        before = drawn(world, made.mail(name))
        world.recorded()
        profile = world.shop.known()[name]
        (newest, *_) = OPEN.findall(support.get(f"/customers/{profile}").text)
        told = support.get(newest).text
        assert now_shown(told) == list(before.values())
        assert ("The same: Default" in told) == (profile in held)


def test_it_says_nothing_of_now_where_nothing_is_live(life: Living) -> None:
    made = story(life)
    drawn(life.world, made.mail())
    life.world.recorded()
    kept = life.world.store.get(f"live:{made.campaign}")
    assert isinstance(kept, bytes)
    life.world.store.delete(f"live:{made.campaign}")
    told = page(life, made)
    assert "What they saw" in told
    assert "What they would see now" not in told or life.world.store.exists(f"live:{made.campaign}")
    life.world.store.set(f"live:{made.campaign}", kept)
