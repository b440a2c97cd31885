"""The language of mails, as the sender fills it and as the web view does: a sandbox that prints fields and chooses.

Only mapping keys are read; nothing can be called. Values are printed as one line of plain text. What a shop sends as
text and a template compares with a number is compared as a number where it is one; values that cannot be compared do
not fulfil a condition, so nobody's mail fails on one. Two texts are compared as texts.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, nodes
from jinja2.visitor import NodeTransformer

from render.sandbox import Sandbox

MAX_PRINTED: Final = 300
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_NUMBER: Final = re.compile(r"\s*[+-]?\d{1,15}(\.\d{1,15})?\s*", re.ASCII)
_COMPARE: Final = "compare"
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le, "gt": operator.gt,
    "gteq": operator.ge, "in": lambda left, right: clean(left) in clean(right),
    "notin": lambda left, right: clean(left) not in clean(right),
}  # fmt: skip


class Ready(str):
    """Text that is already in the form of its part (a URL we made); it is encoded but not escaped."""

    __slots__ = ()


def clean(value: object) -> str:
    """A value as one line of plain text: without controls and direction overrides, at most 300 characters."""
    if isinstance(value, Ready):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    text = _CONTROLS.sub(" ", text).strip()
    return text if len(text) <= MAX_PRINTED else text[: MAX_PRINTED - 1] + "…"


def _truncate(value: object, length: object = 60) -> str:
    text = clean(value)
    limit = length if isinstance(length, int) and 0 < length <= MAX_PRINTED else 60
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "upper": lambda value: clean(value).upper(),
    "lower": lambda value: clean(value).lower(),
    "title": lambda value: clean(value).title(),
    "capitalize": lambda value: clean(value).capitalize(),
    "trim": lambda value: clean(value).strip(),
    "truncate": _truncate,
    "default": lambda value, other="": clean(value) or clean(other),
}


def compare(left: object, name: str, right: object) -> bool:
    """What `left` and `right` come to under one of the template language's operators, by its name; raises nothing."""
    if isinstance(left, int | float) != isinstance(right, int | float) and name not in ("in", "notin"):
        left, right = _as_number(left), _as_number(right)
    try:
        return bool(_OPERATORS[name](left, right))
    except TypeError:
        return False


def _as_number(value: object) -> object:
    """The number that a text is; any other value as it is."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


class _Comparisons(NodeTransformer):
    """Every comparison of a template as `compare` decides it."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        # As in Python: a < b < c is a < b and b < c.
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        pairs: list[nodes.Expr] = [
            nodes.Filter(left, _COMPARE, [nodes.Const(operand.op), operand.expr], [], None, None)
            for left, operand in zip(sides, node.ops, strict=False)
        ]
        whole = reduce(nodes.And, pairs)
        whole.set_lineno(node.lineno)
        whole.set_environment(self._environment)
        return whole


class MailSandbox(Sandbox):
    """Compares as a mail's writer means it; `finalize` prints a value."""

    def __init__(self, finalize: Callable[[object], str], *, keep_trailing_newline: bool = False) -> None:
        super().__init__(
            undefined=StrictUndefined, finalize=finalize, autoescape=False, loader=None,
            keep_trailing_newline=keep_trailing_newline,
        )  # fmt: skip
        self.filters = FILTERS | {_COMPARE: compare}
        self.tests = {}
        self.globals = {}

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        return super()._generate(_Comparisons(self).visit(source), *arguments, **options)
