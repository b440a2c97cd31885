"""The job queues. RQ is at-least-once: *once* comes from the delivery ledger, so a job may run twice without harm.

Jobs take ids and plain JSON values; a job is a batch, never one mail.
"""

from __future__ import annotations

from enum import StrEnum

from redis import Redis
from rq import Queue

SERIALIZER = "json"
FAILURE_SECONDS = 7 * 86_400
JOB_SECONDS = 3_600


class QueueName(StrEnum):
    """Every queue; each has a worker in the Procfile."""

    SEND = "send"
    WORK = "work"


def queue(name: QueueName, connection: Redis) -> Queue:
    """A queue by its name, with our serializer and a bounded time for its jobs."""
    return Queue(name.value, connection=connection, serializer=SERIALIZER, default_timeout=JOB_SECONDS)
