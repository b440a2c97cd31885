"""The content-addressed store: bytes by the SHA-256 of their content, written once, never changed.

A folder, divided by the first two digits. A blob appears whole or not at all: it is written beside its place,
synced, and renamed. Whoever reads one trusts the name only after hashing, which `get` does.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from base.clock import SystemClock
from base.errors import InvalidInput, NotFound
from base.settings import Settings

_DIGEST = re.compile(r"[0-9a-f]{64}")
CACHE_BYTES = 32 * 1024 * 1024


class Blobs(Protocol):
    """Where blobs are read; the folder and the cache before it both are one."""

    def get(self, digest: str) -> bytes:
        """The bytes. Raises NotFound, and InvalidInput for what is no digest."""
        ...


class FolderBlobs:
    """Blobs in a folder that all processes of a machine share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep the bytes and return their SHA-256 in hexadecimal. Durable when it returns; a repeat costs one look.

        A repeat makes the blob young again, so that nobody sweeps what is about to be named once more.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            pass
        else:
            return digest
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.parent / f".{digest}.{secrets.token_hex(4)}"
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes. Raises NotFound when they were never kept, were deleted, or rotted on disk."""
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound("blob", digest) from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise NotFound("sound copy of blob", digest)
        return content

    def exists(self, digest: str) -> bool:
        """Whether the bytes are kept."""
        return self._path(digest).exists()

    def delete(self, digest: str) -> None:
        """Forget the bytes; no complaint when they are not there."""
        self._path(digest).unlink(missing_ok=True)

    def sweep(self, digest: str, idle: timedelta) -> bool:
        """Delete a blob that nothing names, unless it was kept, or kept again, within `idle` by the machine's clock.

        False: it is too young, and somebody may be about to name it. Whoever keeps it while this runs has it kept:
        the file is taken aside before its age is looked at, and a `put` that no longer finds it writes it anew.
        """
        path = self._path(digest)
        aside = path.parent / f".{digest}.{secrets.token_hex(4)}"
        try:
            if _age(path) < idle:
                return False
            path.rename(aside)
        except FileNotFoundError:
            return True
        if _age(aside) < idle:
            aside.rename(path)
            return False
        aside.unlink()
        return True

    def digests(self) -> Iterator[str]:
        """The names of all blobs kept, in no order."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/[0-9a-f]*"):
            yield path.name

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput("digest", "must be 64 lower-case hexadecimal digits")
        return self._folder / digest[:2] / digest


class BlobCache:
    """A bounded cache in memory before another store; the least recently used goes first. For many threads."""

    def __init__(self, source: Blobs, max_bytes: int = CACHE_BYTES) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, digest: str) -> bytes:
        """The bytes, from memory or from the source."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        content = self._source.get(digest)
        if len(content) <= self._max_bytes:
            self._keep(digest, content)
        return content

    @property
    def size(self) -> int:
        """Bytes held now."""
        return self._bytes

    def _keep(self, digest: str, content: bytes) -> None:
        with self._lock:
            if digest in self._kept:
                return
            self._kept[digest] = content
            self._bytes += len(content)
            while self._bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)


def blobs_from(settings: Settings) -> FolderBlobs:
    """The store that LATEBIND_BLOB_URL names."""
    return FolderBlobs(Path(settings.blob_url))


def _age(path: Path) -> timedelta:
    """How long ago a file was written or kept again."""
    return SystemClock().now() - datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
