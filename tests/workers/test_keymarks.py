"""A process that is started with another hash key or record key than the installation's stops and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from base.db import Sessions
from base.environment import environment
from base.errors import SettingError
from base.sealing import new_key
from base.settings import Settings
from base.stores import Store
from campaigns import app as web
from campaigns.subjects import subject_keys
from render.spool import Spool
from signals import app as signals
from signals import keymarks
from tests.damage import flip
from tests.signals.sending import NOW, Desk, identified
from tests.streams import a_stream
from workers import checkup
from workers.commands.migrate import command as migrate
from workers.commands.records import command as records

PROGRAM = str(Path(sys.executable).parent / "latebind")


@pytest.fixture
def desk(sessions: Sessions, valkey: Store) -> Desk:
    """An intake on the test's own database and key space."""
    return Desk(sessions, valkey)


@pytest.fixture
def own(desk: Desk, settings: Settings) -> Settings:
    """The settings of the installation, whose keys have left their marks."""
    made = replace(settings, hash_key=desk.intake.hash_key, niceness=0)
    keymarks.settle(desk.sessions, made, NOW)
    return made


def started(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """A command with these settings, once it has ended."""
    return subprocess.run(
        [PROGRAM, *words], env=os.environ | environment(settings), capture_output=True, text=True, check=False,
        timeout=180,
    )  # fmt: skip


def marks(desk: Desk) -> list[str]:
    return [row.name for row in desk.rows("SELECT name FROM key_mark ORDER BY name")]


@pytest.mark.parametrize("name", ["hash_key", "record_key", "subject_key"])
def test_it_starts_nothing_with_another_key(
    desk: Desk, own: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: dict[str, Any] = {name: new_key()}
    other = replace(own, **changed)
    for variable, value in environment(other).items():
        monkeypatch.setenv(variable, value)
    said = f"LATEBIND_{name.upper()}: is another key than this installation's"
    for app in (signals, web):
        with pytest.raises(SettingError, match=said):
            app.from_environment()
    found = {one.part: one for one in checkup.examine(other, health=True)}
    wrong = [part for part in ("hash key", "record key", "subject key", "personal data") if not found[part].well]
    assert wrong == [name.replace("_", " ")]
    done = started(other, "recorder")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith(f"latebind: {said}")
    assert "Give this process the key of the others" in done.stderr
    assert marks(desk) == ["hash_key", "record_key", "subject_key"]


def test_a_fresh_installation_begins_with_the_keys_it_is_given(desk: Desk, settings: Settings) -> None:
    part = replace(settings, record_key=b"")
    keymarks.settle(desk.sessions, part, NOW)
    assert marks(desk) == ["hash_key", "subject_key"]
    parts = {one.part: one.words for one in checkup.examine(settings, health=True)}
    assert parts["hash key"] == "the installation's"
    assert "becomes the installation's" in parts["record key"]
    keymarks.settle(desk.sessions, settings, NOW)
    keymarks.settle(desk.sessions, settings, NOW)
    assert marks(desk) == ["hash_key", "record_key", "subject_key"]


def test_an_upgrade_holds_the_key_against_the_hashes_that_are_stored(desk: Desk, settings: Settings) -> None:
    desk.send(*(identified(f"u{number}", email=f"u{number}@example.com") for number in range(3)))
    # A damaged value says nothing of the key.
    desk.run("UPDATE identifier SET value = set_byte(value, 20, get_byte(value, 20) # 77) WHERE type = 'email'")
    done = CliRunner().invoke(migrate, env=environment(replace(settings, hash_key=new_key())))
    assert isinstance(done.exception, SettingError)
    assert done.exception.variable == "LATEBIND_HASH_KEY"
    assert marks(desk) == []
    done = CliRunner().invoke(migrate, env=environment(replace(settings, hash_key=desk.intake.hash_key)))
    assert done.exit_code == 0, done.output
    assert marks(desk) == ["hash_key", "record_key", "subject_key"]


def test_an_upgrade_holds_the_key_against_what_people_have_that_it_wraps(desk: Desk, settings: Settings) -> None:
    desk.send(identified("ann"), identified("bob"))
    people = [desk.root("user_id", user) for user in ("ann", "bob")]
    with desk.sessions.begin() as session:
        subject_keys(session, people, settings.subject_key, NOW)
    # A damaged one says nothing of the key.
    flip(desk.sessions, "subject.wrapped_key", f"profile_id = {people[0]}")
    with pytest.raises(SettingError, match="LATEBIND_SUBJECT_KEY: is another key"):
        keymarks.settle(desk.sessions, replace(settings, hash_key=b"", subject_key=new_key()), NOW)
    keymarks.settle(desk.sessions, replace(settings, hash_key=b""), NOW)
    assert marks(desk) == ["record_key", "subject_key"]


def test_of_two_that_begin_at_once_with_different_keys_one_stops(desk: Desk, settings: Settings) -> None:
    refused: list[SettingError] = []
    begin = threading.Barrier(2)

    def start(key: bytes) -> None:
        begin.wait()
        try:
            keymarks.settle(desk.sessions, replace(settings, hash_key=key), NOW)
        except SettingError as error:
            refused.append(error)

    threads = [threading.Thread(target=start, args=(new_key(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error.variable for error in refused] == ["LATEBIND_HASH_KEY"]


def test_an_older_schema_hinders_no_start(desk: Desk, settings: Settings) -> None:
    desk.run("ALTER TABLE key_mark RENAME TO key_mark_to_come")
    keymarks.settle(desk.sessions, settings, NOW)
    desk.run("ALTER TABLE key_mark_to_come RENAME TO key_mark")
    assert marks(desk) == []


def test_the_record_key_is_changed_on_purpose_once_nothing_waits(desk: Desk, own: Settings) -> None:
    new = replace(own, record_key=new_key())
    stream = a_stream(desk.store)
    desk.store.xadd(stream, {"r": b"sealed with the key before"})
    done = CliRunner().invoke(records, ["accept-key"], env=environment(new))
    assert (done.exit_code, "1 entries wait" in done.output) == (1, True)
    with pytest.raises(SettingError):
        keymarks.settle(desk.sessions, new, NOW)
    desk.store.delete(stream)
    spool = Spool(own.var / "spool")
    assert spool.append([b"sealed with the key before"])
    spool.close()
    done = CliRunner().invoke(records, ["accept-key"], env=environment(new))
    assert (done.exit_code, "records wait on this host's disk" in done.output) == (1, True)
    with pytest.raises(SettingError):
        keymarks.settle(desk.sessions, new, NOW)
    assert Spool(own.var / "spool").drain(lambda entries: True) == 1
    done = CliRunner().invoke(records, ["accept-key"], env=environment(new))
    assert done.exit_code == 0, done.output
    assert "keep the key before" in done.output
    keymarks.settle(desk.sessions, new, NOW)
    with pytest.raises(SettingError, match="latebind records accept-key"):
        keymarks.settle(desk.sessions, own, NOW)
    with desk.sessions.begin() as session:
        told = session.execute(text("SELECT action, object_type, after FROM admin_log")).one()
    assert tuple(told) == ("accept", "record key", {"waiting": 0})
