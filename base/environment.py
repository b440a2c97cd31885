"""Settings handed on: the variables that make another process read what this one has read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from base.settings import SETTINGS, Settings


def environment(settings: Settings, without: Iterable[str] = ()) -> dict[str, str]:
    """The variables that make another process read the same settings, but for the fields in `without`."""
    values: dict[str, str] = {}
    for setting in SETTINGS:
        value = getattr(settings, setting.field)
        if setting.field in without or value is None or value in ("", b"", {}, ()):
            continue
        values[setting.variable] = _written(value)
    return values


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        pairs = value.items()
        return ",".join(f"{key}:{one.hex()}" if isinstance(one, bytes) else f"{key}={one}" for key, one in pairs)
    return str(value)
