"""The render app: what mail clients reach. It loads no SQL and no queue, and knows no database.

Pictures are answered before Flask is asked: an open then pays for its own work only. Everything else is Flask's.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST

from base import shapes
from base.blobs import BlobCache, blobs_from
from base.clock import Clock, clock_from
from base.logs import logger, set_up
from base.sealing import Sealer
from base.settings import Settings
from base.tokens import TokenKeys
from render import respond, snippet, webpicture
from render.access import Keyring
from render.agree import Agreement
from render.amp import show_amp
from render.cache import PictureCache
from render.click import follow_click
from render.commit import Recorder
from render.contact import MAX_BODY, decide_contact
from render.fallback import Ladder
from render.hotcluster import hot_store
from render.lookup import Lookup
from render.metrics import Metrics
from render.notice import not_found, notice
from render.open import open_head, open_picture
from render.opening import Opening
from render.origin import Origins, read_ranges
from render.outcome import tell_outcome
from render.parts import Parts
from render.pictures import Pictures
from render.pressure import Pressure
from render.rates import Rates
from render.respond import Answer
from render.shelf import ModelShelf, RelationsShelf
from render.site import decide_site
from render.spool import Spool
from render.unsubscribe import show_page, withdraw
from render.view import show_block, show_mail
from render.warmer import Warmer
from render.warmup import warm_fonts
from render.webpicture import head_web_picture, open_web_picture
from signals.candidates import MODEL_FEATURES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUIRED: Final = ("redis_url", "token_keys", "record_key")
PICTURES: Final = "/o/"
MIN_REPLY_SECONDS: Final = 0.01
_log = logger("render")


def build_parts(settings: Settings, clock: Clock | None = None) -> Parts:
    """Everything a render process works with, its background work not yet begun. Connects to nothing."""
    metrics = Metrics(settings.var / "metrics" / "render")
    deadline = settings.deadline_ms / 1000
    # Three exchanges fit into the deadline: one to read, one to agree, one for the total cap or the record.
    reply_seconds = max(MIN_REPLY_SECONDS, deadline / 3)
    hot = hot_store(settings.redis_url, reply_seconds)
    sealer = Sealer(settings.record_key)
    spool = Spool(settings.var / "spool", settings.spool_mb * 1_000_000)
    blobs = blobs_from(settings)
    models = ModelShelf(blobs, MODEL_FEATURES)
    relations = RelationsShelf(blobs)
    lookup = Lookup(hot, models, relations, metrics)
    agreement = Agreement(hot)
    recorder = Recorder(hot, sealer, spool, metrics)
    pictures = Pictures(warm_fonts(), BlobCache(blobs), PictureCache(), drawn=lambda: metrics.count("drawings"))
    ladder = Ladder(pictures, metrics)
    return Parts(
        settings=settings,
        clock=clock or clock_from(settings),
        tokens=TokenKeys.from_settings(settings),
        hot=hot,
        keyring=Keyring(hot),
        origins=Origins(settings.trusted_proxies, read_ranges(settings.address_ranges)),
        lookup=lookup,
        agreement=agreement,
        opening=Opening(lookup, agreement, recorder, sealer, metrics, reply_seconds * 1.2),
        recorder=recorder,
        spool=spool,
        pictures=pictures,
        ladder=ladder,
        models=models,
        relations=relations,
        warmer=Warmer(hot, lookup, ladder),
        rates=Rates(),
        metrics=metrics,
        pressure=Pressure(deadline),
        deadline_seconds=deadline,
    )


def create_app(settings: Settings, clock: Clock | None = None) -> Flask:
    """The app, with its background work begun; `clock` overrides the settings' own. Raises SettingError."""
    shapes.prepare()
    parts = build_parts(settings, clock)
    parts.recorder.start()
    parts.models.start()
    parts.relations.start()
    parts.warmer.start()
    app = Flask("render", static_folder=None)
    app.extensions["parts"] = parts
    app.extensions["pressure"] = parts.pressure
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    _routes(app, parts)
    app.wsgi_app = PicturesFirst(parts, app.wsgi_app)  # type: ignore[method-assign]
    return app


