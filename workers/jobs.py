"""The jobs that queues carry. They take ids and plain JSON values; the process that runs them is set up once.

RQ may run a job twice or lose it: a job is a hint that rows wait, and the ledger says whether they do.
"""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis import Redis, RedisError
from rq import SimpleWorker

from base.clock import monotonic
from base.logs import logger
from base.queues import FAILURE_SECONDS, JOB_SECONDS, SERIALIZER, QueueName, queue
from workers import apart
from workers.exporting import Exporter
from workers.productpictures import PictureFetcher
from workers.reckoner import Reckoner
from workers.relations import RelationsLearner
from workers.sending import Sender

SEND: Final = "workers.jobs.send"
FETCH_PICTURES: Final = "workers.jobs.fetch_pictures"
JUDGE_MODELS: Final = "workers.jobs.judge_models"
TRAIN_MODEL: Final = "workers.jobs.train_model"
JUDGE_SECONDS: Final = 1_800.0
COMPUTE_SCORES: Final = "workers.jobs.compute_scores"
FIND_LIKELY: Final = "workers.jobs.find_likely"
LEARN_RELATIONS: Final = "workers.jobs.learn_relations"
TELL_RECEIVERS: Final = "workers.jobs.tell_receivers"
COUNT_RESULTS: Final = "workers.jobs.count_results"
TRAIN_SECONDS: Final = 3_300.0
"""Less than a job may take: what takes longer is ended."""
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 15.0
"""How long a worker waits at first, and at most, for a store that is away or full."""
_PICTURES: Final = "pictures-"
_MODELS: Final = "models-"
_SCORES: Final = "scores-"
_LIKELY: Final = "likely-"
_RELATIONS: Final = "relations-"
_TRAINING: Final = "training-"
_EXPORTS: Final = "exports-"
_RESULTS: Final = "results-"
log = logger(__name__)
_senders: list[Sender] = []
_fetchers: list[PictureFetcher] = []
_learners: list[RelationsLearner] = []
_exporters: list[Exporter] = []
_reckoners: list[Reckoner] = []


def set_up(
    sender: Sender,
    fetcher: PictureFetcher | None = None,
    learner: RelationsLearner | None = None,
    exporter: Exporter | None = None,
    reckoner: Reckoner | None = None,
) -> Callable[[], None]:
    """Name who does the work of this process's jobs: mails, pictures, relations, exports and results.

    Returns what takes them back.
    """
    _senders[:] = [sender]
    _fetchers[:] = [] if fetcher is None else [fetcher]
    _learners[:] = [] if learner is None else [learner]
    _exporters[:] = [] if exporter is None else [exporter]
    _reckoners[:] = [] if reckoner is None else [reckoner]

    def take_back() -> None:
        _senders.clear()
        _fetchers.clear()
        _learners.clear()
        _exporters.clear()
        _reckoners.clear()

    return take_back


def send(ids: list[int]) -> dict[str, int]:
    """Send a batch of deliveries; returns how many ended in which state."""
    if not _senders:
        raise RuntimeError("this process was not set up to send")
    return _senders[0].send(ids).states


def enqueue_send(connection: Redis, ids: list[int]) -> None:
    """Put a batch on the send queue."""
    # What a mail's fate was is in the ledger, so a finished job is kept for a minute only.
    queue(QueueName.SEND, connection).enqueue(SEND, ids, result_ttl=60, failure_ttl=FAILURE_SECONDS, description="send")


def fetch_pictures() -> dict[str, int]:
    """Fetch the product pictures that are due; returns how many were kept and how many failed."""
    if not _fetchers:
        raise RuntimeError("this process was not set up to fetch pictures")
    done = _fetchers[0].run()
    return {"kept": done.kept, "failed": done.failed}


def enqueue_pictures(connection: Redis) -> bool:
    """Put a job that fetches pictures on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, FETCH_PICTURES, _PICTURES)


def learn_relations() -> str | None:
    """Learn what stored orders say of products and categories, if that is due; the hash of what was learnt."""
    if not _learners:
        raise RuntimeError("this process was not set up to learn")
    return _learners[0].run()


def enqueue_relations(connection: Redis) -> bool:
    """Put a job that learns relations on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, LEARN_RELATIONS, _RELATIONS)


