"""The types that bytes are read as, made ready before a second thread reads.

msgspec looks into a type when it is first read as, and a second thread that reads the same type meanwhile finds it half
looked into: the process ends by a segmentation fault (msgspec 0.22, CPython 3.11).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Final

import msgspec

PACKAGES: Final = ("base", "signals", "render", "campaigns", "workers")


def shapes() -> Iterator[type]:
    """Every struct and data class in the modules of ours that are loaded."""
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES:
            for value in list(vars(module).values()):
                if isinstance(value, type) and value.__module__ == name and _is_shape(value):
                    yield value


def prepare() -> None:
    """Have msgspec look into all of them: what a process does once its modules are loaded, before it has threads."""
    for shape in shapes():
        with suppress(TypeError, NameError):  # Never read as: it holds what no message can, or is only typed by a name.
            msgspec.json.Decoder(shape)


def _is_shape(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct) or is_dataclass(kind)
