"""The front desk of the API: who asks, what form bodies must have, how errors look, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from flask import Blueprint, Flask, Response, abort, current_app, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from spectree import Response as Answers
from spectree import SecurityScheme, SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from spectree.models import SecuritySchemeData

from campaigns import people
from campaigns.access import ADMIN, PUBLIC, public, roles_of
from campaigns.parts import parts

View = TypeVar("View", bound=Callable[..., Any])
BODY_METHODS = ("POST", "PUT", "PATCH")
MAX_PAGE = 500

api = Blueprint("api", __name__, url_prefix="/api/v1")
document = Blueprint("document", __name__, url_prefix="/api")


class Problem(msgspec.Struct, frozen=True):
    """What went wrong: status, a title, one sentence, and the field at fault where there is one."""

    status: int
    title: str
    detail: str
    field: str | None = None


class Done(msgspec.Struct, frozen=True):
    """A change was made; `state` is what the thing is now, where it has one."""

    done: bool = True
    state: str | None = None


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list: ids after `after`, at most `limit` (500)."""

    after: int = 0
    limit: int = 50


def _refuse(_request: Any, _response: Any, error: Exception | None, *_rest: Any) -> None:
    """Answer a body or query that does not fit its struct, naming the field."""
    if error is None:
        return
    text, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or None
    problem = Problem(400, "That could not be understood", text, field)
    abort(make_response(jsonify(msgspec.to_builtins(problem)), 400))


spec = SpecTree(
    "flask",
    title="Latebind API",
    version="1",
    path="openapi",
    openapi_version="3.1.0",
    model_adapter=get_msgspec_model_adapter(),
    validation_error_model=Problem,
    validation_error_status=400,
    before=_refuse,
    page_templates={},
    naming_strategy=lambda model: model.__name__,
    nested_naming_strategy=lambda _parent, child: child,
    security_schemes=[SecurityScheme(name="key", data=SecuritySchemeData(type="http", scheme="bearer"))],
    security={"key": []},
)


def answers(status: int, model: Any, *more: int) -> Answers:
    """The answers of a view: its own, and the problems it can end in (400, 401, 403 and `more`)."""
    problems = {f"HTTP_{code}": Problem for code in (400, 401, 403, *more)}
    return Answers(**{f"HTTP_{status}": model}, **problems)


def served(status: int, model: Any, tag: str, *more: int) -> Callable[[View], View]:
    """Declares a view to the document and has its arguments (json, query) read from the request."""

    def declare(view: View) -> View:
        operation = "".join(part.capitalize() for part in view.__name__.split("_"))
        declared: View = spec.validate(
            resp=answers(status, model, *more),
            tags=[tag],
            operation_id=operation[:1].lower() + operation[1:],
        )(view)
        return declared

    return declare


@api.before_request
def check() -> ResponseReturnValue | None:
    """The key first, then the form of the body: so a stranger learns nothing of what a body should be."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    with parts().transaction() as session:
        key = people.read_key(session, text.strip()) if scheme.lower() == "bearer" else None
        if key is None or key.kind != "server":
            response = _problem(401, "Please sign in", "Send a server API key as a bearer token.")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        g.api_key = key
        held = set(key.roles)
    wanted = roles_of(current_app.view_functions[request.endpoint or ""])
    if PUBLIC not in wanted and ADMIN not in held and held.isdisjoint(wanted):
        return _problem(403, "The key's roles do not allow this", f"It needs one of: {', '.join(sorted(wanted))}.")
    if request.method in BODY_METHODS and request.url_rule is not None and _takes_body():
        if not request.is_json:
            return _problem(415, "The body must be JSON", "Send it as application/json.")
        if request.get_json(silent=True) is None:
            return _problem(400, "That could not be understood", "The body is not a JSON object.")
    return None


def _takes_body() -> bool:
    view = current_app.view_functions[request.endpoint or ""]
    return "json" in getattr(view, "__annotations__", {})


def _problem(status: int, title: str, detail: str) -> Response:
    return make_response(jsonify(msgspec.to_builtins(Problem(status, title, detail))), status)


@document.get("/openapi.json")
@public
def openapi() -> ResponseReturnValue:
    """The document of all this."""
    return jsonify(spec.spec)


def install(app: Flask) -> None:
    """Register the API with an app."""
    app.register_blueprint(api)
    app.register_blueprint(document)
    spec.register(app)


def bounded(page: Page) -> int:
    """How many rows a page has, at most 500."""
    return max(1, min(page.limit, MAX_PAGE))
