"""The whole mail as a page: the template language of mails, as an open fills it.

What was accepted when the mail was published (campaigns/templates.py) is filled here in the same way, printed values
escaped. Only mapping keys are read; nothing can be called.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

MAX_PRINTED: Final = 300
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

_PROFILE: Final = re.compile(r"\bprofile\.([a-z][a-z0-9_]*)")


def fill(source: str, traits: Mapping[str, object], links: Mapping[str, str], urls: Mapping[str, str]) -> str:
    """The page. A field that the person does not have is empty, so the template's own fallback fills it.

    Raises ValueError for a template that cannot be filled.
    """
    try:
        return _template(source).render(
            profile=_Fields(traits),
            link={name: Markup(url) for name, url in links.items()},  # noqa: S704 - addresses of our own making
            url={name: Markup(url) for name, url in urls.items()},  # noqa: S704 - addresses of our own making
        )
    except (TemplateError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError("the mail's template cannot be filled") from error


def printed_mark(source: str, traits: Mapping[str, object]) -> int:
    """A number from 1 to 65535 that stands for the person's fields which a mail's page prints, as they are now.

    The address of a mail's web view carries it since the send, so that whoever opens it later, perhaps a stranger to
    whom it was forwarded, is shown no field that the mail did not show: another number, and the fallbacks are printed.
    """
    values = [[name, _clean(traits.get(name))] for name in _names(source)]
    digest = hashlib.sha256(msgspec.json.encode(values)).digest()
    return int.from_bytes(digest[:2], "big") or 1


@lru_cache(maxsize=128)
def _names(source: str) -> tuple[str, ...]:
    """The fields of a person that a template reads."""
    return tuple(sorted(set(_PROFILE.findall(source))))


class _Fields(dict[str, Any]):
    """The person's fields; one that is missing is empty, and the template's `default` fills it."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return ""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Reads mapping keys and nothing else: no attribute, no method, no call."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return self.undefined(name=attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False


def _clean(value: object) -> str:
    """A value as one line of plain text, as the mail printed it."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    text = _CONTROLS.sub(" ", text).strip()
    return text if len(text) <= MAX_PRINTED else text[: MAX_PRINTED - 1] + "…"


def _shortened(value: object, length: object = 60) -> str:
    text = _clean(value)
    limit = length if isinstance(length, int) and 0 < length <= MAX_PRINTED else 60
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _printed(value: object) -> str:
    return _clean(value) if isinstance(value, Markup) else html.escape(_clean(value))


def _environment() -> _Sandbox:
    """The language of mails (campaigns/templates.py): what was accepted at publish is filled here in the same way."""
    environment = _Sandbox(undefined=StrictUndefined, finalize=_printed, autoescape=False, loader=None)
    environment.filters = {
        "upper": lambda value: _clean(value).upper(),
        "lower": lambda value: _clean(value).lower(),
        "title": lambda value: _clean(value).title(),
        "capitalize": lambda value: _clean(value).capitalize(),
        "trim": lambda value: _clean(value).strip(),
        "truncate": _shortened,
        "default": lambda value, other="": _clean(value) or _clean(other),
    }
    environment.tests = {}
    environment.globals = {}
    return environment


_ENVIRONMENT: Final = _environment()


@lru_cache(maxsize=128)
def _template(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)
