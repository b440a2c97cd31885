"""The web process as people and programs meet it: signed-in browsers with real CSRF tokens, and API keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.test import TestResponse

from campaigns import keyring, people, starting
from campaigns.app import create_app
from campaigns.parts import EXTENSION, Parts
from tests.campaigns.shop import MANAGER, Shop

PASSWORD = "correct-horse-battery"
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Templates(BytecodeCache):
    """Those that some app of this process has compiled: each test has an app of its own, with the same pages."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


TEMPLATES: Final = Templates()


def told(answer: TestResponse, *statuses: int) -> Any:
    """The JSON of an answer that has one of these statuses; 200 unless told otherwise."""
    assert answer.status_code in (statuses or (200,)), answer.text
    return answer.json


def unsigned(page: str) -> str:
    """A page without its CSRF tokens, which carry the second they were made in."""
    return _TOKEN.sub("", page)


@dataclass
class Browser:
    """Somebody's browser. Forms are posted with the token of a page seen before."""

    client: FlaskClient
    token: str = ""

    def get(self, path: str) -> TestResponse:
        """A page; its CSRF token is remembered."""
        response = self.client.get(path)
        if response.mimetype == "text/html" and (found := _TOKEN.search(response.text)):
            self.token = found[1]
        return response

    def post(self, path: str, **form: Any) -> TestResponse:
        """A form."""
        return self.client.post(path, data={"csrf_token": self.token} | form)


@dataclass
class Program:
    """A program with an API key."""

    client: FlaskClient
    key: str

    def call(self, method: str, path: str, json: Any = None, if_match: str | None = None) -> TestResponse:
        """One call of the API; the path goes on after /api/v1."""
        headers = {"Authorization": f"Bearer {self.key}"} | ({} if if_match is None else {"If-Match": if_match})
        return self.client.open(f"/api/v1{path}", method=method, json=json, headers=headers)

    def told(self, method: str, path: str, json: Any = None) -> Any:
        """What a call that succeeds answers."""
        return told(self.call(method, path, json), 200, 201)


@dataclass
class Web:
    """The app on the shop's servers, with the starting creatives and neutral offers."""

    shop: Shop
    app: Flask = field(init=False)

    def __post_init__(self) -> None:
        self._kept: dict[tuple[str, ...], Browser] = {}
        self.app = create_app(self.shop.settings, self.shop.clock)
        self.app.testing = False
        self.app.jinja_env.bytecode_cache = TEMPLATES
        with self.shop.sessions.begin() as session:
            starting.seed(session, self.shop.now)

    def close(self) -> None:
        """Let go of the app's connections."""
        parts: Parts = self.app.extensions[EXTENSION]
        parts.close()

    def person(self, *roles: str) -> str:
        """Somebody with these roles; their address."""
        address = f"{'-'.join(roles)}@example.com"
        with self.shop.sessions.begin() as session:
            if all(user.email != address for user in people.users(session)):
                people.create_user(session, address, "A Person", PASSWORD, roles, self.shop.now, MANAGER)
        return address

    def stranger(self) -> Browser:
        """A browser in which nobody is signed in."""
        return Browser(self.app.test_client())

    def browser(self, *roles: str) -> Browser:
        """A browser in which somebody with these roles is signed in."""
        made = self.stranger()
        made.get("/sign-in")
        answer = made.post("/sign-in", email=self.person(*roles), password=PASSWORD)
        assert answer.status_code == 302, answer.text
        made.get("/")
        return made

    def desk(self, *roles: str) -> Browser:
        """The one browser that stays signed in with these roles."""
        if roles not in self._kept:
            self._kept[roles] = self.browser(*roles)
        return self._kept[roles]

    def program(self, *roles: str) -> Program:
        """A program with a server key of these roles."""
        with self.shop.sessions.begin() as session:
            key, text = people.issue_key(session, "program", "server", roles, self.shop.now, MANAGER)
            keyring.announce(session, self.shop.store, key)
        return Program(self.app.test_client(), text)
