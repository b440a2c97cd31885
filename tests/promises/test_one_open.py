"""One open, one decision: headline, picture, price and link of all blocks agree, whatever arrives meanwhile."""

from __future__ import annotations

import hashlib
import re
import threading

import pytest
from msgspec.structs import replace

from base.blobs import blobs_from
from base.tokens import Purpose
from campaigns import audit
from render.fonts import Fonts
from render.preview import pictures
from tests.promises.reader import Answer, Mail, fetch, fetch_at_once
from tests.promises.world import Story, World

BLOCKS = 5
PEOPLE, ENOUGH = 24, 4
"""People whose opens are looked at, until so many came while the machine was not too busy for them."""
DECISION = re.compile(rb'data-decision="([0-9a-f]{32})"')


def html_path(world: World, mail: Mail, slot: int) -> str:
    """The address of a block as HTML, as mails that show HTML blocks have it."""
    token = world.tokens.read(mail.pictures[slot][3:57], Purpose.PICTURE)
    return f"/h/{world.tokens.mint(replace(token, purpose=Purpose.HTML))}"


@pytest.mark.feature("EC-10")
def test_it_makes_one_decision_of_five_blocks_fetched_at_once_while_signals_arrive(world: World) -> None:
    story = world.story("blocks", people=PEOPLE, slots=BLOCKS)
    fonts = Fonts.load()
    counted, slow = 0, world.too_slow()
    for name in story.names:
        mail = story.mail(name)
        done = threading.Event()

        def change(name: str = name, done: threading.Event = done) -> None:
            while not done.is_set():
                order = world.buy(name)
                world.tell(order)
                world.tell(world.give_back(order))

        signals = threading.Thread(target=change)
        signals.start()
        try:
            drawn = [mail.pictures[slot] for slot in range(BLOCKS)]
            written = [html_path(world, mail, slot) for slot in range(BLOCKS)]
            answers = fetch_at_once(world.render.url, [*drawn, *written])
        finally:
            done.set()
            signals.join()
        if (now := world.too_slow()) > slow:
            slow = now
            continue
        check(world, story, mail, answers[:BLOCKS], answers[BLOCKS:], fonts)
        counted, slow = counted + 1, world.too_slow()
        if counted == ENOUGH:
            break
    assert counted >= 2


def check(world: World, story: Story, mail: Mail, drawn: list[Answer], written: list[Answer], fonts: Fonts) -> None:
    """All ten answers belong to one decision, and each shows what that decision put in its slot."""
    assert {answer.status for answer in (*drawn, *written)} == {200}
    found = {match[1].decode() for answer in written if (match := DECISION.search(answer.body))}
    assert len(found) == 1, found
    world.recorded()
    rows = world.rows(
        'SELECT decision_id, slot, kind, sha256 FROM "fetch" WHERE campaign_id = :campaign AND profile_id = :profile',
        campaign=story.campaign,
        profile=mail.token.profile,
    )
    assert {row.decision_id for row in rows} == found
    assert len(rows) == 2 * BLOCKS
    with world.sessions.begin() as session:
        opened = audit.opening(
            session, blobs_from(world.settings), world.settings.subject_key, found.pop(), [mail.token.profile]
        )
    assert opened.facts is not None
    decided = {slot.slot: slot for slot in opened.public.slots}
    fields = dict(zip(decided, opened.facts.fields, strict=True))
    again = pictures(opened.plan, FromRecord(opened), fonts)  # type: ignore[arg-type]
    for slot in range(BLOCKS):
        assert hashlib.sha256(drawn[slot].body).digest() == hashlib.sha256(again[slot]).digest()
        page = written[slot].body.decode()
        assert str(fields[slot]["offer.headline"]).replace("&", "&amp;") in page
        priced = decided[slot].offer == story.attire
        assert ("offer.price" in fields[slot]) == priced
        assert not priced or str(fields[slot]["offer.price"]) in page
        click = fetch(world.render.url, mail.clicks[slot])
        assert click.location == opened.plan.offer_by_id[decided[slot].offer].landing


class FromRecord:
    """A recorded decision in the shape that drawing reads: its slots with their texts."""

    def __init__(self, opened: audit.Opening) -> None:
        assert opened.facts is not None
        self.slots = [
            Drawn(slot.slot, slot.offer, slot.creative, texts)
            for slot, texts in zip(opened.public.slots, opened.facts.fields, strict=True)
        ]


class Drawn:
    """One slot of it."""

    def __init__(self, slot: int, offer: int, creative: int, fields: dict[str, str | int]) -> None:
        self.slot, self.offer, self.creative, self.fields = slot, offer, creative, fields


@pytest.mark.feature("EC-09")
def test_it_shows_the_same_again_unless_a_signal_arrived(world: World) -> None:
    story = world.story("again")
    mail = story.mail()
    first = fetch(world.render.url, mail.pictures[0])
    assert fetch(world.render.url, mail.pictures[0]).body == first.body
    order = world.buy(story.names[0])
    world.tell(order)
    changed = fetch(world.render.url, mail.pictures[0])
    assert changed.body != first.body
    world.tell(world.give_back(order))
    assert fetch(world.render.url, mail.pictures[0]).body == first.body
    world.recorded()
    rows = world.rows(
        "SELECT open_number, slots FROM decision WHERE campaign_id = :campaign ORDER BY open_number",
        campaign=story.campaign,
    )
    assert [row.slots["0"] for row in rows] == [story.discount, story.thanks, story.discount]


@pytest.mark.feature("CM-28")
def test_it_swaps_the_discount_for_thanks_then_attire_and_back_after_a_return(world: World) -> None:
    story = world.story("swap", people=2, slots=2)
    buyer, other = story.names
    order = world.buy(buyer)
    shown: list[tuple[str, str]] = []

    def look(name: str) -> None:
        answers = [fetch(world.render.url, path) for path in story.mail(name).pictures.values()]
        assert {answer.status for answer in answers} == {200}
        landings = [fetch(world.render.url, path).location for path in story.mail(name).clicks.values()]
        shown.append((landings[0].split("/")[3], landings[1].split("/")[3]))

    look(buyer)
    world.tell(order)
    look(buyer)
    world.tell(world.give_back(order))
    look(buyer)
    look(other)
    assert shown == [("discount", "attire"), ("thanks", "attire"), ("discount", "attire"), ("discount", "attire")]
    world.stock(story.product, 0)
    world.settle()
    world.tell(world.buy(buyer))
    look(buyer)
    assert shown[-1] == ("thanks", "home"), "what is out of stock is not shown beside the thank-you"
