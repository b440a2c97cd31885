"""Loading a library as if others, which it would load wherever they are installed, were not.

What is loaded for interfaces that nobody here uses costs every process time at its start, and memory.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from types import ModuleType


def alone(name: str, company: Iterable[str]) -> ModuleType:
    """The module, imported while none of its optional `company` can be; what is loaded already stays as it is."""
    hidden = [other for other in company if other not in sys.modules]
    # None in sys.modules makes an import fail as if the module were absent.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    finally:
        for other in hidden:
            if sys.modules.get(other, other) is None:
                del sys.modules[other]
