"""The promises over a Valkey Cluster of three nodes: whole, with one of them lost, healed, and while slots move."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from base import keys
from base.embedded import ValkeyServer
from base.slots import slot_of
from tests.clusters import ValkeyCluster
from tests.promises.ground import Ground, clustered
from tests.promises.reader import fetch, fetch_at_once, signal
from tests.promises.test_never_broken import Opens
from tests.promises.world import Story, World, until

CAP = 4
FALLBACKS = ("default", "static")


@pytest.fixture(scope="module")
def three() -> Iterator[Ground]:
    """An installation whose hot store is three nodes, every one of which runs."""
    with clustered("cluster") as made:
        yield made


def cluster_of(ground: Ground) -> ValkeyCluster:
    assert isinstance(ground.valkey, ValkeyCluster)
    return ground.valkey


def held_by(cluster: ValkeyCluster, story: Story, node: ValkeyServer) -> list[str]:
    """The people of a story whose keys are on a node."""
    return [name for name in story.names if cluster.holder(keys.state(story.mail(name).token.profile)) is node]


def divided(cluster: ValkeyCluster, story: Story) -> tuple[ValkeyServer, list[str], list[str]]:
    """A node that does not hold the story's live key, the people whose keys it holds, and the others."""
    live = cluster.holder(keys.live(story.campaign))
    node = next(node for node in cluster.nodes if node is not live)
    theirs = held_by(cluster, story, node)
    others = [name for name in story.names if name not in theirs]
    assert theirs
    assert others
    return node, theirs, others


def look(world: World, story: Story) -> dict[str, bytes]:
    """Everybody opens the mail a minute later, and gets a whole picture; what each one sees."""
    world.clock.advance(timedelta(minutes=1))
    answers = {name: fetch(world.render.url, story.mail(name).pictures[0]) for name in story.names}
    assert {(answer.status, answer.size) for answer in answers.values()} == {(200, (1200, 600))}
    return {name: answer.body for name, answer in answers.items()}


def rungs(world: World, story: Story) -> dict[str, list[str]]:
    """From which rung everybody's pictures came, in order, once all records are stored."""
    world.recorded()
    rows = world.rows(
        'SELECT profile_id, rung FROM "fetch" WHERE campaign_id = :campaign ORDER BY at', campaign=story.campaign
    )
    return {
        name: [row.rung for row in rows if row.profile_id == story.mail(name).token.profile] for name in story.names
    }


def newest(world: World, story: Story) -> dict[str, int]:
    """The offer that everybody's newest picture showed in the first slot."""
    world.recorded()
    rows = world.rows(
        'SELECT f.profile_id, d.slots FROM "fetch" f JOIN decision d ON d.id = f.decision_id'
        " WHERE f.campaign_id = :campaign ORDER BY f.at, f.id",
        campaign=story.campaign,
    )
    last = {row.profile_id: int(row.slots["0"]) for row in rows}
    return {name: last[story.mail(name).token.profile] for name in story.names}


def decisions(world: World, story: Story) -> list[Any]:
    return world.rows("SELECT * FROM decision WHERE campaign_id = :campaign", campaign=story.campaign)


def test_a_whole_cluster_keeps_the_promises_of_one_server(three: Ground) -> None:
    world, cluster = three.world, cluster_of(three)
    story = world.story("whole", people=18, slots=2, discount={"cap_total": CAP})
    assert all(held_by(cluster, story, node) for node in cluster.nodes)
    # Two pictures of everybody at once: one open each, and the cap is exact over all of them.
    paths = [path for mail in story.mails.values() for path in mail.pictures.values()]
    assert {answer.status for answer in fetch_at_once(world.render.url, paths)} == {200}
    world.recorded()
    found = decisions(world, story)
    assert len(found) == len({row.profile_id for row in found}) == len(story.names)
    shown = [row.public.decode() for row in found]
    assert sum(f'"reserved":[{story.discount}]' in text for text in shown) == CAP
    assert int(world.store.hget(keys.cap(story.discount), "left") or -1) == 0
    assert len(world.rows('SELECT 1 FROM "fetch" WHERE campaign_id = :c', c=story.campaign)) == len(paths)
    # A purchase counts at the very next open, wherever the person's keys are; who saw no discount goes on as before.
    look(world, story)
    before = newest(world, story)
    assert sorted(before.values()) == [story.discount] * CAP + [story.attire] * (len(story.names) - CAP)
    world.tell(*(world.buy(name) for name in story.names))
    look(world, story)
    after = newest(world, story)
    assert all(after[name] == (story.thanks if before[name] == story.discount else before[name]) for name in before)
    assert not set().union(*rungs(world, story).values()) & set(FALLBACKS)


