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
from jinja2 import Template, TemplateError

from render.mailtext import MailSandbox, Ready, clean

_PROFILE: Final = re.compile(r"\bprofile\.([a-z][a-z0-9_]*)")


def fill(source: str, traits: Mapping[str, object], links: Mapping[str, str], urls: Mapping[str, str]) -> str:
    """The page. A field that the person does not have is empty, so the template's own fallback fills it.

    Raises ValueError for a template that cannot be filled.
    """
    try:
        return _template(source).render(
            profile=_Fields(traits),
            link={name: Ready(url) for name, url in links.items()},
            url={name: Ready(url) for name, url in urls.items()},
        )
    except (TemplateError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError("the mail's template cannot be filled") from error


def printed_mark(source: str, traits: Mapping[str, object]) -> int:
    """A number from 1 to 65535 that stands for the person's fields which a mail's page prints, as they are now.

    The address of a mail's web view carries it since the send, so that whoever opens it later, perhaps a stranger to
    whom it was forwarded, is shown no field that the mail did not show: another number, and the fallbacks are printed.
    """
    values = [[name, clean(traits.get(name))] for name in _names(source)]
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


def _printed(value: object) -> str:
    return value if isinstance(value, Ready) else html.escape(clean(value))


_ENVIRONMENT: Final = MailSandbox(_printed)


@lru_cache(maxsize=128)
def _template(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)