def tell_receivers() -> dict[str, int]:
    """Tell the receivers of audience exports who came and who left; how many people were added and removed."""
    if not _exporters:
        raise RuntimeError("this process was not set up to tell receivers")
    done = _exporters[0].run()
    return {"added": done.added, "removed": done.removed, "faults": done.faults}


def enqueue_exports(connection: Redis) -> bool:
    """Put a job that tells receivers on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, TELL_RECEIVERS, _EXPORTS)


def count_results() -> int:
    """Count the results of large campaigns that are due; of how many."""
    if not _reckoners:
        raise RuntimeError("this process was not set up to count results")
    return _reckoners[0].run()


def enqueue_results(connection: Redis) -> bool:
    """Put a job that counts results on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, COUNT_RESULTS, _RESULTS)


def judge_models() -> None:
    """Bring models on trial up to date, in a process of its own: LightGBM stays out of this one."""
    apart.run("judge", seconds=JUDGE_SECONDS)


def enqueue_judging(connection: Redis) -> bool:
    """Put a job that judges models on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, JUDGE_MODELS, _MODELS)


def compute_scores() -> None:
    """Compute everybody's scores if that is due still, in a process of its own: its models and memory go with it."""
    apart.run("score", "--scheduled", seconds=JOB_SECONDS)


def enqueue_scores(connection: Redis) -> bool:
    """Put a job that computes scores on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, COMPUTE_SCORES, _SCORES)


def find_likely() -> None:
    """Look for customers who are probably one if that is due still, in a process of its own: splink and its memory go
    with it."""
    apart.run("match", "--scheduled", seconds=JOB_SECONDS)


def enqueue_likely(connection: Redis) -> bool:
    """Put a job that looks for likely matches on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, FIND_LIKELY, _LIKELY)


def train_model() -> None:
    """Train a model in a process of its own, unless one is being trained."""
    apart.run("train", "--scheduled", seconds=TRAIN_SECONDS)


def enqueue_training(connection: Redis) -> bool:
    """Put a job that trains a model on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, TRAIN_MODEL, _TRAINING)


def _enqueue_one(connection: Redis, job: str, prefix: str) -> bool:
    waiting = queue(QueueName.WORK, connection)
    if any(number.startswith(prefix) for number in waiting.get_job_ids()):
        return False
    waiting.enqueue(job, job_id=f"{prefix}{secrets.token_hex(8)}", result_ttl=60, failure_ttl=FAILURE_SECONDS)
    return True


def work(name: QueueName, connection: Redis, *, burst: bool = False) -> None:
    """Run the jobs of a queue in this process until told to stop (or, in a burst, until none is left).

    Jobs run in the worker's own process: the relay connection and compiled mails are kept from one to the next. A
    `kill -9` therefore takes the worker with the job, and nothing runs on beside its successor. A store that is away or
    full is waited for. Raises redis.RedisError, in a burst alone.
    """
    seconds, stop = FIRST_PAUSE_SECONDS, threading.Event()
    while True:
        worker, began = _Worker([queue(name, connection)], connection=connection, serializer=SERIALIZER), monotonic()
        worker.stop = stop
        try:
            worker.work(burst=burst, logging_level="WARNING")
            why = "it gave up"
        except RedisError as error:
            if burst:
                raise
            why = type(error).__name__
        if burst or stop.is_set():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())
        if monotonic() - began > MAX_PAUSE_SECONDS:
            seconds = FIRST_PAUSE_SECONDS
        log.warning("the worker waits", error=why, seconds=seconds)
        if stop.wait(seconds):
            return
        seconds = min(2 * seconds, MAX_PAUSE_SECONDS)


class _Worker(SimpleWorker):
    """RQ's, which ends alike when it is told to and when it cannot go on; `stop` is set where somebody told it to."""

    stop: threading.Event

    def request_stop(self, signum: Any, frame: Any) -> None:
        self.stop.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        if self.stop.is_set():
            # It was told before RQ listened.
            self._stop_requested = True

    def set_shutdown_requested_date(self) -> None:
        """As RQ's, which tells the store in the midst of a job: one that takes nothing must not fail the job."""
        with suppress(RedisError):
            super().set_shutdown_requested_date()  # type: ignore[no-untyped-call]

    def register_death(self) -> None:
        """As RQ's; what a full store does not take of it runs out there by itself."""
        with suppress(RedisError):
            super().register_death()  # type: ignore[no-untyped-call]
