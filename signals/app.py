"""The signals app: the Segment HTTP tracking API, the product feed, and the three addresses operators watch.

A call is answered 200 only when its events are committed and the states they changed are in Valkey. Otherwise 503 with
Retry-After (429 where only room is lacking), and sending it again is safe.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections import Counter as Counts
from collections.abc import Iterable
from threading import Lock
from typing import Final

from flask import Blueprint, Flask, Response, abort, current_app, g, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from redis import RedisError
from werkzeug.exceptions import HTTPException

from base import db, shapes, stores
from base.clock import Clock, clock_from, monotonic
from base.db import transaction
from base.errors import Busy, Forbidden, InvalidInput, LatebindError, NotFound, SettingError, Unavailable
from base.logs import logger, set_up
from base.schema import OldSchema, SchemaCheck
from base.sealing import Unsealable
from base.settings import Settings
from base.vault import Vault
from signals import keymarks, requests, sealingkeys, shophooks, webhooks
from signals.feed import FORMATS, sniffed, spelt
from signals.fullfeeds import FEEDS
from signals.importing import import_products
from signals.intake import Intake, take
from signals.lanes import CONNECTIONS, SMALL, Lanes
from signals.products import take_products
from signals.providers import Forged
from signals.reading import Outcome, Status
from signals.requests import CutShort, Envelope, TooLarge, UnknownEncoding
from signals.sealingkeys import Retired
from signals.signal import clock_skew
from signals.sources import Sender, sender_by_key

REQUIRED: Final = ("database_url", "redis_url", "hash_key", "pii_keys")
FEED_BYTES: Final = 64 * 1024 * 1024
SENDERS: Final = 1_000
SENDER_SECONDS: Final = 1.0
SHORT: Final = {"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias"}
"""How Segment's browser SDK addresses single calls: by the first letter of their type."""
SWITCH_SECONDS: Final = 0.001
"""How long a thread may keep the interpreter from others. A single signal takes it again after each of its ten round
trips; at Python's own 5 ms it would wait for a batch that is being folded five times as long, each time."""

_log = logger("signals")


class Unauthorised(LatebindError):
    """No write key, or one we do not know."""


_STATUS: Final[dict[type[LatebindError], int]] = {
    InvalidInput: 400,
    Unauthorised: 401,
    Forbidden: 403,
    Forged: 403,
    NotFound: 404,
    CutShort: 408,
    TooLarge: 413,
    UnknownEncoding: 415,
    Busy: 429,
    Unavailable: 503,
}


class Senders:
    """Sources by write key, each held for a second: a disabled key stops working within one."""

    def __init__(self, sessions: db.Sessions) -> None:
        self._sessions = sessions
        self._held: dict[bytes, tuple[float, Sender | None]] = {}
        self._lock = Lock()

    def find(self, write_key: str) -> Sender | None:
        """The source of a key. Raises Unavailable when it is not held and the database is away."""
        name = hashlib.sha256(write_key.encode()).digest()
        now = monotonic()
        held = self._held.get(name)
        if held is not None and held[0] > now:
            return held[1]
        with transaction(self._sessions) as session:
            found = sender_by_key(session, write_key)
        with self._lock:
            if len(self._held) >= SENDERS:
                self._held.clear()
            self._held[name] = (now + SENDER_SECONDS, found)
        return found


