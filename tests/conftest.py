"""Real servers for every test: one embedded PostgreSQL and one Valkey a session, a database and a key space a test."""

from __future__ import annotations

import gc
import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import Engine

from base import db, stores
from base.clock import FixedClock
from base.embedded import PostgresServer, ValkeyServer
from base.processes import free_port
from base.settings import Settings
from base.values import KEY_BYTES, TOKEN_KEY_BYTES
from campaigns import people
from tests import compiled, dialect
from tests.clusters import IS_WANTED, ValkeyCluster
from tests.databases import HASH_KEY, PII_KEYS, VAULT, Databases
from tests.nameserver import name_server
from tests.order import SharedScheduling, longest_first
from tests.serving import Serve, Served
from workers.migration import migrate

VALKEY_DATABASES = 64
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""When tests happen: a Monday."""

_numbers = itertools.count(1)
compiled.share()
dialect.share()
# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process waits for another at the end."""
    place = {nodeid: number for number, nodeid in enumerate(longest_first(item.nodeid for item in items))}
    items.sort(key=lambda item: place[item.nodeid])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, and never look through what stays: half a million objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedScheduling | None:
    """Files that share an installation go to one process, under `--dist loadfile`."""
    return SharedScheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter too; pytest's temporary folders are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="latebind-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[PostgresServer]:
    """The session's PostgreSQL, its database `latebind` migrated: the template of every test's database."""
    server = PostgresServer(server_folder / "postgres", free_port(), server_folder / "postgres.log", fsync=False)
    server.start()
    try:
        migrate(server.url, VAULT, HASH_KEY)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def valkey_server(server_folder: Path) -> Iterator[ValkeyServer]:
    """The session's Valkey."""
    server = ValkeyServer(
        server_folder / "valkey", free_port(), server_folder / "valkey.log", databases=VALKEY_DATABASES
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer) -> Databases:
    """The session's databases."""
    return Databases(postgres)


@pytest.fixture
def database_url(postgres: PostgresServer, databases: Databases) -> Iterator[str]:
    """The address of a migrated, empty database."""
    name = databases.take()
    yield postgres.url.rsplit("/", 1)[0] + f"/{name}"
    databases.give_back(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's database."""
    made = db.connect(database_url, vault=VAULT)
    yield made
    made.dispose()


@pytest.fixture
def sessions(engine: Engine) -> db.Sessions:
    """A maker of sessions on the test's database."""
    return db.sessions(engine)


@pytest.fixture(scope="session")
def valkey_cluster(server_folder: Path) -> Iterator[ValkeyCluster]:
    """A cluster of three nodes, one a session."""
    cluster = ValkeyCluster(server_folder / "cluster")
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def server_url(valkey_server: ValkeyServer) -> str:
    """The address of a key space of the test's own on one server."""
    return valkey_server.url.rsplit("/", 1)[0] + f"/{next(_numbers) % VALKEY_DATABASES}"


@pytest.fixture
def valkey_url(request: pytest.FixtureRequest, server_url: str) -> str:
    """The address of the test's hot store: one server, or with LATEBIND_TEST_CLUSTER=1 the session's cluster."""
    if IS_WANTED:
        cluster: ValkeyCluster = request.getfixturevalue("valkey_cluster")
        return cluster.url
    return server_url


@pytest.fixture
def queue_url(server_url: str, valkey_url: str) -> str:
    """The address of the test's job queues: the hot store's, or where that is a cluster an empty one of their own."""
    if server_url != valkey_url:
        with stores.connect(server_url) as client:
            client.flushdb()
    return server_url


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[stores.Store]:
    """A client on the test's own, empty key space."""
    client = stores.connect(valkey_url)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(scope="session")
def empty_dns() -> Iterator[str]:
    """A name server that knows of nothing, so that no test asks the world's."""
    with name_server() as server:
        yield server.place


@pytest.fixture
def settings(
    database_url: str, valkey: stores.Store, valkey_url: str, queue_url: str, tmp_path: Path, empty_dns: str
) -> Settings:
    """Complete settings with keys of their own and everything on disk in the test's folder."""
    ports = {name: str(free_port()) for name in ("WEB", "RENDER", "SIGNALS", "SMTP", "INBOX")}
    environ = {f"LATEBIND_{name}_PORT": port for name, port in ports.items()}
    read = Settings.from_environment(environ | {"LATEBIND_VAR": str(tmp_path / "var")})
    return replace(
        read,
        database_url=database_url,
        redis_url=valkey_url,
        queue_url=queue_url,
        smtp_url=f"smtp://127.0.0.1:{read.smtp_port}",
        token_keys={1: secrets.token_bytes(TOKEN_KEY_BYTES)},
        record_key=secrets.token_bytes(KEY_BYTES),
        subject_key=secrets.token_bytes(KEY_BYTES),
        session_key=secrets.token_bytes(KEY_BYTES),
        hash_key=secrets.token_bytes(KEY_BYTES),
        pii_keys=PII_KEYS,
        dns_servers=(empty_dns,),
        render_workers=1,
    )


@pytest.fixture(scope="session", autouse=True)
def quick_hashes() -> Iterator[tuple[PasswordHasher, str]]:
    """In this process passwords are hashed at next to no cost; gives what hashes them elsewhere, and nobody's hash."""
    hasher, nobody = people._HASHER, people._NOBODY
    people._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    people._NOBODY = people._HASHER.hash("a word that nobody knows")
    yield hasher, nobody
    people._HASHER, people._NOBODY = hasher, nobody


@pytest.fixture
def shipped_hashes(quick_hashes: tuple[PasswordHasher, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test passwords are hashed as they are elsewhere."""
    hasher, nobody = quick_hashes
    monkeypatch.setattr(people, "_HASHER", hasher)
    monkeypatch.setattr(people, "_NOBODY", nobody)


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at noon on a Monday until the test moves it."""
    return FixedClock(NOON)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start an app under gunicorn on a free port: `serve("render", settings)`; all are ended with the test."""
    started: list[Served] = []

    def start(app: str, settings: Settings, *, withheld: tuple[str, ...] = ()) -> Served:
        log = tmp_path / f"{app}-{len(started)}.log"
        # What render loads and is given is looked at in its processes.
        served = Served.start(app, settings, log, withheld, by_birth=app != "render")
        started.append(served)
        return served

    yield start
    for served in started:
        served.stop()


assert "LATEBIND_DATABASE_URL" not in os.environ, "tests bring their own servers; unset LATEBIND_* first"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium, one a process: named by LATEBIND_CHROMIUM, or on PATH.

    Without one the tests that need it are skipped, except in CI, where they fail.
    """
    path = os.environ.get("LATEBIND_CHROMIUM") or shutil.which("chromium")
    if not path:
        assert not os.environ.get("CI"), "CI must have a Chromium: browser tests never skip there"
        pytest.skip("no Chromium: install one, or name it in LATEBIND_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
