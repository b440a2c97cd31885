"""Records that a wrong key had set aside are put back once they open, each once, and then are stored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from base import keys
from base.environment import environment
from base.errors import SettingError
from base.sealing import Sealer, new_key
from render import record
from render.app import create_app
from signals import keymarks
from tests.promises.reader import BROWSER, Mail
from tests.streams import a_stream, lengths
from tests.workers.opens import Opens
from tests.workers.test_recorder import click
from workers import checkup, setaside
from workers.commands.records import command
from workers.recorder import Recorder
from workers.setaside import SetAside

ENTRIES = 120
DYING = """
import os, signal, sys
from base import stores
from base.sealing import Sealer
from base.settings import Settings
from workers import setaside
settings = Settings.from_environment(os.environ)
setaside.AT_ONCE = 7
batches, left = setaside.SetAside._batches, [5]
def counted(*given):
    for batch in batches(*given):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch
setaside.SetAside._batches = counted
setaside.SetAside(stores.connect(settings.redis_url), Sealer(settings.record_key)).put_back()
"""


def run(opens: Opens, *words: str) -> Result:
    """`latebind records` with the installation's settings."""
    return CliRunner().invoke(command, words, env=environment(opens.shop.settings))


def seen(opens: Opens) -> tuple[int, int, int]:
    return opens.count("decision"), opens.count("fetch"), opens.count("click")


def set_aside(opens: Opens, number: int) -> str:
    """Set so many clicks of somebody aside, as a recorder does; the stream that they are beside."""
    opens.send("ann")
    stream = a_stream(opens.shop.store)
    for place in range(number):
        sealed = record.seal((click(place),), opens.sealer)
        opens.shop.store.xadd(keys.refused(stream), {record.STREAM_FIELD: sealed})
    return stream


def test_what_a_recorder_with_a_wrong_key_set_aside_is_stored_once(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.get(mail.clicks[0])
    wrong = replace(opens.parts, settings=replace(opens.shop.settings, record_key=new_key()))
    number = 0
    while taken := Recorder(wrong, opens.following).step(block_ms=1):
        number += taken
    assert (seen(opens), setaside.count(opens.shop.store)) == ((0, 0, 0), number)
    (found,) = [one for one in checkup.examine(opens.shop.settings, health=True) if one.part == "records"]
    assert (found.well, f"{number} entries are set aside" in found.words) == (False, True)
    shown = run(opens, "show")
    assert (shown.exit_code, f"{number} entries set aside, {number} of them open" in shown.output) == (1, True)
    done = run(opens, "put-back")
    assert (done.exit_code, done.output) == (0, f"{number} entries put back, 0 left\n")
    opens.record()
    stored = seen(opens)
    assert stored == (1, 1, 1)
    again = run(opens, "put-back")
    assert (again.exit_code, again.output) == (0, "0 entries put back, 0 left\n")
    assert opens.record() == 0
    assert seen(opens) == stored
    assert run(opens, "show").output == "Nothing is set aside.\n"
    told = opens.rows("SELECT action, after FROM admin_log WHERE object_type = 'records'")
    assert [tuple(row) for row in told] == [("put back", {"entries": number})]


def test_what_render_sealed_with_a_wrong_key_goes_back_under_the_right_one(opens: Opens, tmp_path: Path) -> None:
    mail: Mail = opens.send("ann")["ann"]
    key = new_key()
    app: Flask = create_app(replace(opens.shop.settings, deadline_ms=5000, record_key=key), opens.shop.clock)
    try:
        assert app.test_client().get(mail.pictures[0], headers={"User-Agent": BROWSER}).status_code == 200
    finally:
        app.extensions["parts"].close()
    number = opens.record()
    assert number > 0
    assert (seen(opens), setaside.count(opens.shop.store)) == ((0, 0, 0), number)
    done = run(opens, "put-back")
    assert (done.exit_code, done.output) == (1, f"0 entries put back, {number} left\n")
    file = tmp_path / "key"
    file.write_text("no key")
    assert "must hold a key: 64 hexadecimal digits" in run(opens, "put-back", "--sealed-with", str(file)).output
    file.write_text(f"{key.hex()}\n")
    done = run(opens, "put-back", "--sealed-with", str(file))
    assert (done.exit_code, done.output) == (0, f"{number} entries put back, 0 left\n")
    opens.record()
    assert (seen(opens), setaside.count(opens.shop.store)) == ((1, 1, 0), 0)


def test_what_still_does_not_open_stays_and_the_others_go(opens: Opens) -> None:
    stream = set_aside(opens, 3)
    refused = keys.refused(stream)
    opens.shop.store.xadd(refused, {record.STREAM_FIELD: record.seal((click(9),), Sealer(new_key()))})
    opens.shop.store.xadd(refused, {"other": b"no record"})
    done = run(opens, "put-back")
    assert (done.exit_code, done.output) == (1, "3 entries put back, 2 left\n")
    opens.record()
    assert opens.count("click") == 3


def test_it_puts_nothing_back_under_another_key_than_the_installations(opens: Opens) -> None:
    set_aside(opens, 1)
    with opens.shop.sessions.begin() as session:
        keymarks.accept(session, replace(opens.shop.settings, record_key=new_key()), "record_key", opens.shop.now)
    done = run(opens, "put-back")
    assert isinstance(done.exception, SettingError)
    assert setaside.count(opens.shop.store) == 1


def test_each_goes_back_once_though_one_is_killed_and_two_go_on_at_once(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = set_aside(opens, ENTRIES), opens.shop.store
    child = subprocess.run(
        [sys.executable, "-c", DYING], env=os.environ | environment(opens.shop.settings), check=False, timeout=60
    )
    assert child.returncode == -signal.SIGKILL
    back = lengths(store)[stream]
    assert 0 < back < ENTRIES
    assert back + setaside.count(store) == ENTRIES
    monkeypatch.setattr(setaside, "AT_ONCE", 3)
    numbers: list[int] = []
    begin = threading.Barrier(2)

    def go_on() -> None:
        begin.wait()
        numbers.append(SetAside(store, opens.sealer).put_back())

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(numbers) == ENTRIES - back
    assert (lengths(store)[stream], setaside.count(store)) == (ENTRIES, 0)
    opens.record()
    assert opens.count("click") == ENTRIES


def test_a_server_that_takes_nothing_loses_none(opens: Opens) -> None:
    stream, store = set_aside(opens, 4), opens.shop.store
    kept = store.dump(stream)
    store.delete(stream)
    store.set(stream, b"nothing can be added to this")
    done = run(opens, "put-back")
    assert done.exit_code == 1
    assert setaside.count(store) == 4
    store.delete(stream)
    assert kept is not None
    store.restore(stream, 0, kept)
    assert run(opens, "put-back").output == "4 entries put back, 0 left\n"
