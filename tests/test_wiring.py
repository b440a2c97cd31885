"""What must be told in two places agrees: settings and their page, queues and their workers, models and migrations."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from base.queues import QueueName
from base.settings import OTHER_VARIABLES, PREFIX, SETTINGS, Settings
from tests.settings_page import PAGE, page
from workers.cli import COMMANDS
from workers.migration import all_tables

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())


def test_it_documents_every_setting() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.settings_page"


@pytest.mark.parametrize("place", ["docker-compose.yml", "Procfile", "Dockerfile", "gunicorn.conf.py"])
def test_it_mentions_only_settings_that_exist(place: str) -> None:
    known = {setting.variable for setting in SETTINGS} | OTHER_VARIABLES
    mentioned = set(re.findall(PREFIX + r"[A-Z_]+", (ROOT / place).read_text()))
    assert mentioned <= known


def test_it_tells_what_compose_hands_on_and_reads_what_is_left_empty_as_not_set() -> None:
    handed_on = re.findall(rf"({PREFIX}[A-Z_]+): \$\{{\1:-\}}", (ROOT / "docker-compose.yml").read_text())
    assert f"{PREFIX}POSTAL_ADDRESS" in handed_on
    assert Settings.from_environment(dict.fromkeys(handed_on, "")) == Settings.from_environment({})
    told = (ROOT / "docs" / "deploy.md").read_text()
    assert [name for name in handed_on if f"`{name}`" not in told and f"`{name}=" not in told] == []


def test_it_gives_the_intake_as_many_threads_as_its_lanes_are_told_of() -> None:
    option = f"${{{PREFIX}SIGNALS_THREADS:-{Settings().signals_threads}}}"
    assert f"--threads {option}" in PROCESSES["signals"]
    service = re.search(
        r"^  signals:\n(.*?)^  web:", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE | re.DOTALL
    )
    assert service
    assert f"--threads={option}" in service[0]


def test_it_gives_the_render_container_no_address_it_must_not_know() -> None:
    service = re.search(
        r"^  render:\n(.*?)^  signals:", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE | re.DOTALL
    )
    places = re.search(r"^x-places:.*?\n\n", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE | re.DOTALL)
    assert service
    assert places
    for hidden in ("DATABASE_URL", "QUEUE_URL", "SMTP_URL", "SUBJECT_KEY", "SESSION_KEY", "HASH_KEY", "PII_KEYS"):
        assert hidden not in service[0] + places[0], hidden


@pytest.mark.parametrize("name", COMMANDS)
def test_it_offers_a_command_that_loads_and_explains_itself(name: str) -> None:
    command = importlib.import_module(f"workers.commands.{COMMANDS[name][0]}").command
    assert isinstance(command, click.Command)
    assert command.help
    assert COMMANDS[name][1].endswith(".")


def test_it_has_a_module_for_each_command_and_no_other() -> None:
    modules = {path.stem for path in (ROOT / "workers" / "commands").glob("[a-z]*.py")}
    assert modules == {module for module, _ in COMMANDS.values()}


@pytest.mark.parametrize("queue", QueueName)
def test_it_has_a_worker_for_every_queue(queue: QueueName) -> None:
    assert [name for name, line in PROCESSES.items() if line == f"exec latebind worker {queue}"]


@pytest.mark.parametrize("name", PROCESSES)
def test_it_replaces_the_shell_of_every_process(name: str) -> None:
    # Without exec a shell stays in between, and a signal reaches the shell instead of the process.
    assert shlex.split(PROCESSES[name])[0] == "exec"


def test_it_migrates_to_exactly_what_the_models_say(engine: Engine) -> None:
    tables = all_tables()
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": lambda *seen: not _is_partition(seen[1])}
        )
        assert compare_metadata(context, tables) == []


def test_it_numbers_migrations_in_one_line() -> None:
    revisions = {}
    for path in sorted((ROOT / "migrations" / "versions").glob("[0-9]*.py")):
        text = path.read_text()
        this = re.search(r'^revision(?:: str)? = "([^"]+)"', text, re.MULTILINE)
        before = re.search(r'^down_revision(?:: [^=]+)? = (?:"([^"]+)"|None)', text, re.MULTILINE)
        assert this, path.name
        assert before, path.name
        revisions[this[1]] = before[1]
    line = [None, *revisions]
    assert list(revisions.values()) == line[:-1]


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_it_locks_dependencies_with_hashes_and_without_addresses(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "http" not in text
    pins = re.findall(r"^[a-z0-9]", text, re.MULTILINE)
    assert pins
    assert len(re.findall(r"^[a-z0-9][^\n]*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)


def test_it_installs_for_the_demo_what_it_tests_with() -> None:
    everything = _pins("requirements.lock")
    for lock in ("requirements-demo.lock", "requirements-render.lock"):
        assert _pins(lock) <= everything


def test_it_installs_for_the_demo_what_looks_for_likely_matches() -> None:
    assert {pin.partition("==")[0] for pin in _pins("requirements-demo.lock")} >= {"splink", "duckdb"}


def test_it_renders_without_the_heavy_parts() -> None:
    names = {pin.partition("==")[0] for pin in _pins("requirements-render.lock")}
    assert names.isdisjoint({"pandas", "scikit-learn", "pyarrow", "sqlalchemy", "psycopg", "rq"})


def _pins(lock: str) -> set[str]:
    return set(re.findall(r"^[a-z0-9][^ ;\\]*==[^ ;\\]+", (ROOT / lock).read_text(), re.MULTILINE))


def _is_partition(name: object) -> bool:
    """Partitions of a month, which no model names."""
    return isinstance(name, str) and re.search(r"_(\d{4}_?\d{2}|default|other)$", name) is not None
