"""A hot store that comes back older than it was gets the newest states again."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from base import keys, stores
from base.clock import FixedClock
from base.db import Sessions
from base.embedded import ValkeyServer
from base.processes import free_port
from base.settings import Settings
from signals import outbox
from signals.erasure import erase
from signals.state import ProfileState, decode
from tests.campaigns.shop import Shop
from workers.restarts import Restarts


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey of the test's own, to be thrown back in time."""
    made = ValkeyServer(tmp_path / "valkey", free_port(), tmp_path / "valkey.log")
    made.start()
    yield made
    made.stop()


def state(shop: Shop, profile: int) -> ProfileState:
    """What the hot store knows of a person."""
    data = shop.store.get(keys.state(profile))
    assert isinstance(data, bytes)
    return decode(data)


def orders(shop: Shop, name: str) -> int:
    """How many orders that is."""
    return state(shop, shop.profile(name)).orders


def keep(store: stores.Store, folder: Path) -> None:
    """Have the disk keep what it holds now; what comes then comes within the second that is lost."""
    assert store.waitaof(1, 0, 5000)
    shutil.copytree(folder / "valkey", folder / "as it was")


def throw_back(server: ValkeyServer, folder: Path) -> None:
    """Cut the store's power: it comes back with what was kept."""
    server.kill()
    shutil.rmtree(folder / "valkey")
    shutil.move(folder / "as it was", folder / "valkey")
    server.start()


def test_it_writes_states_again_that_a_power_cut_threw_back(
    settings: Settings, sessions: Sessions, clock: FixedClock, server: ValkeyServer, tmp_path: Path
) -> None:
    store = stores.connect(server.url)
    shop = Shop(replace(settings, redis_url=server.url), sessions, store, clock)
    shop.people("ada", "bo", "cy")
    store.set(keys.used(shop.profile("cy")), b"what was shown")
    restarts = Restarts(sessions, store, shop.intake)
    assert [restarts.look() for _ in range(3)] == [0, 0, 0]
    keep(store, tmp_path)
    shop.send(shop.order("ada", "shoes", clock.now()))
    clicked = {"type": "track", "event": "Email Clicked", "userId": "bo", "properties": {"class": "person"}}
    shop.send(clicked)
    erased = shop.profile("cy")
    assert erase(shop.intake, erased, clock.now())
    assert restarts.look() == 0
    assert (orders(shop, "ada"), orders(shop, "bo")) == (1, 0)
    throw_back(server, tmp_path)
    assert orders(shop, "ada") == 0, "the store came back older"
    assert restarts.look() >= 1
    assert (orders(shop, "ada"), orders(shop, "bo")) == (1, 0)
    # What moves no version is not forgotten, and who was erased is.
    assert state(shop, shop.profile("bo")).clicks == 1
    assert state(shop, erased).erased
    assert not store.exists(keys.used(erased))
    assert restarts.look() == 0
    store.close()


def test_it_writes_states_again_that_were_committed_behind_later_ones(
    settings: Settings,
    sessions: Sessions,
    clock: FixedClock,
    server: ValkeyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = stores.connect(server.url)
    shop = Shop(replace(settings, redis_url=server.url), sessions, store, clock)
    shop.people("ada", "bo")
    restarts = Restarts(sessions, store, shop.intake)
    assert [restarts.look() for _ in range(3)] == [0, 0, 0]
    note = outbox.note

    def meanwhile(session: Session, profiles: Collection[int], told: Sequence[int] = ()) -> list[int]:
        """What happens before an order is committed that has its number, as in a piece of an import."""
        monkeypatch.undo()
        shop.send(shop.order("bo", "shoes", clock.now()))
        assert [restarts.look() for _ in range(3)] == [0, 0, 0]
        keep(store, tmp_path)
        return note(session, profiles, told)

    monkeypatch.setattr(outbox, "note", meanwhile)
    shop.send(shop.order("ada", "shoes", clock.now()))
    throw_back(server, tmp_path)
    assert (orders(shop, "ada"), orders(shop, "bo")) == (0, 1)
    restarts.look()
    assert orders(shop, "ada") == 1
    store.close()
