"""A master is lost and its replica takes over: its people see the default meanwhile, then what is theirs, and no
process is started again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from base import keys, stores
from tests.promises.ground import Ground, clustered
from tests.promises.reader import fetch, signal
from tests.promises.test_cluster import FALLBACKS, cluster_of, divided, look, newest, rungs
from tests.promises.world import until

HEAL_SECONDS = 60.0


@pytest.fixture
def replicated() -> Iterator[Ground]:
    """An installation whose hot store is three masters with a replica each."""
    with clustered("failover", replicated=True) as made:
        yield made


def test_people_of_a_lost_master_are_served_by_its_replica_and_every_open_is_recorded(replicated: Ground) -> None:
    world, cluster = replicated.world, cluster_of(replicated)
    story = world.story("failover", people=18)
    pids = {name: app.process.pid for name, app in world.apps.items()}
    dead, theirs, others = divided(cluster, story)
    before = look(world, story)
    world.recorded()
    with cluster.client(dead) as master:
        assert master.wait(1, 5_000) == 1, "what follows asks for nothing that was not copied"
    dead.kill()
    world.clock.advance(timedelta(minutes=1))
    # A replica waits for the nodes' time-out before it takes over.
    meanwhile = {name: fetch(world.render.url, story.mail(name).pictures[0]) for name in theirs}
    assert all((answer.status, answer.size) == (200, (1200, 600)) for answer in meanwhile.values())
    assert all(answer.body != before[name] for name, answer in meanwhile.items())
    looks: list[dict[str, bytes]] = []

    def is_healed() -> bool:
        looks.append(look(world, story))
        assert all(looks[-1][name] == before[name] for name in others)
        return looks[-1] == before

    until(is_healed, "the replica to serve its people", HEAL_SECONDS)
    order = {"messageId": "failover-1", "timestamp": world.clock.now().isoformat()} | world.buy(theirs[0])
    until(lambda: signal(world.signals.url, order).status == 200, "the intake to write to the new master")
    looks.append(look(world, story))
    until(lambda: stores.answers(world.store), "this test's own client to know the new master")
    assert newest(world, story)[theirs[0]] == story.thanks
    for name, seen in rungs(world, story).items():
        assert len(seen) == 1 + (name in theirs) + len(looks), "each open has its record, once"
        fallen = [rung in FALLBACKS for rung in seen]
        assert any(fallen) == (name in theirs)
        assert not fallen[0]
        assert not fallen[-1]
        assert "".join("-x"[fell] for fell in fallen).strip("-").count("-") == 0, "it fell back at one time"
    # Who comes back follows the one that took over, and nobody notices.
    dead.start()
    cluster.await_well()
    state = keys.state(story.mail(theirs[0]).token.profile)
    assert int(stores.holder(world.store, state).rpartition(":")[2]) != cluster.port(dead)
    assert look(world, story)[theirs[0]] == looks[-1][theirs[0]]
    assert {name: app.process.pid for name, app in world.apps.items()} == pids
    assert all(app.process.poll() is None for app in world.apps.values())
    assert all(program.process.poll() is None for program in world.programs.values())
