"""Who may do what: roles on every route, checked before the view runs.

A view says who may call it with `@allow("manager")` or `@public`; admins may call everything. `check_routes` refuses to
build an app with a route that says nothing, so forgetting is not possible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from flask import Flask, abort, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user

from base.errors import LatebindError
from campaigns import people
from campaigns.models import User
from campaigns.parts import parts
from render.origin import Origins, Ranges

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

P = ParamSpec("P")
R = TypeVar("R", bound=ResponseReturnValue)
PUBLIC = "public"
ROLES_ATTRIBUTE = "allowed_roles"
ADMIN = "admin"


class SignedIn(UserMixin):  # type: ignore[misc]
    """The signed-in person as views see them; a plain copy that outlives its session. `token`: `people.sign_in`."""

    def __init__(self, user: User, token: str) -> None:
        self.id = user.id
        self.name = user.name
        self.roles = frozenset(user.roles)
        self.timezone = user.timezone
        self.token = token
        self._session = f"{user.id}.{hashlib.sha256(user.password.encode()).hexdigest()[:16]}.{token}"

    def get_id(self) -> str:
        """What the session cookie names: the person and their password's mark, so that a new password ends sessions."""
        return self._session

    @property
    def role(self) -> str:
        """The strongest role, for display."""
        return next((role for role in (ADMIN, "manager", "approver", "support") if role in self.roles), "no role")

    def may(self, *roles: str) -> bool:
        """Whether any of the roles is held; an admin holds all."""
        return ADMIN in self.roles or not self.roles.isdisjoint(roles)


def allow(*roles: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Marks a view as open to people with one of the roles (and to admins)."""

    def mark(view: Callable[P, R]) -> Callable[P, R]:
        setattr(view, ROLES_ATTRIBUTE, frozenset(roles))
        return view

    return mark


def public(view: Callable[P, R]) -> Callable[P, R]:
    """Marks a view as open to everybody."""
    setattr(view, ROLES_ATTRIBUTE, frozenset({PUBLIC}))
    return view


def roles_of(view: object) -> frozenset[str]:
    """The roles that a view is open to; empty where it does not say."""
    return getattr(view, ROLES_ATTRIBUTE, frozenset())


def check_routes(app: Flask, exempt: Iterable[str] = ("static",)) -> None:
    """Raises RuntimeError naming the routes that do not say who may use them."""
    silent = [name for name, view in app.view_functions.items() if name not in exempt and not roles_of(view)]
    if silent:
        raise RuntimeError(f"these routes do not say who may use them: {', '.join(sorted(silent))}")


class Origin:
    """Names the client's own address where our balancers stand in between: limits and logs are about people.

    Without it all who come through one balancer would share one limit, and a stranger could use it up for them.
    """

    def __init__(self, app: WSGIApplication, trusted: Iterable[str]) -> None:
        self._app = app
        self._origins = Origins(trusted, Ranges(()))

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Serve a request under the address that is believed."""
        client = self._origins.client(environ)
        if client is not None:
            environ["REMOTE_ADDR"] = str(client)
        return self._app(environ, start)


def install(app: Flask) -> None:
    """Sign-in by session cookie for the pages, and the check before every view but those of the API."""
    manager = LoginManager(app)
    manager.user_loader(_load)
    app.before_request(_check)


def _load(session_id: str) -> SignedIn | None:
    number, _, rest = session_id.partition(".")
    token = rest.partition(".")[2]
    if not (number.isascii() and number.isdigit() and token):
        return None
    if g.get("nobody_known"):
        return None  # The page that says why asks as well.
    try:
        with parts().transaction() as session:
            user = people.signed_in(session, int(number), token, parts().now())
            signed_in = SignedIn(user, token) if user else None
    except LatebindError:
        g.nobody_known = True
        raise
    return signed_in if signed_in is not None and signed_in.get_id() == session_id else None


def _check() -> ResponseReturnValue | None:
    if request.endpoint is None or request.endpoint == "static" or request.blueprint == "api":
        return None
    roles = roles_of(current_app.view_functions[request.endpoint])
    if PUBLIC in roles:
        return None
    if not current_user.is_authenticated:
        if request.method == "GET":
            return redirect(url_for("signin.form", next=request.full_path.rstrip("?")))
        abort(401)
    if not current_user.may(*roles):
        abort(403)
    return None
