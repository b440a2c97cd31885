"""Never a wrong offer: sold out, expired, bought already, over its cap, not consented: not shown, even in parallel.

When what is needed to know that cannot be read, the default is shown, and the record says what was lost.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from base import keys
from base.clock import monotonic, pause
from base.tokens import Purpose
from campaigns import transitions
from render.agree import balance
from signals.erasure import erase
from tests.campaigns.shop import MANAGER
from tests.promises.ground import Ground
from tests.promises.reader import APPLE, GMAIL_PREFETCH, SCANNER, Mail, fetch, fetch_at_once
from tests.promises.test_one_open import html_path
from tests.promises.world import Story, World, until
from tests.serving import Served

CAP = 100
OPENS = 200
STALLS_SECONDS = 240


def decided(world: World, story: Story, lane: str = "live") -> list[Any]:
    """The campaign's decisions as they were recorded, in order."""
    world.recorded()
    return world.rows(
        "SELECT profile_id, open_number, slots, lost, rung FROM decision"
        " WHERE campaign_id = :campaign AND lane = :lane ORDER BY at, profile_id, open_number",
        campaign=story.campaign,
        lane=lane,
    )


def shown(world: World, story: Story) -> list[int]:
    """The offers of the first slot, decision by decision."""
    return [row.slots["0"] for row in decided(world, story)]


@pytest.mark.feature("CM-36")
def test_it_shows_a_capped_offer_exactly_as_often_as_the_cap_allows(world: World) -> None:
    # What is asked here is how often, not how fast: a busy machine may take its time. One that stalls has defaults
    # shown; then the cap is not used up, and others try, some while later.
    patient = world.serve("patient render", deadline_ms=5_000)
    deadline = monotonic() + STALLS_SECONDS
    for number in count():
        if are_all_in_time(world, patient, f"cap-{number}"):
            break
        assert monotonic() < deadline, f"the store was too slow for each of {number + 1} bursts"
        pause(3)


def are_all_in_time(world: World, render: Served, tag: str) -> bool:
    """Whether no open of many at once was too slow for the store; if so, exactly as many as the cap says see it."""
    cap = {"cap_total": CAP, "cap_person": 2}
    story = world.story(tag, people=OPENS, discount=cap, attire={"needs_stock": False, "shows_price": False})
    paths = [mail.pictures[0] for mail in story.mails.values()]

    def left() -> int | None:
        return balance(world.store, story.discount)

    # What machines and testers fetch uses nothing, nor does HEAD.
    one = story.mail()
    for agent, headers in ((SCANNER, {}), (GMAIL_PREFETCH, {"Referer": "http://mail.google.com/"})):
        fetch(render.url, one.pictures[0], agent, headers=headers)
    fetch(render.url, one.pictures[0], method="HEAD")
    with world.sessions.begin() as session:
        run = transitions.send_test(
            session, story.campaign, [one.token.profile], "tester@example.org", world.shop.now, MANAGER
        )

    def sent() -> list[Mail]:
        return [mail for mail in world.mails(story.campaign) if mail.token.occurrence == run]

    until(sent, "the test mail")
    fetch(render.url, sent()[0].pictures[0])
    assert left() == CAP
    # An undecided fetch does; and what one open has used, its other fetches do not use again.
    fetch(render.url, one.pictures[0], APPLE)
    fetch(render.url, one.dark[0])
    fetch(render.url, one.pictures[0])
    assert left() == CAP - 1

    slow = world.too_slow()
    answers = [
        answer for start in range(0, OPENS, 50) for answer in fetch_at_once(render.url, paths[start : start + 50])
    ]
    assert {(answer.status, answer.size) for answer in answers} == {(200, one.sizes[0])}
    offers = Counter(shown(world, story))
    if world.too_slow() > slow:
        assert offers[story.discount] <= CAP
        return False
    assert offers == {story.discount: CAP, story.attire: OPENS - CAP}
    assert left() == 0
    assert shown_to_people(world, story)[story.discount] == CAP
    return True


