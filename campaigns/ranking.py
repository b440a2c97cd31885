"""How offers compete, as it is written: what a plan holds of it (`render.arbitration`), with unknown fields refused.

What is stored is read without them, as a plan is: it may have been written by a version that knows more.
"""

from __future__ import annotations

from typing import Any

import msgspec

from render.arbitration import Arbitration, Context, Fatigue, Policy


class ContextIn(Context, frozen=True, forbid_unknown_fields=True):
    """A situation that lifts or lowers kinds of offers: while its rule holds, values are multiplied by the weights."""


class ArbitrationIn(Arbitration, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The factors of an offer's rank in model slots, each of which can be off, and the contexts that weigh."""

    contexts: tuple[ContextIn, ...] = ()


class PolicyIn(Policy, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a slot of mode "model" draws among its best `top` offers, by rank; what is left out is never drawn."""


class FatigueIn(Fatigue, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """After `times` of something within `within_days`, an offer rests for `off_days`; then counting begins anew."""


def known(stored: Any, kind: Any) -> Any:
    """What is stored of one of these, without the fields that are not known; None where nothing is."""
    return None if stored is None else msgspec.to_builtins(msgspec.convert(stored, kind))
