"""Once: one mail a person and occurrence, whatever is killed; what cannot be known is listed for a person to settle."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import pytest

from base.clock import monotonic, pause
from base.queues import QueueName, queue
from campaigns import accounting
from tests.promises.ground import Ground
from tests.promises.reader import fetch
from tests.promises.world import Story, World, until
from workers.jobs import enqueue_send
from workers.sending import HANDING

PEOPLE = 300
FINISH_SECONDS = 90


def kept(world: World) -> int:
    """How many mails the sink keeps, of all campaigns."""
    return sum(1 for _ in (world.settings.var / "inbox").glob("*.eml"))


def account(world: World, story: Story) -> dict[str, int]:
    """The ledger's states that are not empty."""
    with world.sessions.begin() as session:
        return {state: n for state, n in accounting.account(session, story.campaign, 1).items() if n}


def finish(world: World, story: Story) -> None:
    """Let time pass until nothing of the campaign is open any more: claims run out, put-off mails fall due."""
    deadline = monotonic() + FINISH_SECONDS
    while world.shop.state(story.campaign) != "finished":
        assert monotonic() < deadline, (account(world, story), world.programs["sender"].log.read_text()[-2000:])
        world.clock.advance(timedelta(minutes=16))
        pause(0.5)


def check(world: World, story: Story) -> dict[str, int]:
    """Nobody got two mails, nobody was left out, and the account says of everybody what is known."""
    received = Counter(mail.recipient for mail in world.mails(story.campaign))
    assert set(received.values()) <= {1}
    rows = world.rows(
        "SELECT d.id, d.state, d.message_id, i.value FROM delivery d"
        " JOIN identifier i ON i.profile_id = d.profile_id AND i.type = 'email' WHERE d.campaign_id = :campaign",
        campaign=story.campaign,
    )
    states = Counter(row.state for row in rows)
    assert states == account(world, story)
    assert states.total() == len(story.names) == len({row.value for row in rows})
    assert set(states) <= {"accepted", "unknown"}
    ids = {mail.recipient: mail.message_id for mail in world.mails(story.campaign)}
    for row in rows:
        if row.state == "accepted":
            assert ids[row.value] == row.message_id
    with world.sessions.begin() as session:
        listed = accounting.listing(session, story.campaign, state="unknown", limit=500)
    assert sorted(row.id for row in listed) == sorted(row.id for row in rows if row.state == "unknown")
    return dict(states)


@pytest.mark.feature("OP-02")
def test_it_mails_everybody_once_while_senders_the_loop_and_the_relay_are_killed(ground: Ground) -> None:
    world = ground.world
    story = world.story("once", people=PEOPLE, send=False)
    chooser = random.Random(6)
    before = kept(world)
    world.shop.schedule(story.campaign)
    for victims in (("sender",), ("sender", "inbox"), ("sender", "schedule")):
        wanted = min(PEOPLE - 10, kept(world) - before + chooser.randint(5, 60))
        until_mailed(world, before + wanted)
        for victim in victims:
            world.programs[victim].kill()
        for victim in victims:
            world.run(victim)
    finish(world, story)
    states = check(world, story)
    # A sender marks a group before it hands it over, and the relay's death leaves one mail without an answer.
    assert states.get("unknown", 0) <= 3 * HANDING + 1


def until_mailed(world: World, count: int) -> None:
    """Wait for the sink to have so many mails; time passes meanwhile, as claims of killed senders must run out."""
    deadline = monotonic() + FINISH_SECONDS
    passed = monotonic()
    while kept(world) < count:
        assert monotonic() < deadline, f"{kept(world)} of {count}"
        if monotonic() - passed > 1.5:
            world.clock.advance(timedelta(minutes=16))
            passed = monotonic()
        pause(0.002)


@pytest.mark.feature("OP-03")
def test_it_mails_everybody_once_while_jobs_run_twice_get_lost_and_four_loops_run(ground: Ground) -> None:
    world = ground.world
    story = world.story("jobs", people=PEOPLE // 2, send=False)
    before = kept(world)
    loops = [world.run("schedule", f"schedule {number}") for number in range(3)]
    other = world.run("sender", "second sender")
    try:
        world.shop.schedule(story.campaign)
        until(lambda: account(world, story), "the audience to be frozen")
        ids = [row.id for row in world.rows("SELECT id FROM delivery WHERE campaign_id = :c", c=story.campaign)]
        for _ in range(3):
            enqueue_send(world.shop.queues, ids)
        until(lambda: kept(world) > before + 20, "some mails")
        # The jobs that still wait are lost.
        world.shop.queues.delete(queue(QueueName.SEND, world.shop.queues).key)
        finish(world, story)
    finally:
        for program in (*loops, other):
            program.stop()
    assert check(world, story) == {"accepted": PEOPLE // 2}


def test_it_records_every_fetch_click_and_withdrawal_once_while_the_recorder_is_killed(ground: Ground) -> None:
    world = ground.world
    story = world.story("recorded", people=40)
    mails = list(story.mails.values())
    for number, mail in enumerate(mails):
        fetch(world.render.url, mail.pictures[0])
        fetch(world.render.url, mail.clicks[0])
        if number % 4 == 0:
            done = fetch(world.render.url, mail.unsubscribe, method="POST", form={"List-Unsubscribe": "One-Click"})
            assert done.status == 200
        if number % 20 == 5:
            world.programs["recorder"].kill()
            world.run("recorder")
    world.recorded()
    for table in ("fetch", "click"):
        rows = world.rows(f'SELECT profile_id FROM "{table}" WHERE campaign_id = :c', c=story.campaign)
        assert Counter(row.profile_id for row in rows) == Counter(mail.token.profile for mail in mails)
    left = world.rows(
        "SELECT profile_id FROM consent WHERE purpose = 'email' AND NOT granted AND profile_id = ANY(:people)",
        people=[mail.token.profile for mail in mails],
    )
    assert Counter(row.profile_id for row in left) == Counter(mail.token.profile for mail in mails[::4])
