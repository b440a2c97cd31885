"""Checked values out of a rule's JSON: each function returns the value or raises InvalidInput with the path to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from base.errors import InvalidInput


def below(path: str, name: str) -> str:
    """The path of a field inside an object."""
    return f"{path}.{name}" if path else name


def only(raw: Mapping[str, object], names: Collection[str], path: str) -> None:
    """Refuse fields that mean nothing here: a misspelt one would otherwise widen an audience without a word."""
    for name in raw:
        if name not in names:
            raise InvalidInput(below(path, name[:64]), f"is not known here; known are {', '.join(sorted(names))}")


def whole(raw: object, path: str, lowest: int, highest: int) -> int:
    """A whole number within bounds."""
    if isinstance(raw, bool) or not isinstance(raw, int) or not lowest <= raw <= highest:
        raise InvalidInput(path, f"must be a whole number from {lowest} to {highest}")
    return raw


def text(raw: object, path: str, longest: int) -> str:
    """A text that PostgreSQL can hold too: no NUL, no half of a surrogate pair."""
    if not isinstance(raw, str) or len(raw) > longest:
        raise InvalidInput(path, f"must be a text of at most {longest} characters")
    if "\0" in raw or any("\ud800" <= character <= "\udfff" for character in raw):
        raise InvalidInput(path, "must not contain NUL or unpaired surrogates")
    return raw
