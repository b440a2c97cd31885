"""The web process: pages for managers and support, and the API. Built explicitly; nothing connects on import."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, abort, request
from flask_wtf.csrf import CSRFProtect

import templates
from base import db, shapes, stores
from base.blobs import blobs_from
from base.clock import Clock, clock_from
from base.errors import InvalidInput
from base.logs import set_up
from base.processes import give_way
from base.settings import Settings
from base.vault import Vault
from campaigns import access, api, errors, limits, presenting
from campaigns.addresses import CONVERTERS
from campaigns.endpoint import Endpoint
from campaigns.parts import EXTENSION, Parts
from campaigns.views import BLUEPRINTS
from signals import keymarks

MAX_BODY_BYTES = 4 * 1024 * 1024
UPLOADS = frozenset({"pictures.upload", "api.upload_picture"})
MAX_UPLOAD_BYTES = 14 * 1024 * 1024
"""What takes pictures in: 10 MB grow by a third in Base64."""
REQUIRED = (
    "database_url", "redis_url", "queue_url", "token_keys", "session_key", "subject_key", "hash_key", "record_key",
    "pii_keys",
)  # fmt: skip


def create_app(settings: Settings, clock: Clock | None = None) -> Flask:
    """The app for these settings; `clock` overrides their own.

    Raises RuntimeError if a route does not say who may use it.
    """
    shapes.prepare()
    app = Flask("campaigns", template_folder=str(Path(templates.__file__).parent / "ui"), static_folder=None)
    app.url_map.converters.update(CONVERTERS)
    app.wsgi_app = access.Origin(app.wsgi_app, settings.trusted_proxies)  # type: ignore[assignment, method-assign]
    app.config.update(
        SECRET_KEY=settings.session_key,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.web_url.startswith("https://"),
        SESSION_COOKIE_NAME="latebind",
        WTF_CSRF_TIME_LIMIT=12 * 3600,
    )
    clock = clock or clock_from(settings)
    store = stores.connect(settings.redis_url)
    app.extensions[EXTENSION] = Parts(
        settings=settings,
        sessions=db.sessions(db.connect(settings.database_url, vault=Vault.of(settings), application="latebind web")),
        store=store,
        queues=store if settings.queue_url in ("", settings.redis_url) else stores.connect(settings.queue_url),
        blobs=blobs_from(settings),
        clock=clock,
        endpoint=Endpoint(settings, clock),
    )
    app.before_request(_refuse_nul)
    app.before_request(_make_room)  # Before anything reads the body, as the check of forms does.
    csrf = CSRFProtect(app)
    csrf.exempt(api.api)  # Programs bear a key, which no browser sends by itself.
    access.install(app)
    limits.install(app, settings.queue_url or settings.redis_url)
    errors.install(app)
    presenting.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    api.install(app)
    access.check_routes(app)
    return app


def _refuse_nul() -> None:
    # No name that is kept holds one, and PostgreSQL takes none to compare with.
    if "\0" in request.path:
        abort(404)
    if request.path.startswith("/api/"):
        for name, value in request.args.items(multi=True):
            if "\0" in value:
                raise InvalidInput(name, "holds a character that cannot be kept")


def _make_room() -> None:
    if request.endpoint in UPLOADS:
        request.max_content_length = MAX_UPLOAD_BYTES


def from_environment() -> Flask:
    """What gunicorn calls. Raises SettingError naming the variable that is missing or wrong."""
    settings = Settings.from_environment(os.environ, require=REQUIRED)
    set_up(settings, "web")
    give_way(settings.niceness)
    app = create_app(settings)
    parts: Parts = app.extensions[EXTENSION]
    keymarks.settle(parts.sessions, settings, parts.clock.now())
    return app
