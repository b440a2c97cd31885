"""For balancers and monitors: alive, ready, and counters."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis import RedisError
from sqlalchemy import text

from base.errors import Unavailable
from campaigns.access import public
from campaigns.parts import parts

pages = Blueprint("health", __name__)


@pages.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """The process runs."""
    return jsonify(status="ok")


@pages.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """The process reaches its database and its store. 503 names the part that is away."""
    with parts().transaction() as session:
        session.execute(text("SELECT 1"))
    try:
        parts().store.ping()
    except RedisError as error:
        raise Unavailable("The hot store") from error
    return jsonify(status="ready")


@pages.get("/metrics")
@public
def metrics() -> ResponseReturnValue:
    """The process's counters in Prometheus text form."""
    return generate_latest(), 200, {"Content-Type": CONTENT_TYPE_LATEST}
