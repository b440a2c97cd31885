"""What is compiled of routes, templates and shapes, kept for all tests of a process.

Every test has an app of its own with the same 360 routes, and Werkzeug compiles a pattern and two functions for each:
four fifths of the time that an app takes to be made. Most tests publish and send the same few texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Final

from werkzeug.routing import Rule

from base import shapes
from campaigns import templates

TEXTS: Final = 1000
_COMPILE: Final[Callable[[Rule], None]] = Rule.compile
_PLAIN: Final = ("_parts", "_trace", "_converters", "arguments")
_BOUND: Final = ("_build", "_build_unknown")
"""What compiling adds to a rule, and which of it are methods of that rule."""


def share() -> None:
    """Have all tests of this process share what is compiled from now on."""
    kept: dict[tuple[Any, ...], Rule] = {}

    def compiled(rule: Rule) -> None:
        key = (rule.rule, rule.subdomain, rule.host, rule.merge_slashes, *rule.map.converters.items())
        # A default is written into what is compiled.
        if key not in kept or rule.defaults:
            _COMPILE(rule)
            if not rule.defaults:
                kept[key] = rule
            return
        for name in _PLAIN:
            setattr(rule, name, getattr(kept[key], name))
        for name in _BOUND:
            setattr(rule, name, getattr(kept[key], name).__func__.__get__(rule))

    Rule.compile = compiled  # type: ignore[method-assign, assignment]
    # Both depend on nothing but what they are given; a text that is refused is looked at each time.
    for function in ("fields", "compiled"):
        setattr(templates, function, lru_cache(TEXTS)(getattr(templates, function)))
    # Whatever holds shapes was imported when the tests were collected.
    setattr(shapes, "prepare", cache(shapes.prepare))  # noqa: B010  # mypy lets nobody assign to a function.
