"""A restored backup, a cloned database and a copied server send nothing until somebody takes over on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from sqlalchemy import text

from base import db
from base.environment import environment
from base.settings import Settings
from base.vault import Vault
from campaigns import instance, transitions
from campaigns.instance import COPY, MOVED, NEW_HOST, OTHER, SET_BACK, TAKEN, Guard, Here
from campaigns.models import Campaign
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web
from tests.workers.relay import Relay
from workers.checkup import examine
from workers.commands.instance import command
from workers.following import Following
from workers.recorder import Recorder, RecorderParts
from workers.schedule import Scheduler
from workers.sending import Sender


def changed(shop: Shop, **changes: Any) -> Shop:
    """The same shop with other parts."""
    made = copy(shop)
    vars(made).update(changes)
    return made


@pytest.fixture
def cloned(shop: Shop, sender: Sender, scheduler: Scheduler) -> Iterator[Shop]:
    """The shop's database copied in the middle of a send: three mails have left, two are queued, another run is due."""
    shop.people("ann", "bob", "cleo", "dora", "eva")
    campaign, later = shop.campaign(), shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    sender.send([row.id for row in shop.ledger(campaign)][:3])
    shop.schedule(later)
    server, _, name = shop.settings.database_url.replace("+psycopg", "").rpartition("/")
    clone = f"{name}_clone"
    shop.sessions.kw["bind"].dispose()
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(clone), sql.Identifier(name))
        )
    settings = replace(shop.settings, database_url=shop.settings.database_url.rpartition("/")[0] + f"/{clone}")
    engine = db.connect(settings.database_url, vault=Vault.of(settings))
    yield changed(shop, settings=settings, sessions=db.sessions(engine))
    engine.dispose()
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(clone)))


def works(shop: Shop, settings: Settings) -> tuple[Scheduler, Sender]:
    """The loop and the sender of an installation."""
    loop = Scheduler(settings, shop.sessions, shop.store, shop.queues, shop.blobs, shop.clock)
    return loop, Sender(settings, shop.sessions, shop.store, shop.blobs, shop.clock)


@pytest.mark.feature("OP-16")
def test_it_sends_nothing_from_a_clone_until_it_is_taken_over(
    shop: Shop, cloned: Shop, relay: Relay, sender: Sender, tmp_path: Path
) -> None:
    queued = [row.id for row in cloned.ledger(1) if row.state == "queued"]
    assert (len(queued), len(relay.mails)) == (2, 3)
    elsewhere = replace(cloned.settings, var=tmp_path / "elsewhere")
    for settings, why in ((cloned.settings, COPY), (elsewhere, OTHER)):
        loop, other = works(cloned, settings)
        done = loop.tick()
        assert (done.frozen, done.enqueued, done.swept) == ([], 0, {})
        assert other.send(queued).claimed == 0
        other.close()
        assert len(relay.mails) == 3, "nothing leaves"
        assert next(one.words for one in examine(settings) if one.part == "instance") == why
    web = Web(cloned)
    assert OTHER in web.desk("manager").get("/").text
    assert web.program("manager").told("GET", "/overview")["blocked"] == OTHER
    web.close()
    parts = RecorderParts(elsewhere, cloned.sessions, cloned.store, cloned.blobs, cloned.clock)
    recorder = Recorder(parts, Following(parts))
    assert recorder.is_kept_from_it(), "it would take the other's records"
    taken = CliRunner().invoke(command, ["take-over"], env=environment(elsewhere))
    assert taken.exit_code == 0, taken.output
    assert taken.output.count("paused: ") == 2
    assert CliRunner().invoke(command, ["show"], env=environment(elsewhere)).exit_code == 0
    loop, other = works(cloned, elsewhere)
    loop.tick()
    assert other.send(queued).claimed == 0
    with cloned.sessions.begin() as session:
        assert session.get_one(Campaign, 1).trouble == TAKEN
        transitions.resume(session, 1, cloned.now, MANAGER)
    loop.tick()
    assert other.send(queued).states == {"accepted": 2}
    other.close()
    # The one it was copied from has gone on all the time.
    assert sender.send(queued).states == {"accepted": 2}
    with cloned.sessions.begin() as session:
        assert instance.standing(session, Here.of(cloned.settings)) == OTHER