@pytest.mark.feature("CM-36")
def test_it_shows_an_offer_to_one_person_as_often_as_their_cap_allows(world: World) -> None:
    story = world.story("own", people=2, discount={"cap_total": 50, "cap_person": 2})
    path = story.mail(story.names[0]).pictures[0]
    for _ in range(4):
        fetch_at_once(world.render.url, [path] * 4)
        world.clock.advance(timedelta(hours=2))
    fetch(world.render.url, story.mail(story.names[1]).pictures[0])
    assert shown(world, story) == [story.discount] * 2 + [story.attire] * 2 + [story.discount]
    assert balance(world.store, story.discount) == 50 - 3


def shown_to_people(world: World, story: Story) -> Counter[int]:
    """Per offer how many people fetched it, counted from the fetches."""
    rows = world.rows(
        'SELECT DISTINCT f.profile_id, d.slots FROM "fetch" f JOIN decision d ON d.id = f.decision_id'
        " WHERE f.campaign_id = :campaign AND f.lane = 'live'",
        campaign=story.campaign,
    )
    return Counter(row.slots["0"] for row in rows)


def test_it_drops_what_is_sold_out_within_a_second(world: World) -> None:
    story = world.story("stock", people=1, discount={"priority": 0}, thanks={"priority": 0})
    path = story.mail().pictures[0]
    before = fetch(world.render.url, path)
    world.stock(story.product, 1)
    world.settle()
    assert fetch(world.render.url, path).body == before.body
    world.stock(story.product, 0)
    world.settle()
    assert fetch(world.render.url, path).body != before.body
    assert shown(world, story) == [story.attire, story.discount]


def test_it_stops_at_the_first_millisecond_that_is_not_valid_any_more(world: World) -> None:
    ends = world.clock.now() + timedelta(days=1)
    story = world.story("ends", people=3, discount={"ends_at": ends})
    for name, moment in zip(
        story.names, (ends - timedelta(milliseconds=1), ends, ends + timedelta(days=9)), strict=True
    ):
        world.clock.set(moment)
        fetch(world.render.url, story.mail(name).pictures[0])
    # Nothing has been told of the tights for ten days by then, so their price is not shown either.
    assert shown(world, story) == [story.discount, story.attire, story.default]


def test_it_does_not_offer_what_was_bought(world: World) -> None:
    story = world.story("bought", people=1, thanks={"priority": 0})
    (name,) = story.names
    fetch(world.render.url, story.mail().pictures[0])
    world.tell(world.buy(name))
    fetch(world.render.url, story.mail().pictures[0])
    world.tell(world.buy(name, "attire", story.product))
    fetch(world.render.url, story.mail().pictures[0])
    assert shown(world, story) == [story.discount, story.attire, story.thanks]


def neutral(world: World, mail: Mail, *, dark: bool = False) -> bytes:
    """The picture of the first slot for somebody on neutral content."""
    path = (mail.dark if dark else mail.pictures)[0].rsplit("/", 1)[-1].partition(".")[0]
    purpose = Purpose.PICTURE_DARK if dark else Purpose.PICTURE
    token = replace(world.tokens.read(path, purpose), neutral=True)
    return fetch(world.render.url, f"/o/{world.tokens.mint(token)}.jpg").body


