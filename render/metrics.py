"""What the render processes of a machine count, added up over all of them wherever `/metrics` is asked.

Each process adds to a small mapped file of its own; whoever is asked sums the files. What processes that ended have
counted is folded into one file by the next that starts, so that totals never fall and the folder stays small.
prometheus-client writes the text; its own multi-process mode is chosen by an environment variable at import, which we
do not do.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Row(NamedTuple):
    """A counter: its help line, and its one label with every value that it may have (none: a plain counter)."""

    help: str
    label: str = ""
    values: tuple[str, ...] = ()


TABLE: Final[dict[str, Row]] = {
    "answers": Row(
        "Pictures answered, by the rung of the ladder they came from.",
        "rung",
        ("cached", "drawn", "last", "default", "static", "neutral"),
    ),
    "fetches": Row(
        "Fetches answered for a valid token, by class.",
        "class",
        ("person", "proxy", "undecided", "prefetch", "scanner", "test", "staff"),
    ),
    "decisions": Row("New opens, by the rung of their decision.", "rung", ("model", "rules", "default")),
    "without_model": Row("New opens decided by rules although their campaign has a slot of mode model."),
    "shed": Row("Pictures for which a process that was behind left something out.", "step", ("model", "decision")),
    "held": Row("Fetches that used an open already begun."),
    "conflicts": Row("Opens that met another process's write and looked again."),
    "refused_caps": Row("Reservations that a total cap refused."),
    "lost": Row("Reads that found a key absent which must exist."),
    "unread": Row("Opens answered with the default or the static picture: the hot store could not be read."),
    "unagreed": Row("Opens answered with the last decision or the default: processes could not agree in time."),
    "not_recorded": Row("Fetches that may not be recorded: erased, consent withdrawn, tracking level none."),
    "spooled": Row("Entries kept on local disk because the stream was away."),
    "unspooled": Row("Entries moved from local disk to the stream."),
    "unrecorded": Row("Entries that neither stream nor disk accepted: the static picture went out."),
    "forged": Row("Tokens that could not be read."),
    "drawings": Row("Pictures drawn; whoever wanted the same one meanwhile waited for it."),
    "late_drawings": Row("Drawings that were not ready by the deadline."),
    "errors": Row(
        "Unexpected errors, each answered from the ladder.", "step", ("open", "decide", "draw", "record", "other")
    ),
    "clicks": Row(
        "Clicks answered.", "outcome", ("redirect", "default", "ended", "unseen", "unresolved", "trap", "not_found")
    ),
    "unsubscribes": Row("Withdrawals accepted.", "via", ("one-click", "page")),
    "contacts": Row("Answers to /v1/decide."),
    "outcomes": Row("Outcomes of contacts that were put on record.", "outcome", ("taken", "refused")),
}
BUCKETS: Final = (0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.25, 0.3, 0.5, 1.0)
"""Upper bounds of the open's duration, in seconds from the app's first line to the last byte handed over."""

_PREFIX: Final = "latebind_render_"
_PLACE: Final = {
    key: place
    for place, key in enumerate((name, value) for name, row in TABLE.items() for value in (row.values or ("",)))
}
_FIRST_BUCKET: Final = len(_PLACE)
_MICROSECONDS: Final = _FIRST_BUCKET + len(BUCKETS) + 1
_SIZE: Final = (_MICROSECONDS + 1) * 8
_SUFFIX: Final = ".counts"
_PAST: Final = f"past{_SUFFIX}"


class Metrics:
    """One process's counts, and the sum over all processes that share the folder. For many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with self._folder_lock():
            self._fold_past()
            path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.ftruncate(self._descriptor, _SIZE)
        self._values = memoryview(mmap.mmap(self._descriptor, _SIZE)).cast("Q")
        self._lock = threading.Lock()

    def count(self, name: str, by: int = 1, value: str = "") -> None:
        """Add to a counter of `TABLE`; `value` is its label's. Raises KeyError for one that is not in the table."""
        if by:
            place = _PLACE[name, value]
            with self._lock:
                self._values[place] += by

    def took(self, seconds: float) -> None:
        """Note how long an open took."""
        bucket = _FIRST_BUCKET
        for bound in BUCKETS:
            if seconds <= bound:
                break
            bucket += 1
        with self._lock:
            self._values[bucket] += 1
            self._values[_MICROSECONDS] += int(seconds * 1e6)

    def text(self) -> bytes:
        """Everything counted by all processes, in Prometheus's text form."""
        registry = CollectorRegistry()
        registry.register(_Sum(self.totals()))
        return generate_latest(registry)

    def total(self, name: str, value: str = "") -> int:
        """One counter's sum over all processes."""
        return self.totals()[_PLACE[name, value]]

    def totals(self) -> list[int]:
        """The sums over all files of the folder, in the order of the table, then the buckets and the microseconds."""
        with self._folder_lock():
            rows = [_read(path) for path in self._folder.glob(f"*{_SUFFIX}")]
        return [sum(column) for column in zip(*rows, strict=True)]

    def close(self) -> None:
        """Stop counting; what was counted stays in the folder."""
        with self._lock:
            self._values = memoryview(bytearray(_SIZE)).cast("Q")
        os.close(self._descriptor)

    def _fold_past(self) -> None:
        """Add the counts of processes that ended into one file. Called with the folder locked."""
        past = self._folder / _PAST
        total = _read(past) if past.exists() else [0] * (_SIZE // 8)
        ended: list[Path] = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path.name != _PAST and _is_free(path):
                total = [left + right for left, right in zip(total, _read(path), strict=True)]
                ended.append(path)
        if ended:
            draft = past.with_suffix(".draft")
            draft.write_bytes(struct.pack(f"={len(total)}Q", *total))
            draft.rename(past)
            for path in ended:
                path.unlink()

    @contextmanager
    def _folder_lock(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class _Sum(Collector):
    """Totals in the form prometheus-client writes."""

    def __init__(self, totals: list[int]) -> None:
        self._totals = totals

    def collect(self) -> Iterable[Metric]:
        for name, row in TABLE.items():
            family = CounterMetricFamily(_PREFIX + name, row.help, labels=[row.label] if row.label else None)
            for value in row.values or ("",):
                family.add_metric([value] if row.label else [], self._totals[_PLACE[name, value]])
            yield family
        yield HistogramMetricFamily(
            f"{_PREFIX}open_seconds",
            "Time from the app's first line to the picture handed over.",
            buckets=self._buckets(),
            sum_value=self._totals[_MICROSECONDS] / 1e6,
        )

    def _buckets(self) -> list[tuple[str, float]]:
        buckets: list[tuple[str, float]] = []
        below = 0
        for number, bound in enumerate((*(str(bound) for bound in BUCKETS), "+Inf")):
            below += self._totals[_FIRST_BUCKET + number]
            buckets.append((bound, below))
        return buckets


def _read(path: Path) -> list[int]:
    """A file's counts; all zero for one of another release, whose places mean something else."""
    data = path.read_bytes()
    return list(struct.unpack(f"={_SIZE // 8}Q", data)) if len(data) == _SIZE else [0] * (_SIZE // 8)


def _is_free(path: Path) -> bool:
    """Whether the process that wrote the file has ended."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
