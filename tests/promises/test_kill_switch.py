"""The kill switch: thrown on a page, every block of the campaign is pinned on every process within seconds."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest

from base.clock import monotonic
from tests.campaigns.web import Web
from tests.promises.reader import fetch
from tests.promises.world import World, until
from tests.serving import Served

SECONDS = 5


@pytest.fixture
def web(world: World) -> Iterator[Web]:
    """The pages of this world."""
    made = Web(world.shop)
    yield made
    made.close()


@pytest.mark.feature("OP-06")
def test_it_pins_every_block_to_a_static_picture_on_all_processes_at_once_and_lets_go_again(
    world: World, web: Web, prompt: Served
) -> None:
    story = world.story("pinned", people=2, slots=2)
    opened, unopened = story.mails.values()
    paths = [
        (url, path)
        for url in (world.render.url, prompt.url)
        for mail in (opened, unopened)
        for slot in mail.pictures
        for path in (mail.pictures[slot], mail.dark[slot])
    ]

    def bodies() -> set[bytes]:
        answers = [fetch(url, path) for url, path in paths]
        assert {(answer.status, answer.size) for answer in answers} == {(200, (1200, 600))}
        return {answer.body for answer in answers}

    def offered() -> set[bytes]:
        return {fetch(url, path).body for url, path in paths if path in {*opened.pictures.values()}}

    before: set[bytes] = set()

    def stands() -> bool:
        nonlocal before
        before = offered()
        return len(before) == 2 and before == offered()

    # The second mail is opened for the first time while the switch is thrown. A first drawing may come late, and a
    # default stand in.
    until(stands, "the offers everywhere")
    sorry = world.shop.offer("neutral", name="Sorry", fields={"headline": "This offer has ended early"})
    manager, page = web.desk("manager"), f"/campaigns/{story.campaign}/schedule"
    assert "the picture of “Sorry” everywhere" in manager.get(page).text
    assert manager.post(page, do="kill", offer=story.discount).status_code == 400
    assert manager.post(page, do="kill", offer=sorry).status_code == 302
    thrown = monotonic()
    until(lambda: len(bodies()) == 1, "one static picture everywhere", SECONDS)
    assert monotonic() - thrown < SECONDS
    (pinned,) = bodies()
    assert pinned not in before
    today = f"{world.shop.now.day} {world.shop.now:%b %Y}"
    assert f'Switched off by <strong class="wrap-any">A Person</strong> on {today}' in manager.get(page).text

    # Each place's own default instead, by API; then everything is as it was.
    program = web.program("manager")
    assert program.call("POST", f"/campaigns/{story.campaign}/kill?offer={story.thanks}").status_code == 400
    program.told("POST", f"/campaigns/{story.campaign}/kill")
    until(lambda: pinned not in bodies(), "the defaults", SECONDS)
    assert before.isdisjoint(bodies())
    assert manager.post(page, do="revive").status_code == 302
    until(lambda: before <= bodies(), "the offers again", SECONDS)

    # Who and when stands in the admin log, with what was changed.
    changes = web.program("admin").told("GET", "/system/changes")["entries"]
    switched = [line for line in changes if line["object"] == f"campaign {story.campaign}"][:3]
    assert [line["action"] for line in switched] == ["revive", "kill", "kill"]
    assert [line["actor"].split()[0] for line in switched] == ["user", "api", "user"]
    assert all(line["at"].startswith(f"{world.shop.now:%Y-%m-%d}T") for line in switched)
    assert switched[2]["detail"]["after"]["killed"] is True
    assert len(switched[2]["detail"]["after"]["kill_picture"]) == 64

    # And what the readers saw meanwhile can be shown.
    world.recorded()
    kept = "SELECT owner FROM served_bytes WHERE sha256 = :hash"
    assert [row.owner for row in world.rows(kept, hash=sha256(pinned).digest())] == ["everybody"]
