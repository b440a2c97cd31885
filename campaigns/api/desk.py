"""The front desk of the API: who asks, what form bodies must have, how errors look, and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any, Final, ParamSpec, TypeVar, cast

import msgspec
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    after_this_request,
    current_app,
    g,
    jsonify,
    make_response,
    request,
)
from flask.typing import ResponseReturnValue
from spectree import Response as Answers
from spectree import SecurityScheme, SpecTree
from spectree.model_adapter import ModelAdapter
from spectree.model_adapter.msgspec_adapter import MsgspecModelAdapter
from spectree.model_adapter.protocol import SchemaMode
from spectree.models import SecureType, SecuritySchemeData

from campaigns import people
from campaigns.access import ADMIN, PUBLIC, public, roles_of
from campaigns.addresses import MAX_ID, MAX_LONG_ID, SCHEMAS
from campaigns.parts import parts

P = ParamSpec("P")
Told = TypeVar("Told")
BODY_METHODS: Final = ("POST", "PUT", "PATCH")
MAX_PAGE: Final = 500
MAX_NUMBER: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""
NOT_UNDERSTOOD: Final = "That could not be understood"
_NAMED_FIELD: Final = re.compile(r"field `([^`]+)`$")

Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
OptionalId = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
"""An id, or 0 for none."""
LongId = Annotated[int, msgspec.Meta(ge=0, le=MAX_LONG_ID)]

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
    """Which part of a list: ids after `after`, at most `limit`."""

    after: LongId = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 50


class Schemas(MsgspecModelAdapter):
    """Makes the schema of each struct once, though most answers of every operation may be a Problem."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[Any, dict[str, Any]] = {}

    def json_schema(self, model: Any, **asked: Any) -> dict[str, Any]:
        """The schema of a struct; spectree works on a copy of it."""
        key = (model, *sorted(asked.items()))
        if key not in self._made:
            self._made[key] = super().json_schema(model, **asked)
        return self._made[key]


def _refuse(_request: Any, _response: Any, error: Exception | None, *_rest: Any) -> None:
    """Answer a body or query that does not fit its struct, naming the field."""
    if error is None:
        return
    text, _, path = str(error).partition(" - at `$")
    named = _NAMED_FIELD.search(text)
    field = ".".join(part for part in (path.rstrip("`").lstrip("."), named[1] if named else "") if part)
    abort(problem(400, NOT_UNDERSTOOD, text, field or None))


class Document(SpecTree):
    """SpecTree that makes schemas when the document is asked for: they were an eighth of a web process's start."""

    def __init__(self, *asked: Any, **more: Any) -> None:
        super().__init__(*asked, **more)
        self._waiting: dict[str, tuple[Any, SchemaMode]] = {}
        self._making = Lock()

    def _add_model(self, model: Any, mode: SchemaMode = "validation") -> str:
        name: str = self.naming_strategy(model)
        before, _ = self._waiting.setdefault(name, (model, mode))
        if before is not model:
            raise TypeError(f"{name} of {model.__module__} has the name of something else, of {before.__module__}")
        return name

    def _get_model_definitions(self) -> dict[str, Any]:
        """What structs hold, each by its name. Raises TypeError for two that differ: one would stand for both."""
        known = {
            name: {part: schema[part] for part in schema if part != "$defs"} for name, schema in self.models.items()
        }
        for model, schema in self.models.items():
            for name, described in schema.get("$defs", {}).items():
                if known.setdefault(name, described) != described:
                    raise TypeError(f"{name}, which {model} holds, has the name of something else")
        made: dict[str, Any] = super()._get_model_definitions()
        return made

    def described(self, app: Flask) -> dict[str, Any]:
        """The whole document, made from the views of an app that has installed the API."""
        with self._making, app.app_context():
            if self._waiting:
                for model, mode in self._waiting.values():
                    super()._add_model(model, mode)
                self._waiting.clear()
                _describe_addresses(app, self.spec)
                _describe_editions(self.spec)
            made: dict[str, Any] = self.spec
            return made


