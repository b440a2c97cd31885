"""The table of routes in docs/api.md, made from the OpenAPI document. `python -m tests.api_page` rewrites it."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from campaigns import access, api
from campaigns.addresses import CONVERTERS
from campaigns.api.desk import spec

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
START, END = "<!-- routes -->\n", "<!-- end of routes -->\n"


def table() -> str:
    """One line a route: method, path, who may call it, what it does."""
    app = Flask("api page")
    app.url_map.converters.update(CONVERTERS)
    api.install(app)
    lines = ["| | path | roles | what |", "|---|---|---|---|"]
    may = {rule.endpoint: access.roles_of(app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()}
    by_operation = {operation_of(endpoint): roles for endpoint, roles in may.items()}
    for path, operations in sorted(spec.described(app)["paths"].items()):
        for method, told in operations.items():
            roles = ", ".join(sorted(by_operation[told["operationId"].lower()]))
            lines.append(f"| {method.upper()} | `{path.removeprefix('/api/v1')}` | {roles} | {told['summary']} |")
    return "\n".join(lines) + "\n"


def operation_of(endpoint: str) -> str:
    """The operation's id of a view, in small letters."""
    return endpoint.rpartition(".")[2].replace("_", "").lower()


def page() -> str:
    """The page with its table made anew."""
    before, _, rest = PAGE.read_text().partition(START)
    return before + START + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