class Desk:
    """What the views share: the intake, the clock, the known senders, the counters."""

    def __init__(self, settings: Settings) -> None:
        self._engine = db.connect(
            settings.database_url, vault=Vault.of(settings), pool_size=CONNECTIONS, application="latebind signals"
        )
        self.sessions = db.sessions(self._engine)
        self.schema = SchemaCheck()
        self.store = stores.connect(settings.redis_url)
        self.intake = Intake(self.sessions, self.store, settings.hash_key)
        self.lanes = Lanes(settings.signals_threads)
        self.clock: Clock = clock_from(settings)
        self.senders = Senders(self.sessions)
        self.registry = CollectorRegistry()
        self.events = Counter(
            "latebind_signals_events", "Events by what became of them.", ["outcome"], registry=self.registry
        )
        self.calls = Histogram(
            "latebind_signals_seconds",
            "Time from a call's first line to its answer.",
            ["call", "status"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
            registry=self.registry,
        )

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()
        self.store.close()

    def sender(self, write_key: str | None) -> Sender:
        """The source that calls. Raises Unauthorised, or Forbidden when the browser's origin is not allowed."""
        if not write_key or len(write_key) > requests.KEY_LENGTH:
            raise Unauthorised("A write key must be given as the user name of HTTP Basic authentication.")
        found = self.senders.find(write_key)
        if found is None:
            raise Unauthorised("The write key is not known.")
        origin = request.headers.get("Origin")
        if found.origins and origin is not None and origin not in found.origins:
            raise Forbidden("This origin is not on the source's list.")
        return found

    def take(self, envelope: Envelope, call: str) -> list[Outcome]:
        """Take a request's events from whoever holds its key."""
        sender = self.sender(requests.basic_key(request) or envelope.write_key)
        now = self.clock.now()
        type_ = "" if call == "batch" else call
        skew = clock_skew(envelope.sent_at, now)
        with self.lanes.small() if len(envelope.events) <= SMALL else self.lanes.large():
            outcomes = take(self.intake, sender, envelope.events, now, skew=skew, type_=type_)
        for status, count in counted(outcomes).items():
            self.events.labels(status).inc(count)
        return outcomes


def counted(outcomes: Iterable[Outcome]) -> Counts[Status]:
    """How many events came to what."""
    return Counts(outcome.status for outcome in outcomes)


def create_app(settings: Settings) -> Flask:
    """The app for these settings; nothing connects before the first request."""
    shapes.prepare()
    app = Flask("signals", static_folder=None)
    desk = app.extensions["signals"] = Desk(settings)
    app.extensions["webhooks"] = webhooks.Webhooks(settings, desk.intake, desk.clock, desk.lanes)
    app.extensions["shops"] = shophooks.ShopHooks(settings, desk.intake, desk.clock, desk.lanes)
    app.before_request(_refuse_nul)
    app.register_blueprint(_calls)
    app.register_blueprint(webhooks.blueprint)
    app.register_blueprint(shophooks.blueprint)
    app.register_blueprint(_health)
    app.register_error_handler(LatebindError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    return app


def _refuse_nul() -> None:
    # No address holds one, and PostgreSQL takes none to compare with.
    if "\0" in request.path:
        abort(404)


def from_environment() -> Flask:
    """What gunicorn calls. Raises SettingError naming the variable that is missing or wrong."""
    settings = Settings.from_environment(os.environ, require=REQUIRED)
    set_up(settings, "signals")
    sys.setswitchinterval(SWITCH_SECONDS)
    app = create_app(settings)
    desk: Desk = app.extensions["signals"]
    keymarks.settle(desk.sessions, settings, desk.clock.now())
    return app


_calls = Blueprint("calls", __name__, url_prefix="/v1")
_health = Blueprint("health", __name__)


def _desk() -> Desk:
    desk: Desk = current_app.extensions["signals"]
    return desk


@_calls.before_request
def _begin() -> None:
    g.began = monotonic()


@_calls.after_request
def _end(response: Response) -> Response:
    """Count the call and let browsers read the answer; a key is not a cookie, so any origin may be told and any header
    sent: SDKs have some of their own."""
    call = (request.view_args or {}).get("call") or (request.url_rule.rule if request.url_rule else "unknown")
    _desk().calls.labels(call, str(response.status_code)).observe(monotonic() - g.began)
    if origin := request.headers.get("Origin"):
        response.headers["Access-Control-Allow-Origin"] = origin
        if asked := request.headers.get("Access-Control-Request-Headers"):
            response.headers["Access-Control-Allow-Headers"] = asked
        response.headers["Access-Control-Max-Age"] = "86400"
        response.headers["Vary"] = "Origin"
    return response


@_calls.post("/batch")
@_calls.post("/b")
@_calls.post("/import")
def take_batch() -> Response:
    """Many events of any type. 200 also when some are refused: those are listed in the answer, the others are kept."""
    outcomes = _desk().take(requests.batch(requests.body_of(request)), "batch")
    count = counted(outcomes)
    rejected = [
        {"index": index, "field": outcome.field, "message": outcome.message}
        for index, outcome in enumerate(outcomes)
        if outcome.status == "rejected"
    ]
    return jsonify(
        success=True,
        accepted=count["accepted"],
        duplicates=count["duplicate"],
        conflicts=count["conflict"],
        withheld=count["withheld"],
        rejected=rejected,
    )


@_calls.post("/products")
def take_feed() -> tuple[Response, int] | Response:
    """A product feed; the format is told by its content, or by `?format=`, and by `?feed=` what it says.

    That is `full` (the whole catalogue of the source; the default), `part` of it, or `delta` (what changes).
    `?leaving=any`: it is full however much it leaves out.
    """
    desk = _desk()
    sender = _teller(desk)
    feed = next((known for known in FEEDS if known == request.args.get("feed", "full")), None)
    if feed is None:
        raise InvalidInput("feed", f"must be one of {', '.join(FEEDS)}")
    leaving = request.args.get("leaving")
    if leaving not in (None, "any") or (leaving is not None and feed != "full"):
        raise InvalidInput("leaving", "may be: any, of a full feed")
    with desk.lanes.feed():
        body = requests.body_of(request, FEED_BYTES, FEED_BYTES)
        format_ = next((known for known in FORMATS if known == request.args.get("format")), sniffed(body[:100]))
        with desk.lanes.large():
            stream, now, any_share = io.BytesIO(body), desk.clock.now(), leaving == "any"
            report = import_products(desk.intake, sender, stream, format_, now, feed, any_share=any_share)
    return jsonify(success=True, **report.answer())


@_calls.post("/products/changes")
def take_changes() -> Response:
    """Changes of price and stock, in effect for the next open; those that are refused are listed, the others kept."""
    desk = _desk()
    sender = _teller(desk)
    now = desk.clock.now()
    changes, at = requests.changes(requests.body_of(request), now)
    with desk.lanes.small() if len(changes) <= SMALL else desk.lanes.large():
        report = take_products(desk.intake, sender, map(spelt, changes), at, "changes", came=now)
    return jsonify(success=True, **report.answer())


def _teller(desk: Desk) -> Sender:
    """The source that calls, which may tell of products. Raises Unauthorised and Forbidden."""
    sender = desk.sender(requests.basic_key(request))
    if not sender.is_server:
        raise Forbidden("A browser key cannot send products.")
    return sender


@_calls.post("/<any(identify, track, page, screen, group, alias):call>")
def take_call(call: str) -> Response:
    """One event. 400 names the field that is wrong; 403 says that this source may not say it."""
    outcome = _desk().take(requests.single(requests.body_of(request)), call)[0]
    if outcome.status == "rejected":
        response = jsonify(success=False, error={"field": outcome.field, "message": outcome.message})
        response.status_code = 403 if outcome.untrusted else 400
        return response
    return jsonify(success=True, status=outcome.status)


for _short, _call in SHORT.items():
    _calls.add_url_rule(f"/{_short}", _short, take_call, methods=["POST"], defaults={"call": _call})


@_calls.post("/m")
def take_metrics() -> Response:
    """What Segment's browser SDK tells of itself: taken and thrown away."""
    return jsonify(success=True)


@_health.get("/healthz")
def alive() -> Response:
    """The process answers."""
    return Response("ok\n", mimetype="text/plain")


@_health.get("/readyz")
def ready() -> Response:
    """Both stores answer and the database has this code's schema, so a call would be taken."""
    desk = _desk()
    try:
        with transaction(desk.sessions) as session:
            desk.schema.ask(session)
        desk.store.ping()
    except (OldSchema, Retired) as error:
        return Response(f"{error}\n", status=503, mimetype="text/plain", headers={"Retry-After": "1"})
    except (Unavailable, RedisError):
        return Response("a store is away\n", status=503, mimetype="text/plain", headers={"Retry-After": "1"})
    return Response("ready\n", mimetype="text/plain")


@_health.get("/metrics")
def metrics() -> Response:
    """Counters of this process for Prometheus."""
    return Response(generate_latest(_desk().registry), content_type=CONTENT_TYPE_LATEST)


def _refused(error: LatebindError) -> Response:
    """An error of ours as an answer: what is wrong, with which field, and when to come again."""
    if isinstance(error, SettingError | Unsealable):
        # Nothing is lost by it: whoever told the signal tells it again once this process has the key.
        _log.error("what is stored cannot be opened", reason=str(error))
        error = Unavailable("What is kept of people", sealingkeys.RETRY_SECONDS)
    field = error.field if isinstance(error, InvalidInput) else ""
    message = error.message if isinstance(error, InvalidInput) else str(error)
    response = jsonify(success=False, error={"field": field, "message": message})
    response.status_code = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(error.retry_after)
        _log.warning("busy" if isinstance(error, Busy) else "unavailable", part=error.part)
    if isinstance(error, Unauthorised):
        response.headers["WWW-Authenticate"] = 'Basic realm="write key"'
    return response


def _http_error(error: HTTPException) -> Response:
    """Flask's own errors (no such address, method not allowed) in the same shape, their headers kept."""
    response = Response(error.get_response().get_data(), status=error.code, headers=dict(error.get_headers()))
    response.data = jsonify(success=False, error={"field": "", "message": error.description or error.name}).data
    response.content_type = "application/json"
    return response