def from_environment() -> Flask:
    """The app as gunicorn starts it. Raises SettingError naming a variable that is missing or bad."""
    settings = Settings.from_environment(os.environ, require=REQUIRED)
    set_up(settings, "render")
    app = create_app(settings)
    atexit.register(app.extensions["parts"].close)
    return app


class PicturesFirst:
    """Answers `/o/` itself and hands everything else on."""

    def __init__(self, parts: Parts, rest: WSGIApplication) -> None:
        self._parts = parts
        self._rest = rest

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if not path.startswith(PICTURES):
            return self._rest(environ, start_response)
        text = path[len(PICTURES) :].partition(".")[0]
        method = environ["REQUEST_METHOD"]
        if method == "GET":
            answer = open_picture(self._parts, text, environ)
        elif method == "HEAD":
            answer = open_head(self._parts, text)
        else:
            answer = respond.text("Only GET and HEAD are answered here.\n", "405 Method Not Allowed")
            answer.headers.append(("Allow", "GET, HEAD"))
        start_response(answer.status, answer.headers)
        return [answer.body]


def _routes(app: Flask, parts: Parts) -> None:
    pages = {"/h/": show_block, "/view/": show_mail, "/amp/": show_amp, "/c/": follow_click, "/u/": show_page}
    for path, show in pages.items():
        app.add_url_rule(
            f"{path}<text>", endpoint=path.strip("/"), view_func=_shown(parts, show), methods=["GET"],
            provide_automatic_options=False,
        )  # fmt: skip

    @app.post("/u/<text>", provide_automatic_options=False)
    def leave(text: str) -> Response:
        return _sent(withdraw(parts, text, request.form))

    @app.post("/v1/decide")
    def decide() -> Response:
        # A browser names the page it asks from; a server has no page, and a key in a header.
        from_page = "HTTP_ORIGIN" in request.environ and "HTTP_AUTHORIZATION" not in request.environ
        answer = decide_site if from_page else decide_contact
        return _sent(answer(parts, request.get_data(), request.environ))

    @app.post("/v1/outcome")
    def outcome() -> Response:
        return _sent(tell_outcome(parts, request.get_data(), request.environ))

    @app.get(f"{webpicture.PATH}<name>", provide_automatic_options=False)
    def web_picture(name: str) -> Response:
        is_head = request.method == "HEAD"
        return _sent(head_web_picture(parts, name) if is_head else open_web_picture(parts, name))

    @app.get(f"{snippet.PATH}<name>", provide_automatic_options=False)
    def script(name: str) -> Response:
        return _sent(snippet.serve(name))

    @app.get("/healthz")
    def healthy() -> Response:
        return _sent(respond.json({"status": "ok"}))

    @app.get("/readyz")
    def ready() -> Response:
        # A process that cannot reach the store still answers every picture, so it must stay behind the balancer.
        return _sent(respond.json({"status": "ready", "store": "away" if parts.hot.is_away else "there"}))

    @app.get("/metrics")
    def metrics() -> Response:
        return _sent(respond.text(parts.metrics.text().decode(), content_type=CONTENT_TYPE_LATEST))

    @app.errorhandler(404)
    def missing(_error: Exception) -> Response:
        return _sent(not_found())


def _shown(parts: Parts, show: Callable[[Parts, str, dict[str, object]], Answer]) -> Callable[[str], Response]:
    """A page that never breaks: whatever goes wrong inside, its reader gets a page and its cause a log line."""

    def view(text: str) -> Response:
        if request.method == "HEAD":
            # Scanners ask with HEAD: nothing is looked up, decided or recorded for them.
            return _sent(Answer("200 OK", [("Content-Type", "text/html; charset=utf-8")], b""))
        try:
            return _sent(show(parts, text, request.environ))
        except Exception as error:  # noqa: BLE001 - the link stands in a mail that cannot be sent again
            _log.error("page failed", page=request.path.split("/")[1], error=type(error).__name__, exc_info=error)
            parts.metrics.count("errors", value="other")
            return _sent(notice("One moment", "<p>Please try again.</p>"))

    return view


def _sent(answer: Answer) -> Response:
    response = Response(answer.body, status=answer.status)
    response.headers.clear()
    response.headers.extend(answer.headers)
    return response
