"""Click follows sight: a click goes to the offer last shown to a person in that block, not to a newer one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.promises.reader import APPLE, BROWSER, GMAIL_PREFETCH, SCANNER, fetch
from tests.promises.world import Story, World


def clicks(world: World, story: Story) -> list[Any]:
    """The campaign's clicks as they were recorded, in order."""
    world.recorded()
    return world.rows(
        "SELECT profile_id, offer_id, fetch_class, ambiguous, unseen, unresolved, outcome, decision_id FROM click"
        " WHERE campaign_id = :campaign ORDER BY at, id",
        campaign=story.campaign,
    )


def landing(name: str, tag: str) -> str:
    return f"https://shop.example.com/{name}/{tag}"


@pytest.mark.feature("EC-11")
def test_it_leads_to_what_was_seen_and_to_nothing_newer(world: World) -> None:
    story = world.story("sight")
    (name,), mail = story.names, story.mail()
    seen, unseen = landing("discount", "sight"), landing("thanks", "sight")

    def look(agent: str = BROWSER, referer: str = "") -> None:
        headers = {"Referer": referer} if referer else {}
        assert fetch(world.render.url, mail.pictures[0], agent, headers=headers).status == 200

    def click() -> str:
        world.clock.advance(timedelta(seconds=1))
        answer = fetch(world.render.url, mail.clicks[0])
        assert answer.status == 302
        return answer.location

    look()
    assert click() == seen
    world.tell(world.buy(name))
    assert click() == seen, "the thank-you is decided, and nobody has seen it"
    for agent, referer in ((SCANNER, ""), (GMAIL_PREFETCH, "http://mail.google.com/")):
        look(agent, referer)
        assert click() == seen, "a machine saw it, not the person"
    look()
    assert click() == unseen
    world.clock.advance(timedelta(hours=2))
    look()
    assert click() == unseen
    rows = clicks(world, story)
    assert [row.offer_id for row in rows] == [story.discount] * 4 + [story.thanks] * 2
    # Within the hold of an hour two decisions were shown; two hours later only one was.
    assert [row.ambiguous for row in rows] == [False] * 4 + [True, False]
    assert {row.fetch_class for row in rows} == {"person"}


@pytest.mark.feature("EC-11")
def test_it_marks_a_click_after_a_fetch_that_may_have_been_another_ones_copy(world: World) -> None:
    story = world.story("copy")
    (name,), mail = story.names, story.mail()
    fetch(world.render.url, mail.pictures[0], APPLE)
    world.tell(world.buy(name))
    world.clock.advance(timedelta(hours=5))
    fetch(world.render.url, mail.pictures[0])
    assert fetch(world.render.url, mail.clicks[0]).location == landing("thanks", "copy")
    (row,) = clicks(world, story)
    assert (row.offer_id, row.ambiguous) == (story.thanks, True)


@pytest.mark.feature("EC-13")
def test_it_leads_somewhere_sensible_when_no_picture_was_loaded(world: World) -> None:
    story = world.story("unseen")
    mail = story.mail()
    answer = fetch(world.render.url, mail.clicks[0])
    assert (answer.status, answer.location) == (302, landing("home", "unseen"))
    world.clock.advance(timedelta(seconds=5))
    fetch(world.render.url, mail.pictures[0])
    assert fetch(world.render.url, mail.clicks[0]).location == landing("discount", "unseen")
    first, second = clicks(world, story)
    assert (first.unseen, first.unresolved, first.offer_id, first.decision_id) == (True, False, None, None)
    assert (second.unseen, second.offer_id) == (False, story.discount)


def test_it_follows_what_was_seen_after_the_campaign_was_published_anew(world: World) -> None:
    story = world.story("anew")
    mail = story.mail()
    fetch(world.render.url, mail.pictures[0])
    with world.sessions.begin() as session:
        from_here = {"landing": "https://shop.example.com/elsewhere", "id": story.discount}
        session.execute(world.sql("UPDATE offer SET landing = :landing WHERE id = :id"), from_here)
    world.shop.publish(story.campaign)
    world.settle()
    assert fetch(world.render.url, mail.clicks[0]).location == landing("discount", "anew")
    fetch(world.render.url, mail.pictures[0])
    assert fetch(world.render.url, mail.clicks[0]).location == "https://shop.example.com/elsewhere"


def test_it_leads_to_the_default_page_when_what_was_seen_is_lost(world: World) -> None:
    """State and shown gone: nobody can tell what was seen, and the click says so."""
    story = world.story("lostsight")
    mail = story.mail()
    fetch(world.render.url, mail.pictures[0])
    profile = mail.token.profile
    keys = list(world.store.scan_iter(match=f"{{{profile}}}:*"))
    assert len(keys) == 3
    world.store.delete(*keys)
    answer = fetch(world.render.url, mail.clicks[0])
    assert (answer.status, answer.location) == (302, landing("home", "lostsight"))
    assert [row.unresolved for row in clicks(world, story)] == [True]
