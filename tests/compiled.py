"""What is compiled of routes, templates and shapes, kept for all tests of a process.

Every test has an app of its own with the same 360 routes, and Werkzeug compiles two functions for each: three quarters
of the time that an app takes to be made. Most tests publish and send the same few texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Final

from werkzeug.routing import Rule

from base import shapes
from campaigns import templates

TEXTS: Final = 1000
Builder = Callable[..., tuple[str, str]]
_COMPILE: Final[Callable[[Rule, bool], Builder]] = Rule._compile_builder


def share() -> None:
    """Have all tests of this process share what is compiled from now on."""
    kept: dict[tuple[Any, ...], Builder] = {}

    def builder(rule: Rule, append_unknown: bool = True) -> Builder:
        # A default is written into the function as the rule's own converter spells it.
        if rule.defaults:
            return _COMPILE(rule, append_unknown)
        key = (rule.rule, tuple(rule._trace), append_unknown)
        if key not in kept:
            kept[key] = _COMPILE(rule, append_unknown)
        return kept[key]

    Rule._compile_builder = builder  # type: ignore[method-assign, assignment]
    # Both depend on nothing but what they are given; a text that is refused is looked at each time.
    for function in ("fields", "compiled"):
        setattr(templates, function, lru_cache(TEXTS)(getattr(templates, function)))
    # Whatever holds shapes was imported when the tests were collected.
    setattr(shapes, "prepare", cache(shapes.prepare))  # noqa: B010  # mypy lets nobody assign to a function.
