from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from base.blobs import BlobCache, FolderBlobs, blobs_from
from base.errors import InvalidInput, NotFound
from base.settings import Settings


def test_it_keeps_bytes_by_their_hash(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put(b"a picture")
    assert digest == hashlib.sha256(b"a picture").hexdigest()
    assert blobs.get(digest) == b"a picture"
    assert blobs.exists(digest)
    assert list(blobs.digests()) == [digest]


def test_it_keeps_the_same_bytes_once(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: blobs.put(b"same"), range(50)))) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [hashlib.sha256(b"same").hexdigest()]


def test_it_says_what_it_does_not_keep(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(NotFound):
        blobs.get("0" * 64)
    digest = blobs.put(b"x")
    blobs.delete(digest)
    assert not blobs.exists(digest)
    blobs.delete(digest)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_it_refuses_what_is_no_digest(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="digest"):
        FolderBlobs(tmp_path).get(name)


def test_it_never_returns_bytes_that_rotted(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put(b"sound")
    (tmp_path / digest[:2] / digest).write_bytes(b"rotten")
    with pytest.raises(NotFound):
        blobs.get(digest)


def test_it_leaves_no_half_written_blob(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = hashlib.sha256(b"content").hexdigest()
    (tmp_path / digest[:2]).mkdir()
    (tmp_path / digest[:2] / f".{digest}.dead").write_bytes(b"con")
    assert list(blobs.digests()) == []
    assert blobs.put(b"content") == digest
    assert blobs.get(digest) == b"content"


def test_it_holds_no_more_in_memory_than_allowed(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    cache = BlobCache(blobs, max_bytes=1000)
    digests = [blobs.put(bytes([number]) * 300) for number in range(10)]
    for digest in digests:
        assert len(cache.get(digest)) == 300
        assert cache.size <= 1000
    assert cache.get(digests[-1]) == bytes([9]) * 300
    blobs.delete(digests[-1])
    assert cache.get(digests[-1]) == bytes([9]) * 300
    blobs.delete(digests[0])
    with pytest.raises(NotFound):
        cache.get(digests[0])


def test_it_does_not_hold_what_is_larger_than_the_cache(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    cache = BlobCache(blobs, max_bytes=10)
    assert cache.get(blobs.put(b"x" * 11)) == b"x" * 11
    assert cache.size == 0


def test_it_uses_the_folder_of_the_settings(settings: Settings) -> None:
    digest = blobs_from(settings).put(b"x")
    assert (Path(settings.blob_url) / digest[:2] / digest).exists()


def test_it_sweeps_what_is_old_and_nothing_that_was_kept_again(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    day = timedelta(days=1)
    old, again = blobs.put(b"old"), blobs.put(b"again")
    assert not blobs.sweep(old, day)
    assert blobs.get(old) == b"old"
    for digest in (old, again):
        os.utime(tmp_path / digest[:2] / digest, (0, 0))
    assert blobs.put(b"again") == again
    assert blobs.sweep(old, day)
    assert not blobs.sweep(again, day)
    assert not blobs.exists(old)
    assert blobs.get(again) == b"again"
    assert blobs.sweep(old, day), "what is gone is swept"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [again]


def test_it_loses_nothing_to_a_sweep_at_the_same_time(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put(b"wanted")
    stop = threading.Event()

    def sweeping() -> None:
        while not stop.is_set():
            blobs.sweep(digest, timedelta(hours=1))

    sweeper = threading.Thread(target=sweeping)
    sweeper.start()
    try:
        for _ in range(300):
            path = tmp_path / digest[:2] / digest
            with suppress(FileNotFoundError):
                os.utime(path, (0, 0))
            blobs.put(b"wanted")
    finally:
        stop.set()
        sweeper.join()
    assert blobs.get(digest) == b"wanted"