@pytest.mark.feature("OP-16")
def test_it_knows_a_database_that_was_set_back_in_place(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob")
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    assert sender.send(ids[:1]).claimed == 1
    with shop.sessions.begin() as session:
        (before,) = session.execute(text("SELECT mark FROM instance")).one()
    assert sender.send(ids[1:]).claimed == 1
    assert len(relay.mails) == 2
    # What a backup from between the two holds.
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE delivery SET state = 'queued', enqueued_at = NULL WHERE id = :id"), {"id": ids[1]})
        session.execute(text("UPDATE instance SET mark = :mark"), {"mark": before})
    for _ in range(3):
        assert sender.send(ids).claimed == 0
        assert scheduler.tick().enqueued == 0
    assert len(relay.mails) == 2
    with shop.sessions.begin() as session:
        here = Here.of(shop.settings)
        assert instance.standing(session, here) == SET_BACK
        assert instance.take_over(session, here, shop.now, MANAGER, keep_running=True) == []
        assert instance.standing(session, here) is None


@pytest.mark.feature("OP-16")
def test_nothing_new_gets_a_number_that_a_restored_database_has_lost(shop: Shop) -> None:
    lost = {"profile": shop.people("ann", "ben")[-1], "campaign": shop.campaign(), "offer": shop.offer()}
    # The sequences of a backup from before them. The hot store may be lost as well, so nobody else can tell.
    with shop.sessions.begin() as session:
        for table in lost:
            session.execute(text(f"SELECT setval('{table}_id_seq', 1)"))
        instance.take_over(session, Here.of(shop.settings), shop.now, MANAGER, keep_running=True)
    with shop.sessions.begin() as session:
        next_ones = {table: session.scalar(text(f"SELECT nextval('{table}_id_seq')")) for table in lost}
    assert all(next_ones[table] > number for table, number in lost.items()), (next_ones, lost)
    (made,) = shop.people("cleo")
    assert (made, shop.campaign()) > (next_ones["profile"], next_ones["campaign"])


@pytest.mark.feature("OP-16")
def test_it_blocks_every_host_once_one_knows_that_the_database_was_set_back(shop: Shop, tmp_path: Path) -> None:
    one, two = (replace(shop.settings, instance="production", var=tmp_path / name) for name in ("one", "two"))
    sending, recording = Guard(one, "sender"), Guard(two, "recorder", claims=False)

    def why(guard: Guard) -> str | None:
        with shop.sessions.begin() as session:
            return guard.blocked(session, shop.now)

    def batch() -> None:
        with shop.sessions.begin() as session:
            mark = instance.advance(session)
        sending.here.note(mark)

    def set_to(mark: int) -> None:
        with shop.sessions.begin() as session:
            session.execute(text("UPDATE instance SET mark = :mark"), {"mark": mark})

    assert why(sending) is None
    batch()
    assert (why(sending), why(recording)) == (None, NEW_HOST), "a copy has the same name, but no note of a batch"
    confirmed = CliRunner().invoke(command, ["confirm"], env=environment(two))
    assert confirmed.exit_code == 0, confirmed.output
    assert "already" in CliRunner().invoke(command, ["confirm"], env=environment(two)).output
    batch()
    assert why(recording) is None
    # A batch is missing, and the host that sent it has lost its notes; the other only asked, and knows.
    set_to(1)
    sending.here.note(1, anew=True)
    assert (why(sending), why(recording), why(sending)) == (None, SET_BACK, SET_BACK)
    set_to(9)
    assert (why(sending), why(recording)) == (SET_BACK, SET_BACK), "it stays so, however many batches follow"
    with shop.sessions.begin() as session:
        instance.take_over(session, sending.here, shop.now, MANAGER)
    assert (why(sending), why(recording)) == (None, None)


def test_it_knows_another_machine_and_folder_but_goes_by_a_name_that_was_given(shop: Shop, tmp_path: Path) -> None:
    machine, other = tmp_path / "machine", tmp_path / "other"
    machine.write_text("aaaa\n")
    other.write_text("bbbb\n")
    named = replace(shop.settings, instance="production", var=tmp_path / "x")
    with shop.sessions.begin() as session:
        assert instance.standing(session, Here.of(shop.settings, machine)) is None
        assert instance.standing(session, Here.of(shop.settings, machine), claim_for=MANAGER, now=shop.now) is None
        assert instance.standing(session, Here.of(shop.settings, machine)) is None
        assert instance.standing(session, Here.of(shop.settings, other)) == MOVED
        assert instance.standing(session, Here.of(named, machine)) == OTHER
        instance.take_over(session, Here.of(named, machine), shop.now, MANAGER)
        assert instance.standing(session, Here.of(named, other)) is None
        assert instance.standing(session, Here.of(replace(named, instance="staging"), machine)) == OTHER
        assert Guard(named, "sender").blocked(session, shop.now) is None
    here = Here.of(replace(named, var=tmp_path / "y"))
    for mark in (7, 5, 123):
        here.note(mark)
    assert (here.seen(), len(here.mark.read_bytes())) == (123, 20)
