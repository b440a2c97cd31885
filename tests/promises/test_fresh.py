"""Fresh: when the signals API has answered 200, the very next open uses what it was told."""

from __future__ import annotations

from typing import Any

from tests.promises.ground import Ground
from tests.promises.loops import write_and_read
from tests.promises.reader import fetch, signal
from tests.promises.world import Story, World, until

ROUNDS = 100
SPARE = 10
"""People for rounds that do not count, because the store kept an open waiting: then the default is promised."""


def shown(world: World, story: Story) -> dict[int, list[Any]]:
    """Per profile what its fetches showed, in order: (hash of the bytes, offer)."""
    world.recorded()
    rows = world.rows(
        'SELECT f.profile_id, f.sha256, d.slots FROM "fetch" f JOIN decision d ON d.id = f.decision_id'
        " WHERE f.campaign_id = :campaign ORDER BY f.profile_id, d.open_number",
        campaign=story.campaign,
    )
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.profile_id, []).append((row.sha256.hex(), row.slots["0"]))
    return found


def test_it_shows_the_thank_you_in_the_very_next_open_a_hundred_times(world: World) -> None:
    story = world.story("fresh", people=ROUNDS + SPARE)
    counted = []
    slow = world.too_slow()
    for name in story.names:
        mail = story.mail(name)
        before = fetch(world.render.url, mail.pictures[0])
        world.tell(world.buy(name))
        after = fetch(world.render.url, mail.pictures[0])
        if (now := world.too_slow()) > slow:
            slow = now
            continue
        assert before.body != after.body
        counted.append((mail.token.profile, before.sha256, after.sha256))
        if len(counted) == ROUNDS:
            break
    assert len(counted) == ROUNDS
    seen = shown(world, story)
    for profile, before_hash, after_hash in counted:
        assert seen[profile] == [(before_hash, story.discount), (after_hash, story.thanks)]


def test_it_is_fresh_after_the_store_was_killed_between_the_purchase_and_its_answer(ground: Ground) -> None:
    world = ground.world
    story = world.story("killed", people=7)
    other, early, *buyers = story.names
    world.at_hand(story.mail(other).pictures[0])
    world.tell(world.buy(early))
    world.at_hand(story.mail(early).pictures[0])
    befores = {name: fetch(world.render.url, story.mail(name).pictures[0]).body for name in buyers}
    orders = {
        name: {"messageId": name, "timestamp": world.clock.now().isoformat()} | world.buy(name) for name in buyers
    }
    ground.valkey.kill()
    for name, order in orders.items():
        answer = signal(world.signals.url, order)
        assert (answer.status, answer.headers["Retry-After"].isdigit()) == (503, True)
        assert world.rows("SELECT count(*) AS n FROM event WHERE message_id = :name", name=name)[0].n == 1
    ground.valkey.start()
    # The states are not written yet, and the render process has to find its way back to the store.
    for order in orders.values():
        until(lambda order=order: signal(world.signals.url, order).status == 200, "the retry to be taken")  # type: ignore[misc]
    until(lambda: b"there" in fetch(world.render.url, "/readyz").body, "render to see the store again")
    counted = []
    slow = world.too_slow()
    for name, before in befores.items():
        after = fetch(world.render.url, story.mail(name).pictures[0])
        if (now := world.too_slow()) > slow:
            slow = now
            continue
        assert after.body != before
        counted.append(story.mail(name).token.profile)
    assert counted
    seen = shown(world, story)
    for profile in counted:
        assert [offer for _, offer in seen[profile]] == [story.discount, story.thanks]


def test_it_keeps_what_it_acknowledged_when_the_store_is_killed_right_after(ground: Ground) -> None:
    world = ground.world
    story = world.story("after", people=5)
    for name in story.names:
        world.tell(world.buy(name))
    ground.valkey.kill()
    ground.valkey.start()
    until(lambda: b"there" in fetch(world.render.url, "/readyz").body, "render to see the store again")
    for name in story.names:
        fetch(world.render.url, story.mail(name).pictures[0])
    assert {offer for sights in shown(world, story).values() for _, offer in sights} == {story.thanks}


def test_it_knows_of_each_signal_at_the_very_next_open_while_others_write_and_read(world: World) -> None:
    loops = write_and_read(world, readers=4, rounds=13, others=2)
    assert len(loops.seconds) == 104
    assert loops.too_slow < 52, "hardly any open was in time"
