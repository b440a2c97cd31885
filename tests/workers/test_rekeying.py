"""Keys are rotated while the system runs: what is stored is sealed anew, and then the old key opens nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from base.db import Sessions
from base.environment import environment
from base.errors import SettingError
from base.settings import Settings
from base.stores import Store
from base.vault import CLOSED, Vault, give
from signals import app, keymarks, sealingkeys
from signals.events import Event
from signals.profiles import Identifier
from signals.rebuild import rebuild
from tests.databases import PII_KEYS, VAULT
from tests.signals.sending import NOW, Desk, identified, order
from workers import checkup, rekeying
from workers.commands.rekey import command
from workers.rekeying import under

NEW = {2: b"q" * 32}
BOTH = Vault(PII_KEYS | NEW)
DYING = """
import os, signal, sys
from base import db
from base.settings import Settings
from base.vault import Vault
from workers import rekeying
settings = Settings.from_environment(os.environ)
left, whole = [int(sys.argv[1])], rekeying._resealed
def counted(*given):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*given)
rekeying._resealed, rekeying.AT_ONCE = counted, 10
rekeying.rekey(db.sessions(db.connect(settings.database_url, vault=Vault.of(settings))), print)
"""
PEOPLE = 40


@pytest.fixture
def desk(sessions: Sessions, valkey: Store) -> Desk:
    """An intake on the test's own database and key space."""
    return Desk(sessions, valkey)


@contextmanager
def held(desk: Desk, vault: Vault) -> Iterator[None]:
    """Everything in this process goes by this vault meanwhile: in tests all engines have one."""
    engine = desk.sessions.kw["bind"]
    give(engine, vault)
    try:
        yield
    finally:
        give(engine, VAULT)


def tell(desk: Desk, first: int, last: int) -> None:
    """People with a name and an order each."""
    for number in range(first, last):
        desk.send(
            identified(f"u{number}", email=f"u{number}@example.com", first_name="Zephyrine"),
            order(f"u{number}", f"o{number}", ("p", "Shoes", 10.0)),
        )


def program(settings: Settings, vault: Vault, desk: Desk) -> dict[str, str]:
    """The environment of a program of its own, with these keys."""
    return environment(replace(settings, pii_keys=vault.keys, hash_key=desk.intake.hash_key, niceness=0))


def values(desk: Desk) -> dict[int, int]:
    with desk.sessions.begin() as session:
        return under(session)


@pytest.mark.feature("SU-13")
def test_it_seals_all_anew_beside_an_intake_and_after_a_kill(desk: Desk, settings: Settings) -> None:
    tell(desk, 0, PEOPLE)
    keymarks.settle(desk.sessions, Settings(), NOW)
    at_first, ended = values(desk), threading.Event()
    assert set(at_first) == {1}
    beside = PEOPLE

    def go_on() -> None:
        nonlocal beside
        while not ended.is_set():
            tell(desk, beside, beside + 1)
            beside += 1

    with held(desk, BOTH):
        keymarks.settle(desk.sessions, Settings(), NOW)
        intake = threading.Thread(target=go_on)
        intake.start()
        try:
            dying = [sys.executable, "-c", DYING, "57"]
            child = subprocess.run(dying, env=os.environ | program(settings, BOTH, desk), check=False)
            killed = values(desk)
            done = CliRunner().invoke(command, env=program(settings, BOTH, desk))
        finally:
            ended.set()
            intake.join()
        assert child.returncode == -signal.SIGKILL
        assert 0 < killed[1] < at_first[1]
        assert done.exit_code == 0, done.output
        assert "All is sealed under key 2." in done.output
        assert "LATEBIND_PII_KEYS needs no key 1 for this database" in done.output
        assert set(values(desk)) == {2}
        assert beside > PEOPLE
        again = CliRunner().invoke(command, env=program(settings, BOTH, desk))
        assert (again.exit_code, "sealed anew" in again.output) == (0, False)
    with held(desk, Vault(NEW)):
        keymarks.settle(desk.sessions, Settings(), NOW)
        with desk.sessions.begin() as session:
            assert sealingkeys.check(session) == [2]
            emails = set(session.scalars(select(Identifier.value).where(Identifier.type == "email")))
            bodies = list(session.scalars(select(Event.body).where(Event.type == "identify")))
        assert emails == {f"u{number}@example.com" for number in range(beside)}
        assert {body["traits"]["first_name"] for body in bodies} == {"Zephyrine"}
        assert rebuild(desk.intake, NOW).different == 0


def test_it_says_what_is_left_under_another_key(desk: Desk, settings: Settings) -> None:
    tell(desk, 0, 1)
    with held(desk, BOTH), desk.sessions.begin() as session:
        session.scalars(select(Identifier).with_for_update()).all()
        done = CliRunner().invoke(command, env=program(settings, BOTH, desk))
    assert done.exit_code == 1
    assert "Left: " in done.output
    assert "values under key 1" in done.output


def test_it_goes_on_past_what_is_damaged_and_names_it(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(desk, 0, 6)
    at_first = values(desk)[1]
    with desk.sessions.begin() as session:
        broken = list(session.scalars(select(Event.id).order_by(Event.id).limit(3)))
        # Two do not open, and one says that it is under a key that there is not.
        for number, place in zip(broken, (20, 20, 0), strict=True):
            changed = "UPDATE event SET body = set_byte(body, :place, get_byte(body, :place) # 77) WHERE id = :id"
            session.execute(text(changed), {"place": place, "id": number})
    monkeypatch.setattr(rekeying, "AT_ONCE", 2)
    monkeypatch.setattr(rekeying, "NAMED", 2)
    with held(desk, BOTH):
        done = CliRunner().invoke(command, env=program(settings, BOTH, desk))
        assert values(desk) == {1: 2, 76: 1, 2: at_first - 3}
    assert done.exit_code == 1
    assert [line for line in done.output.splitlines() if line.startswith("Damaged: ")] == [
        f"Damaged: event.body, id {number}" for number in broken[:2]
    ]
    assert "3 values do not open and were left as they are" in done.output
    assert "Left: 2 values under key 1, 1 values under key 76" in done.output


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({2: b"q" * 32}, "must hold key 1"),
        ({1: b"x" * 32}, "has another key 1 than the one that the database was sealed with"),
        ({1: b"x" * 32, 2: b"q" * 32}, "has another key 1"),
        ({}, "must be set|must hold key 1"),
    ],
)
def test_it_starts_nothing_without_the_keys_of_the_database(
    desk: Desk, settings: Settings, keys: dict[int, bytes], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keymarks.settle(desk.sessions, Settings(), NOW)
    for name, value in program(settings, Vault(keys), desk).items():
        monkeypatch.setenv(name, value)
    engine = desk.sessions.kw["bind"]
    try:
        with pytest.raises(SettingError, match=f"LATEBIND_PII_KEYS: ({words})"):
            app.from_environment()
        if keys:
            (found,) = [one for one in checkup.examine(replace(settings, pii_keys=keys)) if one.part == "personal data"]
            assert not found.well
            assert "LATEBIND_PII_KEYS" in found.words
    finally:
        give(engine, VAULT)


def test_it_notes_each_newest_key_once(desk: Desk) -> None:
    for _ in range(2):
        keymarks.settle(desk.sessions, Settings(), NOW)
    assert desk.rows("SELECT number FROM sealing_key") == [(1,)]
    with held(desk, BOTH):
        keymarks.settle(desk.sessions, Settings(), NOW)
    assert desk.rows("SELECT number FROM sealing_key ORDER BY 1") == [(1,), (2,)]
    assert CLOSED.numbers == ()
