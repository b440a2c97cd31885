"""The jobs that queues carry. They take ids and plain JSON values; the process that runs them is set up once.

RQ may run a job twice or lose it: a job is a hint that rows wait, and the ledger says whether they do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis import Redis, RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested

from base.clock import monotonic, pause
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
PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0
"""How long it waits that could not work, at first and at most."""
_PICTURES: Final = "pictures-"
_MODELS: Final = "models-"
_SCORES: Final = "scores-"
_LIKELY: Final = "likely-"
_RELATIONS: Final = "relations-"
_TRAINING: Final = "training-"
_EXPORTS: Final = "exports-"
_RESULTS: Final = "results-"
_log = logger(__name__)
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
    """Compute everybody's scores, in a process of its own: its models and memory go when it is done."""
    apart.run("score", seconds=JOB_SECONDS)


def enqueue_scores(connection: Redis) -> bool:
    """Put a job that computes scores on the work queue, unless one waits there; whether it was put."""
    return _enqueue_one(connection, COMPUTE_SCORES, _SCORES)


def find_likely() -> None:
    """Look for customers who are probably one, in a process of its own: splink and its memory go when it is done."""
    apart.run("match", seconds=JOB_SECONDS)


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


class _Worker(SimpleWorker):
    """RQ's worker, that can tell whether it was told to stop."""

    is_told = False

    def request_stop(self, signum: Any, frame: Any) -> None:
        self.is_told = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def register_death(self) -> None:
        """As RQ's; what a full store does not take of it runs out there by itself."""
        with suppress(RedisError):
            super().register_death()  # type: ignore[no-untyped-call]


def work(name: QueueName, connection: Redis, *, burst: bool = False) -> None:
    """Run the jobs of a queue in this process until told to stop (or, in a burst, until none is left).

    Jobs run in the worker's own process: the relay connection and compiled mails are kept from one to the next. A
    `kill -9` therefore takes the worker with the job, and nothing runs on beside its successor. RQ's worker ends where
    the store refuses a write, as a full one does; one takes its place after a while, until one is told to stop. In a
    burst redis.RedisError is raised.
    """
    listened: list[Queue] = [queue(name, connection)]
    seconds = PAUSE_SECONDS
    while True:
        worker, began, why = _Worker(listened, connection=connection, serializer=SERIALIZER), monotonic(), "see above"
        try:
            worker.work(burst=burst, logging_level="WARNING")
            if burst or worker.is_told:
                return
        except RedisError as error:
            if burst:
                raise
            why = type(error).__name__
        seconds = PAUSE_SECONDS if monotonic() - began > MAX_PAUSE_SECONDS else min(MAX_PAUSE_SECONDS, 2 * seconds)
        if not worker.is_told:
            _log.warning("the worker waits", queue=name.value, error=why, again_in_s=seconds)
        # The signal handler is that worker's; it may raise here.
        with suppress(StopRequested, RedisError):
            until = monotonic() + seconds
            while not worker.is_told and monotonic() < until:
                pause(0.1)
        if worker.is_told:
            return
