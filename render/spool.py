"""Where records wait on local disk while Valkey is away: framed, synced before they count, bounded, drained in order.

A process appends to files of its own, `<pid>-<random>.spool`, holding a lock on each; a file whose lock is free was
left by a process that died, and whoever drains may take it over. A frame is length (4 bytes, big-endian), CRC-32 (4)
and the sealed entry; a torn last frame was never acknowledged and is dropped. A file is removed only after all of its
entries were accepted, so an entry may be handed over twice: records are idempotent by their ids.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

_FRAME: Final = struct.Struct(">II")
MAX_BYTES: Final = 256_000_000
"""What the spool of one folder may hold unless told otherwise; beyond it records are refused."""
MAX_ENTRY: Final = 8 * 1024 * 1024
BATCH: Final = 200
BEGINNINGS: Final = 16
"""New files to try when others remove them before they are locked."""
SUFFIX: Final = ".spool"


class Spool:
    """The spool folder of one machine, as one process writes and drains it. For many threads."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._deleted: BinaryIO | None = None
        """A file that somebody deleted while it was written; until another holds its entries, nothing else is kept."""
        self._written = 0

    def append(self, entries: Sequence[bytes]) -> bool:
        """Keep the sealed entries; True once they are on disk.

        False when the disk refuses, the spool is full, or an entry is larger than a drain would read.
        """
        if any(len(entry) > MAX_ENTRY for entry in entries):
            return False
        frames = b"".join(_FRAME.pack(len(entry), zlib.crc32(entry)) + entry for entry in entries)
        with self._lock:
            try:
                self._rescue()
            except OSError:
                return False  # What the deleted file holds is not given up for these.
            try:
                file = self._file or self._begin()
                if self._written + len(frames) > self._max_bytes:
                    return False
                _write(file, frames)
            except OSError:
                self._leave_if_used()
                return False
            self._written += len(frames)
            return True

    def drain(self, accept: Callable[[Sequence[bytes]], bool]) -> int:
        """Hand over everything that waits, oldest file first, and return how many entries were accepted.

        `accept` returns False when the receiver cannot take more now; what it did not take stays.
        """
        self._end()
        moved = 0
        for path in self.waiting():
            handed, complete = self._drain_file(path, accept)
            moved += handed
            if not complete:
                break
        return moved

    def waiting(self) -> list[Path]:
        """The files that hold entries, oldest first."""
        with self._lock, suppress(OSError):
            self._rescue()
        return self._files()

    def _files(self) -> list[Path]:
        try:
            found = [(path.stat().st_mtime_ns, path) for path in self._folder.glob(f"*{SUFFIX}")]
        except OSError:
            return []
        return [path for _, path in sorted(found)]

    def close(self) -> None:
        """Let go of the file being written; its entries stay for whoever drains next."""
        self._end()
        with self._lock:
            self._give_up()
            if self._deleted is not None:
                self._deleted.close()
                self._deleted = None

    def _begin(self) -> BinaryIO:
        """Start a file, and count afresh what waits in the folder, other processes' files too."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(BEGINNINGS):
            path = self._folder / f"{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
            file = _locked_file(path)
            # Between making and locking, whoever drains may have found the file empty and removed it.
            if os.fstat(file.fileno()).st_nlink:
                break
            file.close()
        else:
            raise OSError("every new spool file was removed before it was locked")
        try:
            _sync_folder(self._folder)
            self._written = sum(path.stat().st_size for path in self._files())
        except OSError:
            _remove(path, file)
            raise
        self._file = file
        return file

    def _rescue(self) -> None:
        """If somebody deleted the file being written, write what it holds to a new one while it can still be read.

        Raises OSError while the disk takes no new one; the deleted file is held open and tried again.
        """
        if self._file is not None and not os.fstat(self._file.fileno()).st_nlink:
            if self._deleted is None:
                self._deleted = self._file
            else:
                self._file.close()
            self._file = None
        if self._deleted is None:
            return
        kept = os.pread(self._deleted.fileno(), os.fstat(self._deleted.fileno()).st_size, 0)
        try:
            _write(self._file or self._begin(), kept)
        except OSError:
            self._leave_if_used()
            raise
        self._deleted.close()
        self._deleted = None
        self._written += len(kept)

    def _end(self) -> None:
        with self._lock, suppress(OSError):
            self._rescue()
            self._give_up()

    def _leave_if_used(self) -> None:
        """After a refused write: leave a file with entries to whoever drains, keep an empty one for the next try."""
        if self._file is not None and os.fstat(self._file.fileno()).st_size:
            self._give_up()

    def _give_up(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _drain_file(self, path: Path, accept: Callable[[Sequence[bytes]], bool]) -> tuple[int, bool]:
        """Entries handed over from one file, and whether the drain may go on."""
        moved = 0
        try:
            with path.open("rb") as file:
                try:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return 0, True
                for batch in _batches(file):
                    if not accept(batch):
                        return moved, False
                    moved += len(batch)
                path.unlink()
        except FileNotFoundError:
            return moved, True
        except OSError:
            return moved, False
        return moved, True


def read_file(file: BinaryIO) -> Iterator[bytes]:
    """The whole entries of a spool file, up to the first torn or damaged frame."""
    while len(head := file.read(_FRAME.size)) == _FRAME.size:
        length, checksum = _FRAME.unpack(head)
        if length > MAX_ENTRY:
            return
        entry = file.read(length)
        if len(entry) < length or zlib.crc32(entry) != checksum:
            return
        yield entry


def _batches(file: BinaryIO) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for entry in read_file(file):
        batch.append(entry)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _locked_file(path: Path) -> BinaryIO:
    """A new file of this process's own, locked."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600), "r+b", buffering=0)
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    except OSError:
        _remove(path, file)
        raise
    return file


def _remove(path: Path, file: BinaryIO) -> None:
    """Let go of a file that was begun in vain."""
    with suppress(OSError):
        path.unlink()
    file.close()


def _write(file: BinaryIO, frames: bytes) -> None:
    """Put all the frames on disk or none. Raises OSError; a full disk takes a part of a write and says so by count, or
    takes it and says so when it is synced."""
    before = os.fstat(file.fileno()).st_size
    try:
        if file.write(frames) != len(frames):
            raise OSError("the disk took a part of the entries only")
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
