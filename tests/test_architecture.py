"""The arrow base ← signals ← render ← campaigns ← workers, and what follows from it, held by walking the code."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("base", "signals", "render", "campaigns", "workers")
CLOCKS = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "time": {
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "perf_counter_ns",
        "sleep",
        "localtime",
        "gmtime",
    },
}
MAX_LINES = 400


def modules(*floors: str) -> Iterator[Path]:
    """Every module of these packages."""
    for floor in floors:
        yield from sorted((ROOT / floor).rglob("*.py"))


def imported(node: ast.AST) -> list[str]:
    """The top-level packages that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        return [(node.module or "").partition(".")[0]]
    return []


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_it_imports_only_floors_below() -> None:
    wrong = [
        f"{named(path)}:{node.lineno} imports {package}"
        for number, floor in enumerate(FLOORS)
        for path in modules(floor)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for package in imported(node)
        if package in FLOORS[number + 1 :] or package in {"tests", "benchmarks"}
    ]
    assert not wrong


def test_it_never_imports_our_packages_inside_functions() -> None:
    wrong = [
        f"{named(path)}:{inner.lineno}"
        for path in modules(*FLOORS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom) and set(imported(inner)) & set(FLOORS)
    ]
    assert not wrong


def test_it_reads_the_system_clock_in_one_module_only() -> None:
    wrong = []
    for path in modules(*FLOORS):
        if path == ROOT / "base" / "clock.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                if node.attr in CLOCKS.get(owner, ()):
                    wrong.append(f"{named(path)}:{node.lineno} {owner}.{node.attr}")
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                wrong.append(f"{named(path)}:{node.lineno} from time import …")
    assert not wrong


@pytest.mark.parametrize("package", ["sqlalchemy", "psycopg", "rq", "alembic"])
def test_it_keeps_the_render_process_free_of(package: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, render.app; print(*{name.partition('.')[0] for name in sys.modules})"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "render" in loaded.stdout.split()
    assert package not in loaded.stdout.split()


def test_it_connects_to_nothing_at_import() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in modules(*FLOORS)
    ]
    watched = """
import importlib, socket, subprocess, sys, threading
def refuse(*_, **__): raise AssertionError("connected, listened or started something at import")
socket.socket.connect = socket.socket.bind = refuse
subprocess.Popen.__init__ = refuse
before = threading.active_count()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert threading.active_count() == before, "started a thread at import"
"""
    done = subprocess.run(
        [sys.executable, "-c", watched, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_keeps_files_readable_in_one_sitting() -> None:
    assert [
        f"{named(path)}: {lines}"
        for path in modules(*FLOORS)
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    ] == []


def test_it_has_no_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert [named(path) for path in modules(*FLOORS) if path.stem in drawers or path.parent.name in drawers] == []