@pytest.mark.feature("EC-23")
@pytest.mark.parametrize("way", ["one-click", "page", "signal", "erasure"])
def test_it_reaches_delivered_mails_within_five_seconds_of_a_withdrawal(ground: Ground, way: str) -> None:
    world = ground.world
    story = world.story(f"left-{way}", people=2)
    name, mail = story.names[0], story.mail()
    expected, expected_dark = (neutral(world, story.mail(story.names[1]), dark=dark) for dark in (False, True))
    before = fetch(world.render.url, mail.pictures[0])
    block = replace(mail.token, purpose=Purpose.AMP)
    pages = (html_path(world, mail, 0), f"/amp/{world.tokens.mint(block)}", mail.view)

    def names_them() -> list[bool]:
        """Of each page whether it says what is the person's: the offer that was chosen, or their name."""
        told = [fetch(world.render.url, path).body.lower() for path in pages]
        return [b"10 % off" in page or name.encode() in page for page in told]

    assert names_them() == [True] * 3, "else this proves nothing"
    world.recorded()
    started = monotonic()
    if way == "one-click":
        assert fetch(world.render.url, mail.unsubscribe).status == 200
        assert fetch(world.render.url, mail.pictures[0]).body == before.body, "looking at the page is no withdrawal"
        form = {"List-Unsubscribe": "One-Click"}
        assert fetch(world.render.url, mail.unsubscribe, method="POST", form=form).status == 200
    elif way == "page":
        assert fetch(world.render.url, mail.unsubscribe, method="POST", form={"purpose": "tracking"}).status == 200
    elif way == "signal":
        properties = {"purpose": "tracking", "granted": False}
        world.tell({"type": "track", "userId": name, "event": "Consent Changed", "properties": properties})
    else:
        assert erase(world.shop.intake, mail.token.profile, world.clock.now())
    until(lambda: fetch(world.render.url, mail.pictures[0]).body != before.body, "the neutral picture", 5)
    assert monotonic() - started < 5
    # From now on nothing is written down about this person.
    world.recorded()
    counts = (
        'SELECT count(*) FROM (SELECT id FROM "fetch" WHERE profile_id = :p'
        " UNION ALL SELECT id FROM click WHERE profile_id = :p) x"
    )
    (had,) = world.rows(counts, p=mail.token.profile)
    answer = fetch(world.render.url, mail.pictures[0])
    assert (answer.status, answer.size) == (200, mail.sizes[0])
    assert answer.body == expected
    assert fetch(world.render.url, mail.dark[0]).body == expected_dark
    assert names_them() == [False] * 3
    # Each request asks for the person's state once, in one trip, and nothing else is done in their name. Render has no
    # address of the database, so there is no table that it could ask.
    requests = (mail.pictures[0], mail.dark[0], *pages, mail.clicks[0])
    with ground.proxy.listening() as heard:
        landing = [fetch(world.render.url, path) for path in requests][-1].location
    assert landing.startswith("https://shop.example.com/home/")
    assert heard.count(f"{{{mail.token.profile}}}:state".encode()) == len(requests)
    assert heard.count(f"{{{mail.token.profile}}}:".encode()) == 3 * len(requests), "state, shown and used in one trip"
    assert not [word for word in (b"EVAL", b"XADD", b"SET\r\n") if word in heard.upper()]
    world.recorded()
    assert world.rows(counts, p=mail.token.profile) == [had]


def test_it_shows_the_default_for_a_lost_state_and_mends_it(world: World) -> None:
    story = world.story("lost", people=1)
    mail, profile = story.mail(), story.mail().token.profile
    before = fetch(world.render.url, mail.pictures[0])
    world.recorded()
    kept = {name: world.store.get(name) for name in world.store.scan_iter(match=f"{{{profile}}}:*")}
    assert len(kept) == 3
    world.store.delete(*kept)
    world.clock.advance(timedelta(seconds=40))
    assert fetch(world.render.url, mail.pictures[0]).body != before.body
    assert decided(world, story)[-1].lost
    until(lambda: world.store.get(keys.state(profile)), "the state to be mended", 10)
    assert world.store.get(keys.state(profile)) == kept[keys.state(profile).encode()]
    # The open that was begun before the loss came back with the texts it was shown with, and still holds.
    assert fetch(world.render.url, mail.pictures[0]).body == before.body
    assert {row.slots["0"] for row in decided(world, story)} == {story.discount, story.default}


def test_it_mends_caps_products_and_what_is_live(world: World) -> None:
    story = world.story("mended", people=6, discount={"cap_total": 3}, thanks={"priority": 0})
    paths = [mail.pictures[0] for mail in story.mails.values()]
    fetch(world.render.url, paths[0])
    world.recorded()
    lost = (keys.cap(story.discount), keys.product(story.product), keys.live(story.campaign))
    world.store.delete(*lost)
    world.settle()
    # No live key: the static picture. Then, step by step, everything is asked for and comes back.
    assert fetch(world.render.url, paths[1]).size == (1200, 600)

    def mended() -> bool:
        fetch(world.render.url, paths[1])
        return all(world.store.exists(name) for name in lost)

    until(mended, "what was lost to be mended", 30)
    world.settle()
    # A default gives way once its product is known again, so who looked meanwhile may have the discount by now.
    given = [row.slots["0"] for row in decided(world, story) if not row.lost].count(story.discount)
    assert given in (1, 2)
    assert balance(world.store, story.discount) == 3 - given
    for path in paths[2:]:
        fetch(world.render.url, path)
    offers = [row.slots["0"] for row in decided(world, story) if not row.lost]
    assert offers.count(story.discount) == 3
    assert story.attire in offers