spec = Document(
    "flask",
    title="Latebind API",
    description=(
        "Everything the pages do, for programs. Send a server key as a bearer token; its roles say what it may do. "
        "A refusal is a Problem: one sentence, and the field at fault. Money is cents, shares are 0 to 1, times are "
        "RFC 3339 with an offset."
    ),
    version="1",
    path="openapi",
    mode="strict",
    openapi_version="3.1.0",
    model_adapter=cast(ModelAdapter[Any, Any, Any], Schemas()),
    validation_error_model=Problem,
    validation_error_status=400,
    before=_refuse,
    page_templates={},
    naming_strategy=lambda model: model.__name__,
    nested_naming_strategy=lambda _parent, child: child,
    security_schemes=[SecurityScheme(name="key", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer"))],
    security={"key": []},
)


_EDITIONS: Final[set[str]] = set()
"""Operations whose answers tell an edition."""
_IF_MATCH: Final = {
    "name": "If-Match", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 1000},
    "description": "The ETag that came with what is to be changed: if it has another by now, nothing is changed.",
}  # fmt: skip
_ETAG: Final = {"description": "The edition of what is written, for If-Match.", "schema": {"type": "string"}}


def served(
    status: int, model: Any, tag: str, *more: int, editions: bool = False
) -> Callable[[Callable[P, Any]], Callable[P, ResponseReturnValue]]:
    """Declares a view to the document and has its arguments (json, query) read from the request.

    `more` are the statuses it can end in besides 400, 401, 403 and 503; a view with a body may also end in 413 and 415.
    `editions`: the answer is `edited`; one that changes what is there takes If-Match (`editions.require`).
    """

    def declare(view: Callable[P, Any]) -> Callable[P, ResponseReturnValue]:
        operation = "".join(part.capitalize() for part in view.__name__.split("_"))
        with_body = (413, 415) if "json" in view.__annotations__ else ()
        changes = (412,) if editions and with_body and status == 200 else ()
        problems = {f"HTTP_{code}": Problem for code in sorted({400, 401, 403, 503, *with_body, *changes, *more})}
        operation = operation[:1].lower() + operation[1:]
        if editions:
            _EDITIONS.add(operation)
        declared: Callable[P, ResponseReturnValue] = spec.validate(
            resp=Answers(**{f"HTTP_{status}": model}, **problems), tags=[tag], operation_id=operation
        )(view)
        return declared

    return declare


def edited(answer: Told, edition: str) -> Told:
    """The answer of a view, with the edition of what it tells as ETag."""

    def tag(response: Response) -> Response:
        if response.status_code < HTTPStatus.BAD_REQUEST:
            response.set_etag(edition)
        return response

    after_this_request(tag)
    return answer


@api.before_request
def check() -> ResponseReturnValue | None:
    """The key first, then the form of the body: so a stranger learns nothing of what a body should be."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    with parts().transaction() as session:
        key = people.read_key(session, text.strip()) if scheme.lower() == "bearer" else None
        if key is None or key.kind != "server":
            response = problem(401, "Please sign in", "Send a server API key as a bearer token.")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        g.api_key = key
    wanted = roles_of(current_app.view_functions[request.endpoint or ""])
    if PUBLIC not in wanted and not may(*wanted):
        return problem(403, "The key's roles do not allow this", f"It needs one of: {', '.join(sorted(wanted))}.")
    takes = getattr(current_app.view_functions[request.endpoint or ""], "__annotations__", {})
    if "query" not in takes and request.args:
        return _unknown(next(iter(request.args)))
    return _check_body() if "json" in takes and request.method in BODY_METHODS else _check_no_body()


def may(*roles: str) -> bool:
    """Whether the key that asks has one of these roles; an admin's has all."""
    return not {ADMIN, *roles}.isdisjoint(g.api_key.roles)


def _unknown(field: str) -> Response:
    return problem(400, NOT_UNDERSTOOD, f"Object contains unknown field `{field}`", field)


def _check_no_body() -> Response | None:
    """Where no body is taken, one that says anything is refused: it would not be done."""
    data = request.get_data().strip()
    try:
        body = msgspec.json.decode(data) if data else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if isinstance(body, dict):
        return _unknown(next(iter(body))) if body else None
    return problem(400, NOT_UNDERSTOOD, "No body is taken here.")


def _check_body() -> Response | None:
    """What no field's own rules can say: a JSON object that can be kept, without a NUL or a number beyond 2^53."""
    if not request.is_json:
        return problem(415, "The body must be JSON", "Send it as application/json.")
    try:
        body = msgspec.json.decode(request.get_data())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return problem(400, NOT_UNDERSTOOD, "The body is not sound JSON.")
    if not isinstance(body, dict):
        return problem(400, NOT_UNDERSTOOD, "The body is not a JSON object.")
    for field, fault in _unkeepable(body, ""):
        return problem(400, NOT_UNDERSTOOD, fault, field)
    return None


def _unkeepable(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Where a JSON value holds what the database cannot keep."""
    match value:
        case str() if "\x00" in value:
            yield path, "Holds a NUL character."
        case int() if not -MAX_NUMBER <= value <= MAX_NUMBER:
            yield path, f"Is not within ±{MAX_NUMBER}."
        case dict():
            for name, child in value.items():
                yield from _unkeepable(name, path)
                yield from _unkeepable(child, f"{path}.{name}".lstrip("."))
        case list():
            for index, child in enumerate(value):
                yield from _unkeepable(child, f"{path}[{index}]")


def problem(status: int, title: str, detail: str, field: str | None = None) -> Response:
    """The answer that tells a program what went wrong."""
    return make_response(jsonify(msgspec.to_builtins(Problem(status, title, detail, field))), status)


@document.get("/openapi.json")
@public
def openapi() -> ResponseReturnValue:
    """The document of all this, made from the views."""
    return jsonify(spec.described(current_app))


def install(app: Flask) -> None:
    """Register the API with an app."""
    app.register_blueprint(api)
    app.register_blueprint(document)


def _describe_editions(described: dict[str, Any]) -> None:
    """Tell of the headers by which two programs do not undo each other's changes."""
    for operations in described["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            if operation["operationId"] in _EDITIONS:
                for status in {"200", "201"} & answers.keys():
                    answers[status]["headers"] = {"ETag": dict(_ETAG)}
            if "412" in answers:
                operation["parameters"].append(dict(_IF_MATCH))


def _describe_addresses(app: Flask, described: dict[str, Any]) -> None:
    """Tell what each number and name in an address may be: SpecTree does not know our converters."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for operation in described["paths"].get(path, {}).values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    parameter["schema"] = dict(SCHEMAS[type(rule._converters[parameter["name"]])])
                    parameter["description"] = f"The {parameter['name'].replace('_', ' ').replace(' id', '')}."
