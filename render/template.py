"""The small template language of pictures: sandboxed Jinja cut down until a template's work is bounded by its length.

A template may print fields (`{{ product.name }}`), filter them with `FILTERS`, and choose with `{% if %}`. Everything
else of Jinja (loops, macros, assignments, arithmetic, calls) is refused when a creative is checked. The sandbox beneath
is the second line of defence, not the first.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from jinja2 import ChainableUndefined, Template, TemplateError, nodes, pass_context
from jinja2.runtime import Context

from render.calendar import local_time
from render.creative import MAX_TEMPLATE
from render.money import money
from render.sandbox import Sandbox

ROOTS: Final = ("product", "offer", "profile", "brand", "open")
MAX_PRINTED: Final = 300
LOCALE: Final = "_locale"
"""The variable that filters read the locale from; a template cannot name it, for it is no root."""

_ALLOWED_NODES: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Const, nodes.Filter, nodes.If,
    nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Test, nodes.Concat,
)  # fmt: skip


class _Missing(ChainableUndefined):
    """A field nobody gave: prints nothing, is false, and compares unequal instead of raising."""

    def _never(self, _other: object) -> bool:
        return False

    __lt__ = __le__ = __gt__ = __ge__ = _never  # type: ignore[assignment]


def _finalize(value: Any) -> str:
    """Print scalars only; a mapping or a truth value in a picture would be a mistake of the template."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def _truncate(text: object, length: object = 60) -> str:
    whole = _finalize(text)
    limit = length if isinstance(length, int) and 0 < length <= MAX_PRINTED else 60
    return whole if len(whole) <= limit else whole[: limit - 1].rstrip() + "…"


def _default(value: object, other: object = "") -> object:
    return other if value is None or value == "" or isinstance(value, _Missing) else value


def _money(minor: object, currency: object = "USD", locale: object = "en") -> str:
    cents = whole_number(minor)
    return "" if cents is None else money(cents, str(currency or "USD"), str(locale or "en"))


@pass_context
def _local_time(context: Context, instant: object) -> str:
    """Print Unix milliseconds as a day and an hour where the recipient lives."""
    at_ms = whole_number(instant)
    profile = context.get("profile")
    zone = profile.get("timezone") if isinstance(profile, dict) else None
    return "" if at_ms is None else local_time(at_ms, str(zone or ""), str(context.get(LOCALE) or "en"))


def _environment() -> Sandbox:
    environment = Sandbox(undefined=_Missing, finalize=_finalize, autoescape=False, loader=None)
    environment.filters = {
        "default": _default,
        "upper": lambda text: _finalize(text).upper(),
        "lower": lambda text: _finalize(text).lower(),
        "title": lambda text: _finalize(text).title(),
        "capitalize": lambda text: _finalize(text).capitalize(),
        "trim": lambda text: _finalize(text).strip(),
        "truncate": _truncate,
        "money": _money,
        "local_time": _local_time,
    }
    environment.tests = {"defined": environment.tests["defined"], "none": environment.tests["none"]}
    environment.globals = {}
    return environment


_ENVIRONMENT: Final = _environment()
FILTERS: Final = tuple(sorted(_ENVIRONMENT.filters))


@lru_cache(maxsize=4096)
def compile_template(source: str) -> tuple[Template, tuple[tuple[str, str], ...]]:
    """Return a compiled template and the (root, name) fields it reads; raises ValueError with a phrase for people."""
    if len(source) > MAX_TEMPLATE:
        raise ValueError(f"is longer than {MAX_TEMPLATE} characters")
    try:
        tree = _ENVIRONMENT.parse(source)
        read = tuple(sorted(set(_paths(tree))))
        return _ENVIRONMENT.from_string(source), read
    except TemplateError as error:
        raise ValueError(f"is not a valid template: {error.message}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _paths(node: nodes.Node) -> Iterator[tuple[str, str]]:
    """Walk a template, refuse what is not allowed, and yield each field read as (root, name)."""
    for child in node.iter_child_nodes():
        if not isinstance(child, _ALLOWED_NODES):
            raise ValueError(f"uses {type(child).__name__.lower()}, which is not allowed in a picture's text")
        if isinstance(child, nodes.Getattr):
            if not isinstance(child.node, nodes.Name):
                raise ValueError("reads deeper than root.field")
            if child.node.name not in ROOTS:
                raise ValueError(f"reads {child.node.name}.{child.attr}; fields begin with {', '.join(ROOTS)}")
            yield child.node.name, child.attr
            continue
        if isinstance(child, nodes.Name):
            raise ValueError(f"reads {child.name} without a field name, such as product.name")
        if isinstance(child, nodes.Filter):
            if child.name not in _ENVIRONMENT.filters:
                raise ValueError(f"uses the filter {child.name}; the filters are {', '.join(FILTERS)}")
            if child.name == "local_time":
                yield "profile", "timezone"
        yield from _paths(child)


def number(value: object) -> float | None:
    """Return a printed number, or None where there is none a picture could show."""
    try:
        read = float(str(value))
    except ValueError:
        return None
    return read if abs(read) < 1e15 else None


def whole_number(value: object) -> int | None:
    """Return a printed whole number, or None; 12.5 cents are not money."""
    read = number(value)
    return int(read) if read is not None and read.is_integer() else None
