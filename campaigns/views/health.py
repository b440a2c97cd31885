"""For balancers and monitors: alive, ready, and counters."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis import RedisError

from base.errors import Unavailable
from campaigns.access import public
from campaigns.alarms import gauges
from campaigns.parts import parts
from campaigns.watch import Measures, measures

pages = Blueprint("health", __name__)


@pages.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """The process runs."""
    return jsonify(status="ok")


@pages.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """The process reaches its database, which has its schema, and its store. 503 says what is away or older."""
    with parts().transaction() as session:
        parts().schema.ask(session)
    try:
        parts().store.ping()
    except RedisError as error:
        raise Unavailable("The hot store") from error
    return jsonify(status="ready")


@pages.get("/metrics")
@public
def metrics() -> ResponseReturnValue:
    """What an operator watches, and the process's own counters, in Prometheus text form."""
    with parts().transaction() as session:
        seen = measures(session, parts().blobs, parts().store, parts().queues, parts().now())
    registry = CollectorRegistry()
    registry.register(_Watched(seen))
    return generate_latest(registry) + generate_latest(), 200, {"Content-Type": CONTENT_TYPE_LATEST}


class _Watched(Collector):
    """Measures in the form prometheus-client writes."""

    def __init__(self, seen: Measures) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        return gauges(self._seen)
