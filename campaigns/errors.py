"""What a person or a program is told when something goes wrong: one sentence, one status, nothing leaked."""

from __future__ import annotations

from itertools import islice
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, jsonify, make_response, render_template, request
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException, Unauthorized

from base.errors import (
    BadToken,
    Conflict,
    Expired,
    Forbidden,
    InvalidInput,
    LatebindError,
    NotFound,
    SettingError,
    Unavailable,
)
from base.logs import logger
from base.sealing import Unsealable
from campaigns.access import PUBLIC, roles_of
from campaigns.editions import FIELD, Outdated, Stale
from signals.sealingkeys import RETRY_SECONDS

STATUS: dict[type[LatebindError], int] = {
    InvalidInput: 400,
    BadToken: 404,
    Expired: 410,
    NotFound: 404,
    Forbidden: 403,
    Conflict: 409,
    Outdated: 412,
    Unavailable: 503,
}
TWICE = "It was done a moment ago already, by a second click perhaps, or by somebody else."
CLOSED = (
    "Something that is kept here cannot be opened with the keys that this process has. Nothing was changed by it. "
    "The log says which key or value; docs/deploy.md says what to do."
)
MAX_KEPT_FIELDS = 500
WORDS = {
    400: "That could not be understood",
    401: "Please sign in",
    403: "Your role does not allow this",
    404: "There is nothing here",
    405: "That cannot be done here",
    409: "That does not fit the present state",
    410: "This has expired",
    412: "It was changed meanwhile",
    413: "That is too large",
    429: "Too many tries; wait a minute",
    500: "Something broke on our side",
    503: "A part of the system is away",
}
SAID = {
    400: "The request was not complete. Go back, load the page again and repeat what you did.",
    401: "You were signed out in the meantime.",
    403: "Ask an admin for the role that this page needs.",
    404: "The address is wrong, or what was there is gone.",
    405: "This address is not meant to be opened like this.",
    413: "A form may hold four megabytes, a picture ten.",
    429: "Somebody tried too often from here, or at this account. After a minute it goes on.",
}
"""What a page says of an error that no code of ours raised."""
log = logger(__name__)


def install(app: Flask) -> None:
    """Answers for our own errors, for HTTP errors and for the unforeseen."""
    app.register_error_handler(LatebindError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(CSRFError, _unsent)
    app.register_error_handler(Unauthorized, _unsent)
    app.register_error_handler(Stale, _stale)
    app.register_error_handler(IntegrityError, _twice)
    app.register_error_handler(Exception, _unforeseen)


def status_of(error: LatebindError) -> int:
    """The HTTP status of one of our errors."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def _ours(error: LatebindError) -> Response:
    if isinstance(error, SettingError | Unsealable):
        log.error("what is stored cannot be opened", endpoint=request.endpoint, reason=str(error))
        response = _answer(503, CLOSED, None)
        response.headers["Retry-After"] = str(RETRY_SECONDS)
        return response
    status = status_of(error)
    if status == 500:
        log.error("request failed", endpoint=request.endpoint, error=type(error).__name__)
    response = _answer(status, str(error), getattr(error, "field", None))
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _http(error: HTTPException) -> Response:
    # Werkzeug's own response carries headers that belong to the status, such as Allow; they are kept.
    inner, status = error.get_response(), error.code or 500
    response = _answer(status, SAID.get(status, error.description or ""), None)
    for name, value in inner.headers.items():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _unsent(error: HTTPException) -> Response:
    """A form that came without a session, or too late: what was typed is shown, to be sent again after signing in.

    Only of a form of ours: what another site sent stays unsent.
    """
    view = current_app.view_functions.get(request.endpoint or "")
    if request.method != "POST" or not _is_ours() or view is None or PUBLIC in roles_of(view):
        return _http(error)
    page = render_template("unsent.html", fields=_typed(), files=list(request.files), stale=None, edition=FIELD)
    return make_response(page, 400 if current_user.is_authenticated else 401)


def _stale(error: Stale) -> Response:
    """Somebody saved the same meanwhile: what was typed is shown, to be put in its place knowingly."""
    fields = [(name, error.edition if name == FIELD else value) for name, value in _typed()]
    page = render_template("unsent.html", fields=fields, files=list(request.files), stale=error, edition=FIELD)
    return make_response(page, 409)


def _typed() -> list[tuple[str, str]]:
    fields = (
        (name, value)
        for name, value in request.form.items(multi=True)
        if name != "csrf_token" and "password" not in name and "secret" not in name
    )
    return list(islice(fields, MAX_KEPT_FIELDS))


def _is_ours() -> bool:
    """Whether a page of ours sent this, as the browser says; one that says neither is not believed."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("Origin", "")).netloc == request.host


def _twice(error: IntegrityError) -> Response:
    """Two did the same at the same moment, and the database took one."""
    if not isinstance(error.orig, UniqueViolation):
        return _unforeseen(error)
    log.warning("done twice", endpoint=request.endpoint, constraint=error.orig.diag.constraint_name)
    return _answer(409, TWICE, None)


def _unforeseen(error: Exception) -> Response:
    log.exception("request failed", endpoint=request.endpoint, error=type(error).__name__)
    return _answer(500, "It has been noted. Nothing you entered was changed by it.", None)


def _answer(status: int, message: str, field: str | None) -> Response:
    if request.path.startswith("/api/"):
        return make_response(
            jsonify(status=status, title=WORDS.get(status, "Error"), detail=message, field=field), status
        )
    page = render_template(
        "error.html", status=status, title=WORDS.get(status, "Something went wrong"), message=message
    )
    return make_response(page, status)