def test_the_loss_of_a_node_costs_its_people_alone_and_nothing_is_lost(three: Ground) -> None:
    world, cluster = three.world, cluster_of(three)
    story = world.story("lost", people=18)
    dead, theirs, others = divided(cluster, story)
    before = look(world, story)
    dead.kill()
    # The intake refuses what it cannot put in effect, and takes what it can.
    order = {"messageId": "lost-1", "timestamp": world.clock.now().isoformat()} | world.buy(theirs[0])
    assert signal(world.signals.url, order).status == 503
    world.tell(world.buy(others[0]))
    world.settle()
    meanwhile = look(world, story)
    assert all(meanwhile[name] == before[name] for name in others[1:])
    assert meanwhile[others[0]] != before[others[0]], "a purchase is seen by the next open"
    assert all(meanwhile[name] != before[name] for name in theirs)
    recorded = 'SELECT count(*) AS n FROM "fetch" WHERE campaign_id = :campaign'
    until(
        lambda: world.rows(recorded, campaign=story.campaign)[0].n >= len(story.names) + len(others),
        "the records of the others to be stored while the node is away",
    )
    dead.start()
    cluster.await_well()
    until(lambda: signal(world.signals.url, order).status == 200, "the intake to write to the node again")
    world.settle()
    after = look(world, story)
    assert all(after[name] == before[name] for name in story.names if name not in (theirs[0], others[0]))
    assert [newest(world, story)[name] for name in (theirs[0], others[0])] == [story.thanks] * 2
    for name, seen in rungs(world, story).items():
        assert len(seen) == 3, "each open has its record, once"
        assert [rung in FALLBACKS for rung in seen] == [False, name in theirs, False]


def test_a_node_that_comes_back_empty_is_filled_again(three: Ground) -> None:
    world, cluster = three.world, cluster_of(three)
    story = world.story("empty", people=9)
    dead = cluster.holder(keys.live(story.campaign))
    theirs = held_by(cluster, story, dead)
    assert theirs
    before = look(world, story)
    world.recorded()
    dead.kill()
    world.settle()
    # Whether the campaign was switched off cannot be told, so nobody of it is shown more than the default.
    assert len(set(look(world, story).values())) == 1
    shutil.rmtree(Path(world.folder) / "cluster" / f"node-{cluster.nodes.index(dead)}" / "appendonlydir")
    dead.start()
    cluster.await_well()
    until(lambda: look(world, story) == before, "everybody to see again what they saw", 60)
    for name in theirs:
        profile = story.mail(name).token.profile
        assert world.store.get(keys.state(profile))
        assert world.store.get(keys.used(profile))
    seen = rungs(world, story)
    assert len({len(every) for every in seen.values()}) == 1, "each open has its record, once"
    assert all(every[-1] not in FALLBACKS for every in seen.values())


def test_opens_go_on_while_an_operator_moves_slots(three: Ground) -> None:
    world, cluster = three.world, cluster_of(three)
    story = world.story("moved", people=9, slots=2)
    slots = {slot_of(keys.state(mail.token.profile)): mail for mail in story.mails.values()}
    with Opens(world.render.url, story) as opens:
        for slot, mail in slots.items():
            source = cluster.holder(keys.state(mail.token.profile))
            target = cluster.nodes[(cluster.nodes.index(source) + 1) % 3]
            cluster.move(slot, source, target)
            world.tell(world.buy(next(name for name, one in story.mails.items() if one is mail)))
            cluster.move(slot, target, source)
    assert opens.broken == []
    seen = rungs(world, story)
    assert sum(map(len, seen.values())) == len(opens.answers), "each picture has its record, once"
    look(world, story)
    assert set(newest(world, story).values()) == {story.thanks}
