"""The list of done rows in docs/features.md, and the marks in the tests that it must agree with.

A row is done when a test marked ``@pytest.mark.feature("ID")`` runs its check. Run ``python -m tests.features`` after
adding or moving a mark: it rewrites the table and keeps each row's description; a new id gets an empty description,
which ``test_features`` refuses until somebody has written one.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "features.md"
ROW = re.compile(r"^\| (?P<id>[A-Z]{2}-\d+) \| (?P<what>.*?) \| (?P<proof>.*) \|$")
MARK = re.compile(r"^[A-Z]{2}-\d+$")


def _marks(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[str]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.feature":
            for argument in decorator.args:
                if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                    raise ValueError(f"{node.name}: a feature mark takes literal ids")
                if not MARK.match(argument.value):
                    raise ValueError(f"{node.name}: {argument.value!r} is not a feature id")
                yield argument.value


def marked() -> dict[str, list[str]]:
    """Feature id -> sorted ``path::test`` names that carry its mark."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for mark in _marks(node):
                    found.setdefault(mark, set()).add(f"{path.relative_to(ROOT)}::{node.name}")
    return {mark: sorted(names) for mark, names in sorted(found.items(), key=lambda item: sort_key(item[0]))}


def sort_key(mark: str) -> tuple[str, int]:
    letters, number = mark.split("-")
    return letters, int(number)


def listed() -> dict[str, tuple[str, str]]:
    """Feature id -> (description, proof column as written) of docs/features.md."""
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        if match := ROW.match(line):
            rows[match["id"]] = (match["what"].strip(), match["proof"].strip())
    return rows


def proof(names: list[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names)


def is_measured(text: str) -> bool:
    """Whether a proof column names a benchmark with a dated figure instead of a test."""
    return bool(re.search(r"`benchmarks/\w+\.py`.*\d{4}-\d{2}-\d{2}", text))


def write() -> None:
    head, _, _ = DOCUMENT.read_text().partition("| id |")
    old = listed()
    rows = {mark: (old.get(mark, ("", ""))[0], proof(names)) for mark, names in marked().items()}
    rows |= {mark: row for mark, row in old.items() if is_measured(row[1]) and mark not in rows}
    lines = ["| id | what the product does | proven by |", "|---|---|---|"]
    ordered = sorted(rows.items(), key=lambda row: sort_key(row[0]))
    lines += [f"| {mark} | {what} | {how} |" for mark, (what, how) in ordered]
    DOCUMENT.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    write()
