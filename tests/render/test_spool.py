"""The spool: durable, bounded, drained by whoever is left."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from render.spool import BATCH, MAX_ENTRY, Spool, read_file

WRITER = """
import os, signal, sys
from pathlib import Path
from render.spool import Spool
spool = Spool(Path(sys.argv[1]))
assert spool.append([b"one", b"two"])
print("kept", flush=True)
signal.pause()
"""


LIMITED_WRITER = """
import resource, sys
from pathlib import Path
from render.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
spool = Spool(Path(sys.argv[1]))
assert spool.append([b"x" * 60])
assert not spool.append([b"y" * 60])
assert spool.append([b"z" * 60])
"""


FULL_WRITER = """
import resource, shutil, sys
from pathlib import Path
from render.spool import Spool

def take(bytes_each):
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_each, resource.RLIM_INFINITY))

folder = Path(sys.argv[1])
spool = Spool(folder)
if sys.argv[2] == "deleted":
    assert spool.append([b"before"])
    shutil.rmtree(folder)
take(0)
for _ in range(20):
    assert not spool.append([b"refused"])
assert len(list(folder.iterdir())) == 1
if sys.argv[2] == "deleted":
    shutil.rmtree(folder)
    assert not spool.append([b"refused"])
take(resource.RLIM_INFINITY)
assert spool.append([b"after"])
"""


def drained(spool: Spool) -> list[bytes]:
    taken: list[bytes] = []

    def accept(entries: Sequence[bytes]) -> bool:
        taken.extend(entries)
        return True

    assert spool.drain(accept) == len(taken)
    return taken


def test_it_gives_back_what_was_kept_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entries = [f"entry {number}".encode() for number in range(2 * BATCH + 5)]
    assert spool.append(entries[:7])
    assert spool.append(entries[7:])
    assert drained(spool) == entries
    assert spool.waiting() == []
    assert drained(spool) == []


def test_it_keeps_what_the_receiver_did_not_take(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entries = [b"%d" % number for number in range(BATCH + 1)]
    spool.append(entries)
    assert spool.drain(lambda _: False) == 0
    answers = iter([True, False])
    assert spool.drain(lambda _: next(answers)) == BATCH
    assert drained(spool) == entries


def test_it_takes_over_what_a_killed_process_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"kept\n"
        assert drained(Spool(tmp_path)) == []
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert drained(Spool(tmp_path)) == [b"one", b"two"]


@pytest.mark.parametrize("again", [True, False])
def test_it_saves_the_file_it_writes_when_somebody_deletes_the_folder(tmp_path: Path, again: bool) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    spool.append([b"one", b"two"])
    shutil.rmtree(folder)
    if again:
        assert spool.append([b"three"])
    assert len(spool.waiting()) == 1
    assert drained(spool) == [b"one", b"two", *([b"three"] if again else [])]


def test_it_holds_the_file_it_writes_until_the_disk_takes_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    spool.append([b"one", b"two"])
    shutil.rmtree(folder)
    folder.write_bytes(b"a file where the folder should be")
    assert not spool.append([b"refused"])
    assert drained(spool) == []
    folder.unlink()
    assert spool.append([b"three"])
    assert drained(spool) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("damage", ["torn head", "torn entry", "flipped bit"])
def test_it_reads_up_to_a_torn_or_damaged_frame(tmp_path: Path, damage: str) -> None:
    spool = Spool(tmp_path)
    spool.append([b"whole", b"broken"])
    spool.close()
    (path,) = spool.waiting()
    data = bytearray(path.read_bytes())
    if damage == "flipped bit":
        data[-1] ^= 1
    else:
        del data[-(len(b"broken") + 3) if damage == "torn head" else -2 :]
    path.write_bytes(data)
    with path.open("rb") as file:
        assert list(read_file(file)) == [b"whole"]
    assert drained(Spool(tmp_path)) == [b"whole"]


def test_it_refuses_more_than_its_bound_and_takes_again_after_a_drain(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1000)
    assert spool.append([b"x" * 600])
    assert not spool.append([b"x" * 600])
    other = Spool(tmp_path, max_bytes=1000)
    assert not other.append([b"x" * 600])
    other.close()
    assert len(drained(spool)) == 1
    assert spool.append([b"x" * 600])
    spool.close()


def test_it_says_no_when_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    spool = Spool(tmp_path / "file")
    assert not spool.append([b"one"])
    assert spool.waiting() == []


def test_it_takes_back_what_the_disk_took_only_a_part_of(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED_WRITER, str(tmp_path)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == 0
    assert sorted(path.stat().st_size for path in Spool(tmp_path).waiting()) == [68, 68]
    assert drained(Spool(tmp_path)) == [b"x" * 60, b"z" * 60]


@pytest.mark.parametrize("before", ["empty", "deleted"])
def test_it_tries_one_file_again_while_the_disk_is_full(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "spool"
    command = [sys.executable, "-c", FULL_WRITER, str(folder), before]
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == 0
    assert len(Spool(folder).waiting()) == 1
    assert drained(Spool(folder)) == [*([b"before"] if before == "deleted" else []), b"after"]


@pytest.mark.parametrize("refused", ["file", "folder"])
def test_it_leaves_nothing_of_what_the_disk_could_not_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (refused == "folder"):
            raise OSError(errno.ENOSPC, "told when it is synced, as by NFS")

    spool = Spool(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        for _ in range(5):
            assert not spool.append([b"refused"])
    assert [path.stat().st_size for path in spool.waiting()] == ([0] if refused == "file" else [])
    assert spool.append([b"taken"])
    assert drained(spool) == [b"taken"]


def test_it_refuses_an_entry_that_a_drain_would_not_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert not spool.append([b"small", b"x" * (MAX_ENTRY + 1)])
    assert spool.waiting() == []
    assert spool.append([b"x" * MAX_ENTRY])
    assert [len(entry) for entry in drained(spool)] == [MAX_ENTRY]


def test_it_writes_to_no_file_that_was_drained_before_it_was_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    met: list[Path] = []

    def drain_first(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not met:
            met.extend(Spool(tmp_path).waiting())
            assert drained(Spool(tmp_path)) == []
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", drain_first)
    spool = Spool(tmp_path)
    assert spool.append([b"one"])
    assert len(met) == 1
    assert drained(spool) == [b"one"]
